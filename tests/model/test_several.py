"""Several shards: random histories, and those that once went wrong.

If messages between shards arrive at once, the shards follow the model; if they come late and in any order, the
invariants still hold. The suite plays the same histories every time. `INVITES_MODEL=long` plays 5,000 new ones of each
kind.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from invites.lookup.result import LookupResult, Member
from invites.store.scripts import Scripts
from invites.store.settings import Settings

from .at_once import PlayAtOnce
from .author import histories, history
from .histories import Advance, Carry, Fire, History, Knows, Publish, Settle, Step
from .minimal import Run, fail_minimally
from .several import PlayApart
from .test_rules_found import FOUND, calls, gone, here, says, stops

LONG = os.environ.get("INVITES_MODEL") == "long"
NEW = settings(deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
SCRIPTS = Scripts()
SHARDS = (7, 5, 11)  # so that each of the histories' names is apart from each other one under one of them
PLAYED = 21
PLAYED_AT_ONCE = 36

Write = Callable[[Random], History]
only_long = pytest.mark.skipif(not LONG, reason="only INVITES_MODEL=long plays new histories")
pytestmark = pytest.mark.timeout(0 if LONG else 300)


async def hearing_late(url: str, shards: int, history: History) -> None:
    async with Redis.from_url(url) as client:
        await PlayApart(client, SCRIPTS, history, shards).run()


async def hearing_at_once(url: str, shards: int, history: History) -> None:
    async with Redis.from_url(url) as client:
        await PlayAtOnce(client, SCRIPTS, history, shards).run()


def apart(random: Random) -> History:
    """A history in which messages between shards arrive now and then."""
    whole = history(random)
    steps: list[Step] = []
    for step in whole.steps:
        steps.append(step)
        steps += [Carry(random.randrange(32)) for _ in range(random.choice((0, 0, 0, 1, 1, 2, 4)))]
    return History(whole.settings, tuple(steps))


def play(run: Run, history: History) -> None:
    asyncio.run(fail_minimally(history, run))


def play_the_known(count: int, run: Callable[[int, History], Awaitable[None]], write: Write) -> None:
    """Play the histories of the seeds 0, 1, 2..."""
    for seed in range(count):
        shards = SHARDS[seed % len(SHARDS)]
        try:
            play(partial(run, shards), write(Random(seed)))
        except AssertionError as error:
            error.add_note(f"seed {seed}, {shards} shards")
            raise


def test_shards_do_what_the_model_says_when_they_hear_of_each_other_at_once(valkey_server: str) -> None:
    play_the_known(PLAYED_AT_ONCE, partial(hearing_at_once, valkey_server), history)


def test_shards_agree_however_late_they_hear_of_each_other(valkey_server: str) -> None:
    play_the_known(PLAYED, partial(hearing_late, valkey_server), apart)


@only_long
@settings(NEW, max_examples=5_000)
@given(history=histories(), shards=st.sampled_from(SHARDS))
def test_new_histories_at_once(valkey_server: str, history: History, shards: int) -> None:
    play(partial(hearing_at_once, valkey_server, shards), history)


@only_long
@settings(NEW, max_examples=5_000)
@given(history=st.randoms(use_true_random=False).map(apart), shards=st.sampled_from(SHARDS))
def test_new_histories_late(valkey_server: str, history: History, shards: int) -> None:
    play(partial(hearing_late, valkey_server, shards), history)


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_on_one_shard(name: str, valkey_server: str) -> None:
    found = History(*FOUND[name])
    play(partial(hearing_at_once, valkey_server, 5), found)
    play(partial(hearing_late, valkey_server, 5), found)


def desk(peer: str) -> dict[str, str]:
    """A peer of Alice that names its device."""
    return {"id": peer, "user": "alice", "device": "desk"}


# Alice, Bob and the room are in three of five shards. No other message is on its way.
APART: dict[str, tuple[Step, ...]] = {
    "the end of a call overtakes its repeat": (
        here("b1"),
        calls("a1"),
        *(Carry(0),) * 2,
        calls("a1"),
        stops("a1"),
        *(Carry(1),) * 2,
    ),
    "the repeat of a call and its end overtake its beginning": (
        here("b1"),
        calls("a1"),
        calls("a1"),
        stops("a1"),
        *(Carry(2),) * 3,
    ),
    "a caller that repeats its call is replaced by an older registration that comes late": (
        here("b1"),
        here("a2"),
        calls("a2"),
        here("a1", later=True),
        calls("a2"),
        *(Carry(0),) * 3,
    ),
    "a caller is back under another peer id before its repeat is heard of": (
        here("b1"),
        here("a2"),
        calls("a2"),
        *(Carry(0),) * 2,
        here("a1"),
        calls("a2"),
        Carry(1),
    ),
    "a trunk's end means another session than a registration that comes late": (
        here("t1"),
        here("t1", session="s1", later=True),
        gone("t1", session="s2"),
    ),
    "a trunk registers again in time, and late": (
        here("t1", expires=5_000),
        here("t1", expires=5_000, later=True),
        Advance(6_000),
        Fire(),
    ),
    "a trunk is over before others hear that it replaced another one": (
        here("t2"),
        here("t3"),
        gone("t3"),
        *(Carry(2),) * 3,
        *(Carry(1),) * 9,
    ),
    "a trunk that has been replaced registers once its device is gone": (
        here("t2", later=True),
        here("t3", session="s1"),
        gone("t3"),
        Settle((0,)),
        *(Carry(9),) * 9,
    ),
    "a guest's device calls as one peer, and as another one before that is heard of": (
        here("b1"),
        here("c1"),
        calls("a1", peer=desk("a1")),
        *(Carry(0),) * 4,
        calls("a1", to="carol", peer=desk("a1")),
        Publish("getInvitations", {"peer": desk("a2")}),
        *(Carry(0),) * 6,
    ),
    "a caller is gone before its call is heard of": (
        here("b1"),
        here("a1"),
        calls("a1"),
        gone("a1"),
        here("a2"),
        says("ringing", "b1"),
        *(Carry(0),) * 2,
    ),
}


def test_the_trunk_whose_loss_ends_a_turn_does_not_ring_for_the_next_member(valkey_server: str) -> None:
    """Alice, the group and the trunk are in one of two shards, 007 is in the other."""
    members = [Member("alice"), Member("007"), Member("bob"), Member("dave")]
    found = Knows("team", LookupResult(known=True, members=members, sequential=True))
    steps = (found, here("t1"), calls("c1", "team"), gone("t1"))
    play(partial(hearing_at_once, valkey_server, 2), History(Settings(look_up="all"), steps))


@pytest.mark.parametrize("name", APART)
def test_messages_that_overtake_each_other(name: str, valkey_server: str) -> None:
    async def run() -> None:
        async with Redis.from_url(valkey_server) as client:
            await PlayApart(client, SCRIPTS, History(Settings(), APART[name]), 5, astray=0).run()

    asyncio.run(run())


def test_a_gateway_that_is_back_under_another_peer_id_is_rung_wherever_it_rang(valkey_server: str) -> None:
    async def run() -> None:
        async with Redis.from_url(valkey_server) as client:
            steps = (here("t2"), *(Carry(0),) * 4, calls("a1", to="007"), *(Carry(0),) * 2, here("t3"))
            course = PlayApart(client, SCRIPTS, History(Settings(), steps), 5, astray=0)
            await course.driver.start()
            for step in steps:
                await course.step(step)
            await course.all_arrive()
            assert course.watch.ringing == {(("alice", "i1", "007"), "t3")}

    asyncio.run(run())
