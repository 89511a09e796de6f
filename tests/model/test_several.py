"""Several shards that hear of each other late and in any order: random histories, and those that once went wrong.

The suite plays the same histories every time. `INVITES_MODEL=long` plays 5,000 new ones.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from invites.commit import Settings
from invites.scripts import Scripts

from .author import history
from .histories import Carry, History, Step
from .minimal import Run, fail_minimally
from .several import PlayApart
from .test_rules_found import FOUND, calls, gone, here, says, stops

LONG = os.environ.get("INVITES_MODEL") == "long"
NEW = settings(deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
SCRIPTS = Scripts()
SHARDS = (7, 5, 11)  # so that each of the histories' names is apart from each other one under one of them
PLAYED = 36

pytestmark = pytest.mark.timeout(0 if LONG else 300)


async def on_server(url: str, shards: int, history: History) -> None:
    async with Redis.from_url(url) as client:
        await PlayApart(client, SCRIPTS, history, shards).run()


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


def test_shards_agree_however_late_they_hear_of_each_other(valkey_server: str) -> None:
    for seed in range(PLAYED):
        shards = SHARDS[seed % len(SHARDS)]
        try:
            play(partial(on_server, valkey_server, shards), apart(Random(seed)))
        except AssertionError as error:
            error.add_note(f"seed {seed}, {shards} shards")
            raise


@pytest.mark.skipif(not LONG, reason="only INVITES_MODEL=long plays new histories")
@settings(NEW, max_examples=5_000)
@given(history=st.randoms(use_true_random=False).map(apart), shards=st.sampled_from(SHARDS))
def test_new_histories_on_several_shards(valkey_server: str, history: History, shards: int) -> None:
    play(partial(on_server, valkey_server, shards), history)


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_on_one_shard(name: str, valkey_server: str) -> None:
    config, steps = FOUND[name]
    play(partial(on_server, valkey_server, 5), History(config, steps))


# Alice, Bob and the room are in three of five shards. Nothing else is on its way than what is said here.
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


@pytest.mark.parametrize("name", APART)
def test_messages_that_overtake_each_other(name: str, valkey_server: str) -> None:
    async def run() -> None:
        async with Redis.from_url(valkey_server) as client:
            await PlayApart(client, SCRIPTS, History(Settings(), APART[name]), 5, astray=0).run()

    asyncio.run(run())
