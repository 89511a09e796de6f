"""The content of each notification, to the last key; and of the table of codes, row by row."""

from typing import Final

import pytest

from tests.support import events as e
from tests.support.shard import MakeShard, Notification, Shard, of_type, peer

ABOUT: Final = {"inviteId", "from", "to"}
KEYS: Final = {
    "invitation": ABOUT
    | {"room", "mediatypes", "fromDetails", "context", "inviteRequest", "expiresIn", "resumed"},
    "invitationCancel": ABOUT | {"code", "reason"},
    "inviteProgress": ABOUT | {"code", "candidates", "ringing", "pushed"},
    "inviteAccepted": ABOUT | {"room", "code", "whoAccepted", "peer"},
    "inviteRejected": ABOUT | {"code", "reason"},
    "answer": ABOUT | {"request", "code", "reason"},
    "callMissed": ABOUT | {"kind", "fromDetails", "inviteRequest", "code", "reason", "at"},
    "INVITE_COMPLETED": ABOUT
    | {
        "room",
        "group",
        "inviteRequest",
        "mediatypes",
        "state",
        "error",
        "whoAccepted",
        "startedAt",
        "endedAt",
    }
    | {"candidates"},
    "userJoined": {"userId", "roomId"},
    "userLeft": {"userId", "roomId"},
    "roomCleaned": {"roomId", "invites"},
    "userBusy": {"userId", "room"},
    "userFree": {"userId", "room"},
}
HISTORIES: Final[dict[str, tuple[list[e.Published], dict[str, set[str]]]]] = {
    "invite": ([e.registered("phone"), e.invite()], {"invitation": set(), "inviteProgress": set()}),
    "answer to a request": ([e.registered("phone"), e.invite(requestId="x")], {"invitation": {"requestId"}}),
    "transaction": ([e.registered("phone"), e.invite(transaction=1)], {"inviteProgress": {"transaction"}}),
    "ringing": (
        [e.registered("phone"), e.invite(transaction=1), e.ringing("phone")],
        {"inviteProgress": set()},
    ),
    "accept": (
        [e.registered("phone"), e.registered("tablet"), e.invite(), e.accept("phone", transaction="t")],
        {
            "invitationCancel": {"whoAccepted", "peer"},
            "inviteAccepted": set(),
            "INVITE_COMPLETED": set(),
            "answer": {"whoAccepted", "transaction"},
        },
    ),
    "decline": (
        [e.registered("phone"), e.registered("tablet"), e.invite(), e.decline("phone")],
        {"invitationCancel": set(), "inviteRejected": set(), "INVITE_COMPLETED": set(), "answer": set()},
    ),
    "accept with a context": (
        [e.registered("phone"), e.invite(), e.accept("phone", context=1)],
        {"inviteAccepted": {"context"}},
    ),
    "decline with a context": (
        [e.registered("phone"), e.invite(), e.decline("phone", context=1)],
        {"inviteRejected": {"context"}},
    ),
    "stop": ([e.registered("phone"), e.invite(), e.stop()], {"invitationCancel": set(), "answer": set()}),
    "nobody": ([e.invite(transaction="t")], {"inviteRejected": set(), "INVITE_COMPLETED": set()}),
    "question": ([e.invitations("phone")], {"answer": {"transaction", "invitations"}}),
    "unknown": ([e.accept("phone")], {"answer": set()}),
    "too late": ([e.registered("phone"), e.invite(), e.stop(), e.accept("phone")], {"answer": set()}),
    "late": (
        [e.registered("phone"), e.invite(), e.accept("phone"), e.accept("x")],
        {"answer": {"whoAccepted"}},
    ),
    "busy": (
        [e.joined("bob", peer=peer("phone", "bob")), e.left("bob")],
        {"userBusy": set(), "userFree": set()},
    ),
    "joined": ([e.joined("alice"), e.joined("bob")], {"userJoined": set()}),
    "left": ([e.joined("alice"), e.joined("bob"), e.left("bob")], {"userLeft": set()}),
    "closed": (
        [e.registered("phone"), e.invite(), e.room_closed()],
        {"roomCleaned": set(), "invitationCancel": set()},
    ),
}


