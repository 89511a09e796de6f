"""keepHistory and callsSeen: the ended calls of a user, in the user's own shard."""

from __future__ import annotations

import msgspec
import pytest
from redis.asyncio import Redis

from invites.keys import shard_of
from invites.queries.history import PAGE, CallPage, EndedCall, calls_of
from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import MakeShard, Shard
from tests.support.shards import Apart

DAY = 86_400_000
KEPT = Settings(keep_history=3, keep_history_for=DAY)
GONE = [e.registered("phone"), e.disconnected("phone")]


@pytest.fixture
async def kept(make_shard: MakeShard) -> Shard:
    """A shard that keeps three calls of each user for a day."""
    return await make_shard(KEPT)


async def _page(shard: Shard, user: str, *, missed: bool = False, before: int | None = None) -> CallPage:
    keys = shard.all_keys[shard_of(user, len(shard.all_keys))]
    # The queries go by the server's time, and a test has its own clock: nothing is too old for them.
    return await calls_of(shard.client_of(keys), keys, user, age=10 * DAY, missed=missed, before=before)


async def _calls(shard: Shard, user: str) -> list[EndedCall]:
    return (await _page(shard, user)).calls


async def test_both_users_have_the_call(kept: Shard) -> None:
    await e.bob_rings(kept, "phone", fromDetails={"name": "Alice"})
    kept.now += 1_000
    await kept.event(*e.accept("phone"))
    [out], [into] = await _calls(kept, "alice"), await _calls(kept, "bob")
    assert (out.direction, into.direction) == ("out", "in")
    for call in (out, into):
        assert (call.from_, call.invite_id, call.to, call.room) == ("alice", "1", "bob", "r")
        assert (call.state, call.code, call.reason, call.who_accepted) == ("ACCEPTED", 200, "accepted", "bob")
        assert (call.started_at, call.ended_at) == (kept.now - 1_000, kept.now)
        assert (bytes(call.from_details), call.missed, call.seen) == (b'{"name":"Alice"}', False, False)


async def test_nothing_is_kept_by_default(shard: Shard) -> None:
    await e.in_order(shard, *GONE, e.invite(), e.calls_seen())
    assert await _page(shard, "bob") == CallPage([], 0, more=False)


@pytest.mark.parametrize("most", [1, 3])
async def test_no_more_are_kept_when_a_step_ends_several(make_shard: MakeShard, most: int) -> None:
    shard = await make_shard(Settings(keep_history=most, keep_history_for=DAY, redial="ring"))
    await shard.event(*e.registered("phone"))
    for first in (0, 4):
        await e.in_order(shard, *(e.invite(invite_id=str(first + number)) for number in range(4)))
        shard.now += 1_000
        await shard.event(*e.room_closed())
        assert [len(await _calls(shard, user)) for user in ("alice", "bob")] == [most, most]


async def test_missed_calls_count_until_they_are_seen(kept: Shard) -> None:
    await e.in_order(kept, *GONE, e.invite())
    kept.now += 10
    await e.in_order(kept, e.invite(invite_id="2"), e.registered("phone"), e.invite(invite_id="3"))
    await e.in_order(kept, e.decline("phone", invite_id="3"))
    page = await _page(kept, "bob", missed=True)
    assert ([call.invite_id for call in page.calls], page.unseen) == (["2", "1"], 2)
    assert [call.missed for call in await _calls(kept, "alice")] == [False] * 3

    await kept.event(*e.calls_seen(before=kept.now))
    page = await _page(kept, "bob", missed=True)
    assert ([call.seen for call in page.calls], page.unseen) == ([False, True], 1)
    await e.in_order(kept, e.calls_seen(before=1), e.calls_seen())
    assert (await _page(kept, "bob")).unseen == 0


async def test_what_ends_after_the_event_is_not_seen_by_it(kept: Shard) -> None:
    await e.in_order(kept, *GONE, e.invite())
    seen = await kept.publish(*e.calls_seen())
    kept.now += 1
    await kept.event(*e.invite(invite_id="2"))
    await kept.settle(seen)
    assert (await _page(kept, "bob")).unseen == 1


async def test_the_oldest_go_when_there_are_more(kept: Shard) -> None:
    await e.in_order(kept, *GONE)
    for number in range(5):
        kept.now += 1
        await kept.event(*e.invite(invite_id=str(number)))
    for user in ("alice", "bob"):
        assert [call.invite_id for call in await _calls(kept, user)] == ["4", "3", "2"]
    assert (await _page(kept, "bob", missed=True)).unseen == 3


