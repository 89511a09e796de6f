"""The measures of commits for the metrics: ends, and the times that matter to people."""

from __future__ import annotations

import pytest

from invites.store.answers import Status
from invites.store.measures import Ended, Took, read_measures
from invites.store.settings import Settings
from tests.support import events as e
from tests.support import push_jobs
from tests.support.shard import MakeShard, Shard


async def _late(shard: Shard, event: e.Published, ms: int) -> None:
    """Settle an event this long after it was published."""
    operation = await shard.publish(*event)
    shard.now += ms
    await shard.settle(operation)


async def test_an_accepted_call_tells_its_end_and_three_times(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    shard.now += 300
    await shard.event(*e.ringing("phone"))
    await shard.event(*e.ringing("tablet"))
    assert shard.measured() == [Took("rang", 0.3, "connection")]
    shard.now += 4_000
    await _late(shard, e.accept("phone"), 40)
    assert shard.measured() == [
        Ended("direct", "ACCEPTED", "accepted"),
        Took("answered", 4.34),
        Took("stopped", 0.04),
    ]


async def test_nothing_stops_where_one_device_rings(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await shard.event(*e.accept("phone"))
    assert shard.measured() == [Ended("direct", "ACCEPTED", "accepted"), Took("answered", 0.0)]


async def test_repeats_of_events_and_of_commits_measure_nothing(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    operation = await shard.publish(*e.accept("phone"))
    await shard.settle(operation)
    assert shard.measured()
    await shard.settle(operation)
    for event in (e.accept("phone"), e.accept("tablet"), e.ringing("tablet"), e.stop(), e.invite()):
        await shard.event(*event)
    assert shard.measured() == []


async def test_fired_timers_measure_too(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await e.later(shard, 60_000)
    assert shard.measured() == [Ended("direct", "DECLINED_BY_TIMEOUT", "timeout")]


@pytest.mark.parametrize(
    ("event", "end"),
    [
        (e.decline("phone"), ("DECLINED", "declined")),
        (e.decline("phone", errorCode=486), ("DECLINED", "busy")),
        (e.stop(), ("DECLINED_BY_CREATOR", "cancelled")),
        (e.room_closed(), ("DECLINED_BY_CREATOR", "room_closed")),
    ],
)
async def test_other_ends_have_no_times(shard: Shard, event: e.Published, end: tuple[str, str]) -> None:
    await e.bob_rings(shard, "phone")
    await shard.event(*event)
    assert shard.measured() == [Ended("direct", *end)]


async def test_an_invite_that_never_rings_ends(shard: Shard) -> None:
    await shard.event(*e.invite())
    assert shard.measured() == [Ended("direct", "DECLINED", "not_found")]


async def test_all_calls_of_a_closed_room_end(shard: Shard) -> None:
    for user in ("bob", "carol", "dave"):
        await shard.event(*e.registered(f"{user}-phone", user))
        await shard.event(*e.invite(to=user))
    await shard.event(*e.room_closed())
    assert shard.measured() == [Ended("direct", "DECLINED_BY_CREATOR", "room_closed")] * 3


async def test_a_request_is_no_call(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    await shard.event(*e.request())
    await shard.event(*e.decline("phone"))
    assert shard.measured() == [Ended("request", "DECLINED", "declined")]


async def test_a_group_call_ends_once_and_each_leg_stops(called: Shard) -> None:
    called.now += 200
    await called.event(*e.ringing("carol-phone", "carol"))
    await called.event(*e.ringing("bob-phone"))
    assert called.measured() == [Took("rang", 0.2, "connection")]
    called.now += 1_000
    await _late(called, e.accept("bob-phone"), 30)
    found = called.measured()
    assert [each for each in found if each != Took("stopped", 0.03)] == [
        Took("answered", 1.23),
        Ended("group", "ACCEPTED", "accepted"),
    ]
    assert len(found) == 4  # Bob's desk and Carol's phone stop


async def test_where_all_may_accept_the_first_one_answers(home: Shard) -> None:
    await home.event(*e.invite(to="team", ringMode="all"))
    home.now += 1_000
    await home.event(*e.accept("bob-phone"))
    assert [each for each in home.measured() if isinstance(each, Took) and each.what != "stopped"] == [
        Took("answered", 1.0)
    ]
    home.now += 2_000
    await home.event(*e.accept("carol-phone", "carol"))
    assert home.measured() == [Ended("group", "ACCEPTED", "accepted")]


@pytest.mark.one_shard
async def test_a_phone_that_sleeps_tells_when_it_wakes(bob_pushed: Shard) -> None:
    bob_pushed.now += 2_500
    await bob_pushed.event(*e.registered("p-1", device="phone"))
    assert bob_pushed.measured() == [Took("woke", 2.5)]
    bob_pushed.now += 500
    await bob_pushed.event(*e.ringing("p-1"))
    assert bob_pushed.measured() == [Took("rang", 3.0, "push")]
    await bob_pushed.event(*e.registered("p-1", device="phone", session="s"))
    assert bob_pushed.measured() == []


@pytest.mark.one_shard
async def test_a_phone_that_wakes_by_itself_tells_nothing(bob_called: Shard) -> None:
    await bob_called.event(*e.registered("p-1", device="phone"))
    await push_jobs.taken(bob_called)
    assert bob_called.measured() == []


@pytest.mark.one_shard
async def test_an_event_that_needs_a_lookup_is_measured_once(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="push"))
    await shard.event(*e.invite())
    assert len(shard.measured()) == 1


@pytest.mark.one_shard
async def test_an_event_that_fails_measures_nothing_and_the_next_one_does(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await e.in_order(shard, e.registered("c", "carol"), e.invite(to="carol"))
    wrong = f"{shard.keys.base}ended:bob"
    await shard.client.set(wrong, "no sorted set")
    failing = await shard.publish(*e.accept("phone"))
    outcomes = await shard.settle(failing, await shard.publish(*e.decline("c", "carol")))
    assert [outcome.status for outcome in outcomes] == [Status.FAILED, Status.DONE]
    assert shard.measured() == [Ended("direct", "DECLINED", "declined")]
    await shard.client.delete(wrong)
    await shard.settle(failing)
    assert shard.measured()[0] == Ended("direct", "ACCEPTED", "accepted")


def test_a_time_that_is_ahead_is_zero() -> None:
    assert read_measures("stopped 1005-3\nrang 900 push", 1000) == [
        Took("stopped", 0.0),
        Took("rang", 0.1, "push"),
    ]
    assert read_measures("", 1000) == []
