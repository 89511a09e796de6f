"""The scripts against the model: random histories, on each kind of server.

The suite plays the same histories every time. `INVITES_MODEL=long` plays 20,000 new ones on Valkey, 2,000 on Redis 7
and 200 on fakeredis as well (less than an hour on an idle machine):

    INVITES_MODEL=long nice .venv/bin/python -m pytest tests/model -k new_histories
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from random import Random

import fakeredis
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from redis.asyncio import Redis

from invites.store.scripts import Scripts

from .author import histories, history
from .histories import History
from .minimal import Run, fail_minimally
from .play import Play

LONG = os.environ.get("INVITES_MODEL") == "long"
NEW = settings(deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
REAL = Scripts()
FAKE = Scripts(flags=False)

pytestmark = pytest.mark.timeout(0 if LONG else 300)
only_long = pytest.mark.skipif(not LONG, reason="only INVITES_MODEL=long plays new histories")


async def on_server(url: str, history: History) -> None:
    async with Redis.from_url(url) as client:
        await client.flushall()
        await Play(client, REAL, history).run()


async def on_fakeredis(history: History) -> None:
    async with fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer()) as client:
        await Play(client, FAKE, history).run()


def play_the_known(count: int, run: Run) -> None:
    """Play the first `count` histories: those of the seeds 0, 1, 2...

    hypothesis would not do here, not even derandomized: what it draws depends on the constants in all modules that
    happen to be loaded. A suite that plays something else after an unrelated change, or alone, fails on luck.
    """
    for seed in range(count):
        try:
            asyncio.run(fail_minimally(history(Random(seed)), run))
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise


def test_scripts_do_what_the_model_says(valkey_server: str) -> None:
    play_the_known(250, partial(on_server, valkey_server))


def test_the_same_on_redis(redis_server: str) -> None:
    play_the_known(40, partial(on_server, redis_server))


# fakeredis compiles the whole script for each call, which takes longer than all the rest.
def test_the_same_on_fakeredis() -> None:
    play_the_known(10, on_fakeredis)


@only_long
@settings(NEW, max_examples=20_000)
@given(history=histories())
def test_new_histories(valkey_server: str, history: History) -> None:
    asyncio.run(fail_minimally(history, partial(on_server, valkey_server)))


@only_long
@settings(NEW, max_examples=2_000)
@given(history=histories())
def test_new_histories_on_redis(redis_server: str, history: History) -> None:
    asyncio.run(fail_minimally(history, partial(on_server, redis_server)))


@only_long
@settings(NEW, max_examples=200)
@given(history=histories())
def test_new_histories_on_fakeredis(history: History) -> None:
    asyncio.run(fail_minimally(history, on_fakeredis))
