"""Groups: answers that meet each other, and relayed entries of two shards that overtake each other."""

from itertools import permutations

import pytest

from tests.support import events as e
from tests.support import groups
from tests.support.relayed import hears
from tests.support.shard import Json, MakeShard, Notification, Shard, of_type

pytestmark = pytest.mark.one_shard

BOBS, CAROLS = "alice|1|bob", "alice|1|carol"


@pytest.fixture
async def pair_called(make_shard: MakeShard) -> Shard:
    """A shard in which Alice calls Bob (two devices) and Carol."""
    shard = await make_shard(groups.GROUPS)
    groups.team(shard, "bob", "carol")
    await groups.at_home(shard, "bob-phone", "bob-desk", "carol-phone")
    await shard.event(*e.invite(to="team"))
    return shard


def answers(told: list[Notification]) -> dict[str, tuple[int, str]]:
    return {each.peers[0]: (each.payload["code"], each.payload["reason"]) for each in of_type(told, "answer")}


# -- in one shard


@pytest.mark.parametrize("order", list(permutations((0, 1, 2))))
async def test_of_several_accepts_in_any_order_the_first_wins(
    pair_called: Shard, order: tuple[int, ...]
) -> None:
    events = [e.accept("bob-phone"), e.accept("bob-desk"), e.accept("carol-phone", "carol")]
    told = await e.arriving(pair_called, events, order)
    [accepted] = of_type(told, "inviteAccepted")
    winner = events[order[0]][1]["peer"]["id"]
    assert accepted.payload["peer"] == winner
    codes = {peer: code for peer, (code, _) in answers(told).items()}
    assert codes == {"bob-phone": 410, "bob-desk": 410, "carol-phone": 410} | {winner: 200}
    assert len(of_type(told, "INVITE_COMPLETED")) == 1


async def test_accepts_in_one_batch_have_one_winner(pair_called: Shard) -> None:
    operations = [
        await pair_called.publish(*event)
        for event in (e.accept("carol-phone", "carol"), e.accept("bob-phone"))
    ]
    await pair_called.settle(*operations, *operations)
    told = await pair_called.told()
    assert answers(told) == {"carol-phone": (200, "accepted"), "bob-phone": (410, "accepted")}
    assert groups.stopped(told) == ["bob-desk", "bob-phone"]


@pytest.mark.parametrize("first", ["accept", "decline"])
async def test_an_accept_and_a_603_of_one_member(pair_called: Shard, first: str) -> None:
    events = [e.accept("bob-phone"), e.decline("bob-desk")]
    told = await e.in_order(pair_called, *(events if first == "accept" else reversed(events)))
    if first == "accept":
        assert answers(told) == {"bob-phone": (200, "accepted"), "bob-desk": (410, "accepted")}
        assert e.end_reasons(told) == {"bob-phone": 200, None: 487}
    else:
        assert answers(told) == {"bob-phone": (410, "declined"), "bob-desk": (200, "declined")}
        assert (await pair_called.invite(groups.TEAM))["state"] == "PENDING"
        assert groups.stopped(told) == ["bob-phone"]


@pytest.mark.parametrize(
    ("end", "reason"), [(e.stop(callee="team"), "cancelled"), (e.stop(callee="bob"), "cancelled")]
)
async def test_an_accept_that_comes_after_the_end(pair_called: Shard, end: e.Published, reason: str) -> None:
    told = await e.in_order(pair_called, end, e.accept("bob-phone"))
    assert answers(told)["bob-phone"] == (410, reason)
    assert "inviteAccepted" not in e.types(told)


async def test_an_accept_just_past_the_deadline_wins_while_no_timer_has_fired(pair_called: Shard) -> None:
    pair_called.now += 60_001
    told = await pair_called.event(*e.accept("bob-phone"))
    assert e.outcome(told, "answer") == (200, "accepted")
    assert await pair_called.fire() == []


async def test_an_accept_after_the_timer_is_too_late(pair_called: Shard) -> None:
    await e.later(pair_called, 60_000)
    assert e.outcome(await pair_called.event(*e.accept("bob-phone")), "answer") == (410, "timeout")


