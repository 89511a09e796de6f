"""callMissed: a callee who has not answered is told, with or without a device."""

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import MakeShard, Notification, Shard, of_type, peer

GONE = [e.registered("phone"), e.disconnected("phone")]


def _missed(told: list[Notification]) -> dict[str, tuple[int, str]]:
    """User -> code and reason."""
    found = of_type(told, "callMissed")
    users = [each.users[0] for each in found]
    assert len(set(users)) == len(found)
    assert all(not each.peers and each.users == [each.payload["to"]] for each in found)
    return {each.users[0]: (each.payload["code"], each.payload["reason"]) for each in found}


async def test_it_says_who_has_called_and_when(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", fromDetails={"name": "Alice"})
    told = await e.later(shard, e.RING)
    assert e.one(told, "callMissed").payload == {
        "inviteId": "1", "from": "alice", "to": "bob", "kind": "direct", "room": "r", "fromDetails": {"name": "Alice"},
        "inviteRequest": False, "code": 408, "reason": "timeout", "at": shard.now,
    }  # fmt: skip


async def test_a_request_that_is_missed_has_no_room(shard: Shard) -> None:
    told = await e.in_order(shard, e.registered("phone"), e.request(), e.stop())
    missed = e.one(told, "callMissed").payload
    assert ("room" in missed, missed["inviteRequest"], missed["code"]) == (False, True, 487)


@pytest.mark.parametrize(
    ("events", "end"),
    [
        ([*GONE, e.invite()], (480, "unreachable")),
        ([e.user_state(dnd=True), e.registered("phone"), e.invite()], (480, "unreachable")),
        ([e.registered("phone"), e.invite(), e.disconnected("phone")], (480, "unreachable")),
        ([e.registered("phone"), e.invite(), e.stop()], (487, "cancelled")),
        ([e.stop(), e.registered("phone"), e.invite()], (487, "cancelled")),
        ([e.registered("phone"), e.invite(), e.room_closed()], (487, "room_closed")),
        ([e.registered("phone"), e.invite(), e.left("alice")], (487, "caller_gone")),
        ([e.registered("phone"), e.invite(), e.silence("phone"), e.stop()], (487, "cancelled")),
        ([e.trunk("gw"), e.invite(), e.decline("gw", "sip", to="bob", errorCode=480)], (480, "declined")),
    ],
)
async def test_a_call_that_nobody_has_answered_is_missed(
    shard: Shard, events: list[e.Published], end: tuple[int, str]
) -> None:
    assert _missed(await e.in_order(shard, *events)) == {"bob": end}


TWO = [e.registered("phone"), e.registered("tablet"), e.invite()]


@pytest.mark.parametrize(
    "events",
    [
        [*TWO, e.accept("phone")],
        [*TWO, e.joined("bob")],
        [*TWO, e.decline("phone"), e.stop()],
        [*TWO, e.decline("phone", errorCode=486), e.stop()],
        [*TWO, e.decline("phone", errorCode=480), e.decline("tablet", errorCode=480)],
        [*TWO, e.stop(errorCode=500)],
        [e.trunk("gw"), e.invite(), e.decline("gw", "sip", to="bob", errorCode=486), e.stop()],
        [e.user_state(block=["alice"]), *TWO],
        [*TWO, e.user_state(block=["alice"]), e.stop()],
        [e.registered("a", "alice"), e.invite(to="alice")],
    ],
)
async def test_a_call_that_is_answered_or_unwanted_is_not(shard: Shard, events: list[e.Published]) -> None:
    told = await e.in_order(shard, *events) + await e.later(shard, 10 * e.RING)
    assert len(of_type(told, "INVITE_COMPLETED")) == 1
    assert _missed(told) == {}


async def test_who_calls_again_is_missed_once(shard: Shard) -> None:
    told = await e.in_order(shard, e.registered("phone"), e.invite(), e.invite(invite_id="2"))
    assert e.outcome(told, "inviteRejected") == (487, "replaced")
    assert _missed(told) == {}
    assert e.one(await shard.event(*e.stop(invite_id="2")), "callMissed").payload["inviteId"] == "2"


async def test_two_who_call_each_other_have_missed_nothing(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(glare="merge"))
    await e.in_order(shard, e.registered("phone"), e.registered("a", "alice"), e.invite())
    told = await shard.event(*e.invite(peer("phone", "bob"), to="alice", room="s"))
    assert len(of_type(told, "inviteAccepted")) == 2
    assert _missed(told + await e.later(shard, e.RING)) == {}


async def test_a_repeat_of_the_end_tells_nobody_again(shard: Shard) -> None:
    told = await e.in_order(shard, *GONE, e.invite(), e.invite(), e.stop())
    assert _missed(told) == {"bob": (480, "unreachable")}


# -- groups


async def test_each_member_who_was_rung_has_missed_what_nobody_takes(called: Shard) -> None:
    told = await called.event(*e.stop(callee="team"))
    cancelled = (487, "cancelled")
    assert _missed(told) == {"bob": cancelled, "carol": cancelled, "dave": (480, "unreachable")}
    assert {each.payload["group"] for each in of_type(told, "callMissed")} == {"team"}


async def test_who_has_declined_has_not_missed_it(called: Shard) -> None:
    await called.event(*e.decline("bob-phone", errorCode=486))
    told = await called.event(*e.decline("carol-phone", "carol"))
    assert _missed(told) == {}
    assert set(_missed(await called.event(*e.stop(callee="team")))) == {"dave"}


async def test_nobody_has_missed_what_another_member_has_taken(called: Shard) -> None:
    told = await called.event(*e.accept("carol-phone", "carol"))
    assert _missed(told + await e.later(called, e.RING)) == {}


async def test_a_member_who_blocks_the_inviter_is_not_told(called: Shard) -> None:
    await called.event(*e.user_state(block=["alice"]))
    assert set(_missed(await called.event(*e.stop(callee="team")))) == {"carol", "dave"}


async def test_one_after_the_other_counts_once_the_call_is_over(home: Shard) -> None:
    groups.team(home, "bob", "carol", "dave", sequential=True)
    await home.event(*e.invite(to="team"))
    assert _missed(await e.later(home, 10_000)) == {}
    assert _missed(await home.event(*e.accept("carol-phone", "carol"))) == {}

    await home.event(*e.invite(to="team", invite_id="2"))
    assert _missed(await e.later(home, 10_000)) == {}
    told = await home.event(*e.stop(callee="team", invite_id="2"))
    assert _missed(told) == {"bob": (408, "timeout"), "carol": (487, "cancelled")}


async def test_where_each_may_take_it_the_others_have_missed_it(home: Shard) -> None:
    await e.in_order(home, e.invite(to="team", ringMode="all"), e.accept("carol-phone", "carol"))
    assert _missed(await e.later(home, e.RING)) == {"bob": (408, "timeout"), "dave": (480, "unreachable")}


async def test_a_large_group_is_told_page_by_page(home: Shard) -> None:
    members = [f"m{number}" for number in range(45)]
    groups.team(home, *members)
    told = await home.event(*e.invite(to="team"))
    told += await home.fire()
    assert set(_missed(told)) == set(members)
