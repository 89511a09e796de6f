"""What stands in each notification, to the last key; and in the table of codes, row by row."""

from typing import Final

import pytest

from tests.conftest import MakeShard
from tests.support.events import (
    GRACE,
    RING,
    Published,
    accept,
    bob_rings,
    decline,
    disconnected,
    in_order,
    invitations,
    invite,
    joined,
    later,
    left,
    one,
    registered,
    request,
    ringing,
    room_closed,
    stop,
)
from tests.support.shard import Notification, Shard, of_type, peer

ABOUT: Final = {"inviteId", "from", "to"}
KEYS: Final = {
    "invitation": ABOUT
    | {"room", "mediatypes", "fromDetails", "context", "inviteRequest", "expiresIn", "resumed"},
    "invitationCancel": ABOUT | {"code", "reason"},
    "inviteProgress": ABOUT | {"code", "candidates", "ringing", "pushed"},
    "inviteAccepted": ABOUT | {"room", "code", "whoAccepted", "peer"},
    "inviteRejected": ABOUT | {"code", "reason"},
    "answer": ABOUT | {"request", "code", "reason"},
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
}
HISTORIES: Final[dict[str, tuple[list[Published], dict[str, set[str]]]]] = {
    "invite": ([registered("phone"), invite()], {"invitation": set(), "inviteProgress": set()}),
    "answer to a request": ([registered("phone"), invite(requestId="x")], {"invitation": {"requestId"}}),
    "transaction": ([registered("phone"), invite(transaction=1)], {"inviteProgress": {"transaction"}}),
    "ringing": ([registered("phone"), invite(transaction=1), ringing("phone")], {"inviteProgress": set()}),
    "accept": (
        [registered("phone"), registered("tablet"), invite(), accept("phone", transaction="t")],
        {
            "invitationCancel": {"whoAccepted"},
            "inviteAccepted": set(),
            "INVITE_COMPLETED": set(),
            "answer": {"whoAccepted", "transaction"},
        },
    ),
    "decline": (
        [registered("phone"), registered("tablet"), invite(), decline("phone")],
        {"invitationCancel": set(), "inviteRejected": set(), "INVITE_COMPLETED": set(), "answer": set()},
    ),
    "stop": ([registered("phone"), invite(), stop()], {"invitationCancel": set(), "answer": set()}),
    "nobody": ([invite(transaction="t")], {"inviteRejected": set(), "INVITE_COMPLETED": set()}),
    "question": ([invitations("phone")], {"answer": {"transaction", "invitations"}}),
    "unknown": ([accept("phone")], {"answer": set()}),
    "too late": ([registered("phone"), invite(), stop(), accept("phone")], {"answer": set()}),
    "late": ([registered("phone"), invite(), accept("phone"), accept("x")], {"answer": {"whoAccepted"}}),
    "joined": ([joined("alice"), joined("bob")], {"userJoined": set()}),
    "left": ([joined("alice"), joined("bob"), left("bob")], {"userLeft": set()}),
    "closed": (
        [registered("phone"), invite(), room_closed()],
        {"roomCleaned": set(), "invitationCancel": set()},
    ),
}


@pytest.mark.parametrize(("events", "expected"), HISTORIES.values(), ids=HISTORIES)
async def test_each_payload_has_exactly_the_keys_of_the_contract(
    shard: Shard, events: list[Published], expected: dict[str, set[str]]
) -> None:
    told = await in_order(shard, *events)
    for kind, more in expected.items():
        assert set(of_type(told, kind)[-1].payload) == KEYS[kind] | more, kind


async def test_an_invitation_to_answer_a_request_names_no_room(shard: Shard) -> None:
    told = await in_order(shard, registered("phone"), request())
    assert set(one(told, "invitation").payload) == KEYS["invitation"] - {"room"}


async def test_an_entry_has_exactly_the_fields_of_the_contract(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    for _, fields in await shard.client.xrange(shard.keys.notifications):
        assert set(fields) == {b"id", b"type", b"peers", b"users", b"payload"}


async def test_an_invitation_is_complete(shard: Shard) -> None:
    told = await bob_rings(
        shard, "phone", mediatypes=["audio"], fromDetails={"n": "A"}, context={}, requestId="q"
    )
    assert one(told, "invitation").payload == {
        "inviteId": "1", "from": "alice", "to": "bob", "room": "r", "mediatypes": ["audio"], "fromDetails": {"n": "A"},
        "context": {}, "inviteRequest": False, "expiresIn": RING, "resumed": False, "requestId": "q",
    }  # fmt: skip


async def test_a_record_is_complete(shard: Shard) -> None:
    started = shard.now
    await bob_rings(shard, "phone", mediatypes={"audio": True})
    shard.now += 1_234
    record = one(await shard.event(*accept("phone")), "INVITE_COMPLETED")
    assert (record.peers, record.users) == ([], [])
    assert record.payload == {
        "inviteId": "1", "from": "alice", "to": "bob", "room": "r", "group": False, "inviteRequest": False,
        "mediatypes": {"audio": True}, "state": "ACCEPTED", "error": 200, "whoAccepted": "bob", "startedAt": started,
        "endedAt": started + 1_234, "candidates": [{"address": "bob", "peer": "phone", "endReason": 200}],
    }  # fmt: skip


async def test_an_accepted_invite_is_told_completely(shard: Shard) -> None:
    told = await in_order(shard, registered("phone"), invite(transaction="t"), accept("phone"))
    accepted = one(told, "inviteAccepted")
    assert (accepted.peers, accepted.users) == (["a"], ["alice"])
    assert accepted.payload == {
        "inviteId": "1", "from": "alice", "to": "bob", "room": "r", "code": 200, "whoAccepted": "bob", "peer": "phone",
    }  # fmt: skip


async def test_the_present_invitations_are_listed_completely(shard: Shard) -> None:
    await bob_rings(shard, "phone", context={"n": 1})
    await in_order(shard, invite(by=peer("c", "carol"), invite_id="2"), request(by=peer("d", "dave")))
    await shard.event(*accept("phone", from_="carol", invite_id="2"))
    answer = one(await shard.event(*invitations("phone", transaction="q")), "answer")

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
        "expiresAt": shard.now + RING,
    }  # fmt: skip
    assert (listed["dave"]["inviteRequest"], listed["dave"]["room"]) == (True, None)
    assert set(listed) == {"alice", "dave"}