async def test_the_last_decline_past_the_deadline_counts_while_no_timer_has_fired(pair_called: Shard) -> None:
    pair_called.now += 60_001
    told = await e.in_order(
        pair_called, e.decline("bob-phone"), e.decline("carol-phone", "carol", errorCode=486)
    )
    assert e.outcome(told, "inviteRejected") == (603, "declined")
    assert await pair_called.fire() == []


async def test_the_groups_timer_speaks_before_those_of_its_legs(pair_called: Shard) -> None:
    timers = {
        name.decode(): int(due) - pair_called.now
        for name, due in await pair_called.client.zrange(pair_called.keys.timers, 0, -1, withscores=True)
    }
    assert timers == {f"ring|{groups.TEAM}": 60_000, f"ring|{BOBS}": 62_000, f"ring|{CAROLS}": 62_000}
    told = await e.later(pair_called, 62_000)
    assert len(of_type(told, "inviteRejected")) == len(of_type(told, "INVITE_COMPLETED")) == 1


# -- between two shards: what is told in the meantime


def start_of(group: Json) -> tuple[str, ...]:
    """What a leg needs of its group's invite to begin."""
    times = group["createdAt"], group["expiresAt"], group["entry"]
    return groups.TEAM, "team", "alice", "1", "r", "a", "0", "", "", "", *times, "{}"


async def test_a_leg_that_begins_after_the_end_stops_at_once(pair_called: Shard) -> None:
    await pair_called.event(*e.accept("carol-phone", "carol"))
    await pair_called.event(*e.registered("dave-phone", "dave"))
    group = await pair_called.invite(groups.TEAM)
    start = start_of(group)
    told = await hears(pair_called, "leg_start", "dave", *start, entry=group["entry"])
    assert groups.rung(told) == groups.stopped(told) == ["dave-phone"]
    assert e.outcome(told, "invitationCancel") == (200, "accepted_elsewhere")
    assert await pair_called.client.zcard(pair_called.keys.timers) == 0


async def test_a_leg_that_begins_after_the_deadline_rings_nobody(pair_called: Shard) -> None:
    await pair_called.event(*e.registered("dave-phone", "dave"))
    group = await pair_called.invite(groups.TEAM)
    pair_called.now += 60_000
    start = start_of(group)
    assert await hears(pair_called, "leg_start", "dave", *start, entry=group["entry"]) == []
    await pair_called.fire()


async def test_an_end_that_is_told_twice_counts_once(pair_called: Shard) -> None:
    await pair_called.event(*e.decline("bob-phone"))
    assert await hears(pair_called, "leg_ended", "team", groups.TEAM, "bob", "603", "declined", "") == []
    assert (await pair_called.invite(groups.TEAM))["open"] == "1"


async def test_an_older_update_that_comes_later_changes_nothing(pair_called: Shard) -> None:
    old = pair_called.entry_id()
    await pair_called.event(*e.invite(to="team", context="new"))
    assert await hears(pair_called, "leg_update", "bob", BOBS, '"old"', "", "", entry=old) == []
    assert (await pair_called.invite(BOBS))["context"] == '"new"'


async def test_what_a_leg_tells_of_a_group_that_is_forgotten(pair_called: Shard) -> None:
    await pair_called.client.delete(
        pair_called.keys.invite(groups.TEAM), f"{pair_called.keys.base}legs:{groups.TEAM}"
    )
    told = await pair_called.event(*e.accept("bob-phone"))
    assert answers(told) == {"bob-phone": (410, "cancelled")}
    assert groups.stopped(told) == ["bob-desk", "bob-phone"]
    told = await pair_called.event(*e.registered("carol-desk", "carol"))
    assert (groups.rung(told), groups.stopped(told)) == (["carol-desk"], ["carol-desk", "carol-phone"])
    assert await groups.legs(pair_called) == {}
    await pair_called.client.zrem(pair_called.keys.timers, f"ring|{groups.TEAM}")
