"""The scripts against the model: random histories, on each kind of server.

INVITES_MODEL=long plays 20,000 new ones on Valkey (about half an hour); otherwise the same few every time.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial

import fakeredis
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from redis.asyncio import Redis

from invites.scripts import Scripts

from .histories import History, histories
from .minimal import fail_minimally
from .play import Play

LONG = os.environ.get("INVITES_MODEL") == "long"
PROFILE = settings(
    deadline=None,
    derandomize=not LONG,
    database=None,
    max_examples=20_000 if LONG else 250,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
REAL = Scripts()
FAKE = Scripts(flags=False)

pytestmark = pytest.mark.timeout(0 if LONG else 300)


async def on_server(url: str, history: History) -> None:
    async with Redis.from_url(url) as client:
        await client.flushall()
        await Play(client, REAL, history).run()


async def on_fakeredis(history: History) -> None:
    async with fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer()) as client:
        await Play(client, FAKE, history).run()


@PROFILE
@given(history=histories())
def test_scripts_do_what_the_model_says(valkey_server: str, history: History) -> None:
    asyncio.run(fail_minimally(history, partial(on_server, valkey_server)))


@settings(PROFILE, max_examples=2_000 if LONG else 40)
@given(history=histories())
def test_the_same_on_redis_7(redis7_server: str, history: History) -> None:
    asyncio.run(fail_minimally(history, partial(on_server, redis7_server)))


# fakeredis compiles the whole script for each call, which takes longer than all the rest.
@settings(PROFILE, max_examples=200 if LONG else 10)
@given(history=histories())
def test_the_same_on_fakeredis(history: History) -> None:
    asyncio.run(fail_minimally(history, on_fakeredis))