async def test_nothing_rings_is_an_empty_list(shard: Shard) -> None:
    assert one(await shard.event(*invitations("phone")), "answer").payload["invitations"] == []


def _verdict(told: list[Notification]) -> tuple[str, int, str]:
    record = one(told, "INVITE_COMPLETED").payload
    [outcome] = of_type(told, "inviteAccepted") + of_type(told, "inviteRejected")
    assert outcome.payload["code"] == record["error"]
    return record["state"], record["error"], outcome.payload.get("reason", "accepted")


CODES: Final[dict[str, tuple[list[Published], tuple[str, int, str]]]] = {
    "accepted": ([accept("phone")], ("ACCEPTED", 200, "accepted")),
    "declined": ([decline("phone")], ("DECLINED", 603, "declined")),
    "declined with what the device sent": ([decline("phone", errorCode=606)], ("DECLINED", 606, "declined")),
    "busy": ([decline("phone", errorCode=486)], ("DECLINED", 486, "busy")),
    "lost": ([disconnected("phone")], ("DECLINED", 480, "unreachable")),
    "stopped": ([stop()], ("DECLINED_BY_CREATOR", 487, "cancelled")),
    "inviter left the room": ([left("alice")], ("DECLINED_BY_CREATOR", 487, "caller_gone")),
    "room closed": ([room_closed()], ("DECLINED_BY_CREATOR", 487, "room_closed")),
}


@pytest.mark.parametrize(("events", "verdict"), CODES.values(), ids=CODES)
async def test_each_end_has_its_state_code_and_reason(
    shard: Shard, events: list[Published], verdict: tuple[str, int, str]
) -> None:
    await bob_rings(shard, "phone")
    assert _verdict(await in_order(shard, *events)) == verdict


@pytest.mark.parametrize(
    ("before", "verdict"),
    [
        ([], ("DECLINED", 404, "not_found")),
        ([registered("phone"), disconnected("phone")], ("DECLINED", 480, "unreachable")),
        ([registered("phone"), stop()], ("DECLINED_BY_CREATOR", 487, "cancelled")),
    ],
    ids=["nobody such", "known", "stopped before"],
)
async def test_each_early_end_has_its_state_code_and_reason(
    shard: Shard, before: list[Published], verdict: tuple[str, int, str]
) -> None:
    await in_order(shard, *before)
    assert _verdict(await shard.event(*invite())) == verdict


async def test_the_ends_that_time_brings_have_their_state_code_and_reason(make_shard: MakeShard) -> None:
    shard = await make_shard(GRACE)
    await bob_rings(shard, "phone")
    await shard.event(*disconnected("phone"))
    assert _verdict(await later(shard, 5_000)) == ("DECLINED", 480, "unreachable")
    await bob_rings(shard, "phone", invite_id="2")
    await shard.event(*disconnected("a", "alice"))
    assert _verdict(await later(shard, 10_000)) == ("DECLINED_BY_CREATOR", 487, "caller_gone")
    await bob_rings(shard, "phone", invite_id="3")
    assert _verdict(await later(shard, RING)) == ("DECLINED_BY_TIMEOUT", 408, "timeout")


@pytest.mark.one_shard
async def test_ids_are_unique_and_name_the_entry_that_made_them(shard: Shard) -> None:
    await bob_rings(shard, "phone", "tablet")
    operation = await shard.publish(*accept("phone"))
    await shard.settle(operation)
    told = await shard.told()
    assert [notification.id for notification in told] == [
        f"0-{operation.entry}-{number}" for number in range(1, len(told) + 1)
    ]


@pytest.mark.one_shard
async def test_ids_of_what_timers_tell_are_unique_too(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    await shard.event(*invite(invite_id="2"))
    told = await later(shard, RING)
    ids = {notification.id for notification in told}
    assert len(ids) == len(told) == 6
    assert f"0-ring|alice|1|bob@{shard.now}-1" in ids
