from __future__ import annotations

import asyncio
import os

import fakeredis
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from redis.asyncio import Redis

from invites.scripts import Scripts

from .histories import History, histories
from .play import Play

_COMMON = settings(
    deadline=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile("model-ci", _COMMON, max_examples=100, derandomize=True)
settings.register_profile("model-long", _COMMON, max_examples=20_000, print_blob=True)
PROFILE = settings.get_profile(f"model-{os.environ.get('INVITES_MODEL', 'ci')}")
REAL = Scripts()
pytestmark = pytest.mark.model
FAKE = Scripts(flags=False)


async def on_server(history: History, url: str) -> None:
    async with Redis.from_url(url) as client:
        await client.flushall()
        await Play(client, REAL, history).run()


async def on_fakeredis(history: History) -> None:
    client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    try:
        await Play(client, FAKE, history).run()
    finally:
        await client.aclose()


@PROFILE
@given(history=histories())
def test_scripts_do_what_the_model_says(valkey_server: str, history: History) -> None:
    asyncio.run(on_server(history, valkey_server))


@settings(PROFILE, max_examples=30)
@given(history=histories())
def test_the_same_on_redis_7(redis7_server: str, history: History) -> None:
    asyncio.run(on_server(history, redis7_server))


@settings(
    PROFILE, max_examples=5
)  # it compiles the script for each call, which takes longer than all the rest
@given(history=histories())
def test_the_same_on_fakeredis(history: History) -> None:
    asyncio.run(on_fakeredis(history))