async def test_they_go_after_their_time(kept: Shard) -> None:
    await e.in_order(kept, *GONE, e.invite())
    await e.later(kept, DAY - 1)
    await e.in_order(kept, e.registered("phone"), e.invite(invite_id="2"), e.accept("phone", invite_id="2"))
    assert len(await _calls(kept, "bob")) == 2
    await e.later(kept, 1)
    await e.in_order(kept, e.invite(invite_id="3"), e.accept("phone", invite_id="3"))
    assert [call.invite_id for call in await _calls(kept, "bob")] == ["3", "2"]
    assert (await _page(kept, "bob")).unseen == 0
    await e.later(kept, DAY)
    assert await _calls(kept, "bob") == []


async def test_pages_break_nowhere_within_a_ms(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(keep_history=1000, keep_history_for=DAY))
    await e.in_order(shard, *GONE)
    for number in range(PAGE + 10):
        shard.now += number % 20 != 0
        await shard.event(*e.invite(invite_id=str(number)))
    page = await _page(shard, "bob")
    found = page.calls
    while page.more:
        page = await _page(shard, "bob", before=found[-1].ended_at)
        found = [*found, *page.calls]
    ends = [call.ended_at for call in found]
    assert ends == sorted(ends, reverse=True)
    assert len({call.invite_id for call in found}) == len(found) == PAGE + 10


async def test_an_inviter_who_is_blocked_is_in_no_history_of_the_callee(kept: Shard) -> None:
    await e.in_order(kept, e.registered("phone"), e.user_state(block=["alice"]), e.invite())
    assert (len(await _calls(kept, "alice")), await _calls(kept, "bob")) == (1, [])


async def test_a_call_to_oneself_is_there_once(kept: Shard) -> None:
    await e.in_order(kept, e.registered("a", "alice"), e.invite(to="alice"))
    [call] = await _calls(kept, "alice")
    assert (call.direction, call.missed) == ("out", False)


async def test_a_long_name_is_left_out(kept: Shard) -> None:
    await e.in_order(kept, *GONE, e.invite(fromDetails="x" * 1_100))
    assert bytes((await _calls(kept, "bob"))[0].from_details) == b"null"


async def test_members_have_the_call_of_their_group(make_shard: MakeShard) -> None:
    home = await make_shard(Settings(look_up="all", keep_history=3, keep_history_for=DAY))
    groups.team(home, "bob", "carol", "dave", "erin")
    await groups.at_home(home, "bob-phone", "carol-phone", "erin-phone")
    await home.event(*e.user_state("erin", dnd=True))
    await e.in_order(home, e.invite(to="team"), e.decline("bob-phone"), e.stop(callee="team"))
    [out] = await _calls(home, "alice")
    assert (out.to, out.group, out.code) == ("team", "team", 487)
    for user, code, missed in (
        ("bob", 603, False),
        ("carol", 487, True),
        ("dave", 480, True),
        ("erin", 480, True),
    ):
        [call] = await _calls(home, user)
        assert (call.to, call.group, call.direction) == (user, "team", "in")
        assert (call.code, call.missed) == (code, missed), user
        assert (await _page(home, user)).unseen == missed


async def test_who_was_spared_by_another_member_has_not_missed_it(make_shard: MakeShard) -> None:
    home = await make_shard(Settings(look_up="all", keep_history=3, keep_history_for=DAY))
    groups.team(home, "bob", "carol")
    await groups.at_home(home, "bob-phone", "carol-phone")
    await e.in_order(home, e.invite(to="team"), e.accept("bob-phone"))
    for user in ("bob", "carol"):
        [call] = await _calls(home, user)
        assert (call.who_accepted, call.missed) == ("bob", False)


async def test_a_later_end_of_the_same_ref_counts(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(keep_history=3, keep_history_for=DAY, retain_after=0))
    await e.in_order(shard, *GONE, e.invite())
    await e.later(shard, 10 * e.RING)
    await e.in_order(shard, e.registered("phone"), e.invite(), e.accept("phone"))
    [call] = await _calls(shard, "alice")
    assert call.code == 200


async def test_a_ref_that_was_missed_and_is_answered_later_is_not_missed(make_shard: MakeShard) -> None:
    shard = await make_shard(msgspec.structs.replace(KEPT, retain_after=60_000))
    await e.in_order(shard, *GONE, e.invite())
    await e.later(shard, 120_000)
    await e.in_order(shard, e.registered("phone"), e.invite(), e.accept("phone"))
    page = await _page(shard, "bob")
    assert ([(call.state, call.missed) for call in page.calls], page.unseen) == ([("ACCEPTED", False)], 0)


async def test_a_message_that_comes_again_changes_nothing(valkey_server: str) -> None:
    async with Redis.from_url(valkey_server) as client:
        await client.flushall()
        apart = await Apart.make_several(lambda _: client, KEPT, 7)
        for event in (*GONE, e.invite()):
            await apart.at_home(*event)
        [call] = await _calls(apart, "bob")
        assert (call.missed, await _calls(apart, "alice")) == (True, [])
        await apart.carry()  # each message twice
        [call] = await _calls(apart, "alice")
        assert (call.direction, call.code, call.missed) == ("out", 480, False)