@pytest.mark.parametrize(("events", "expected"), HISTORIES.values(), ids=HISTORIES)
async def test_each_payload_has_exactly_the_keys_of_the_contract(
    shard: Shard, events: list[e.Published], expected: dict[str, set[str]]
) -> None:
    told = await e.in_order(shard, *events)
    for kind, more in expected.items():
        assert set(of_type(told, kind)[-1].payload) == KEYS[kind] | more, kind


async def test_an_invitation_to_answer_a_request_names_no_room(shard: Shard) -> None:
    told = await e.in_order(shard, e.registered("phone"), e.request())
    assert set(e.one(told, "invitation").payload) == KEYS["invitation"] - {"room"}


async def test_an_entry_has_exactly_the_fields_of_the_contract(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    for _, fields in await shard.client.xrange(shard.keys.notifications):
        assert set(fields) == {b"id", b"type", b"peers", b"users", b"payload"}


async def test_an_invitation_is_complete(shard: Shard) -> None:
    told = await e.bob_rings(
        shard, "phone", mediatypes=["audio"], fromDetails={"n": "A"}, context={}, requestId="q"
    )
    assert e.one(told, "invitation").payload == {
        "inviteId": "1", "from": "alice", "to": "bob", "room": "r", "mediatypes": ["audio"], "fromDetails": {"n": "A"},
        "context": {}, "inviteRequest": False, "expiresIn": e.RING, "resumed": False, "requestId": "q",
    }  # fmt: skip


async def test_a_record_is_complete(shard: Shard) -> None:
    started = shard.now
    await e.bob_rings(shard, "phone", mediatypes={"audio": True})
    shard.now += 1_234
    record = e.one(await shard.event(*e.accept("phone")), "INVITE_COMPLETED")
    assert (record.peers, record.users) == ([], [])
    assert record.payload == {
        "inviteId": "1", "from": "alice", "to": "bob", "room": "r", "group": False, "inviteRequest": False,
        "mediatypes": {"audio": True}, "state": "ACCEPTED", "error": 200, "whoAccepted": "bob", "startedAt": started,
        "endedAt": started + 1_234, "candidates": [{"address": "bob", "peer": "phone", "endReason": 200}],
    }  # fmt: skip


async def test_an_accepted_invite_is_told_completely(shard: Shard) -> None:
    told = await e.in_order(shard, e.registered("phone"), e.invite(transaction="t"), e.accept("phone"))
    accepted = e.one(told, "inviteAccepted")
    assert (accepted.peers, accepted.users) == (["a"], ["alice"])
    assert accepted.payload == {
        "inviteId": "1", "from": "alice", "to": "bob", "room": "r", "code": 200, "whoAccepted": "bob", "peer": "phone",
    }  # fmt: skip


async def test_the_present_invitations_are_listed_completely(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", context={"n": 1})
    await e.in_order(shard, e.invite(by=peer("c", "carol"), invite_id="2"), e.request(by=peer("d", "dave")))
    await shard.event(*e.accept("phone", from_="carol", invite_id="2"))
    answer = e.one(await shard.event(*e.invitations("phone", transaction="q")), "answer")

    assert (answer.peers, answer.users) == (["phone"], ["bob"])
    payload = answer.payload
    listed = {item["from"]: item for item in payload.pop("invitations")}
    assert payload == {
        "request": "getInvitations", "transaction": "q", "inviteId": None, "from": None, "to": None, "code": 200,
        "reason": None,
    }  # fmt: skip
    assert listed["alice"] == {
        "inviteId": "1", "from": "alice", "to": "bob", "group": None, "room": "r", "state": "PENDING",
        "inviteRequest": False, "mediatypes": None, "context": {"n": 1}, "startedAt": shard.now,
        "expiresAt": shard.now + e.RING,
    }  # fmt: skip
    assert (listed["dave"]["inviteRequest"], listed["dave"]["room"]) == (True, None)
    assert set(listed) == {"alice", "dave"}


async def test_nothing_rings_is_an_empty_list(shard: Shard) -> None:
    assert e.one(await shard.event(*e.invitations("phone")), "answer").payload["invitations"] == []


def _verdict(told: list[Notification]) -> tuple[str, int, str]:
    record = e.one(told, "INVITE_COMPLETED").payload
    [outcome] = of_type(told, "inviteAccepted") + of_type(told, "inviteRejected")
    assert outcome.payload["code"] == record["error"]
    return record["state"], record["error"], outcome.payload.get("reason", "accepted")


CODES: Final[dict[str, tuple[list[e.Published], tuple[str, int, str]]]] = {
    "accepted": ([e.accept("phone")], ("ACCEPTED", 200, "accepted")),
    "declined": ([e.decline("phone")], ("DECLINED", 603, "declined")),
    "declined with what the device sent": (
        [e.decline("phone", errorCode=606)],
        ("DECLINED", 606, "declined"),
    ),
    "busy": ([e.decline("phone", errorCode=486)], ("DECLINED", 486, "busy")),
    "lost": ([e.disconnected("phone")], ("DECLINED", 480, "unreachable")),
    "stopped": ([e.stop()], ("DECLINED_BY_CREATOR", 487, "cancelled")),
    "inviter left the room": ([e.left("alice")], ("DECLINED_BY_CREATOR", 487, "caller_gone")),
    "room closed": ([e.room_closed()], ("DECLINED_BY_CREATOR", 487, "room_closed")),
}


@pytest.mark.parametrize(("events", "verdict"), CODES.values(), ids=CODES)
async def test_each_end_has_its_state_code_and_reason(
    shard: Shard, events: list[e.Published], verdict: tuple[str, int, str]
) -> None:
    await e.bob_rings(shard, "phone")
    assert _verdict(await e.in_order(shard, *events)) == verdict


@pytest.mark.parametrize(
    ("before", "verdict"),
    [
        ([], ("DECLINED", 404, "not_found")),
        ([e.registered("phone"), e.disconnected("phone")], ("DECLINED", 480, "unreachable")),
        ([e.registered("phone"), e.stop()], ("DECLINED_BY_CREATOR", 487, "cancelled")),
    ],
    ids=["nobody such", "known", "stopped before"],
)
async def test_each_early_end_has_its_state_code_and_reason(
    shard: Shard, before: list[e.Published], verdict: tuple[str, int, str]
) -> None:
    await e.in_order(shard, *before)
    assert _verdict(await shard.event(*e.invite())) == verdict


async def test_the_ends_that_time_brings_have_their_state_code_and_reason(make_shard: MakeShard) -> None:
    shard = await make_shard(e.GRACE)
    await e.bob_rings(shard, "phone")
    await shard.event(*e.disconnected("phone"))
    assert _verdict(await e.later(shard, 5_000)) == ("DECLINED", 480, "unreachable")
    await e.bob_rings(shard, "phone", invite_id="2")
    await shard.event(*e.disconnected("a", "alice"))
    assert _verdict(await e.later(shard, 10_000)) == ("DECLINED_BY_CREATOR", 487, "caller_gone")
    await e.bob_rings(shard, "phone", invite_id="3")
    assert _verdict(await e.later(shard, e.RING)) == ("DECLINED_BY_TIMEOUT", 408, "timeout")


@pytest.mark.one_shard
async def test_ids_are_unique_and_name_the_entry_that_made_them(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    operation = await shard.publish(*e.accept("phone"))
    await shard.settle(operation)
    told = await shard.told()
    assert [notification.id for notification in told] == [
        f"0-{operation.entry}-{number}" for number in range(1, len(told) + 1)
    ]


@pytest.mark.one_shard
async def test_ids_of_what_timers_tell_are_unique_too(beside: Shard) -> None:
    await e.bob_rings(beside, "phone")
    await beside.event(*e.invite(invite_id="2"))
    told = await e.later(beside, e.RING)
    ids = {notification.id for notification in told}
    assert len(ids) == len(told) == 8
    assert f"0-ring|alice|1|bob@{beside.now}-1" in ids
