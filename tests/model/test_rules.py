from __future__ import annotations

import asyncio
import os

import fakeredis
from hypothesis import HealthCheck, Phase, given, settings

from invites.scripts import Scripts

from .histories import History, histories
from .play import Play

_COMMON = settings(deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck))
settings.register_profile("model-ci", _COMMON, max_examples=150, derandomize=True)
settings.register_profile("model-long", _COMMON, max_examples=5_000, print_blob=True)
PROFILE = settings.get_profile(f"model-{os.environ.get('INVITES_MODEL', 'ci')}")
SCRIPTS = Scripts(flags=False)


async def on_fakeredis(history: History) -> None:
    client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    try:
        await Play(client, SCRIPTS, history).run()
    finally:
        await client.aclose()


@PROFILE
@given(histories())
def test_scripts_do_what_the_model_says(history: History) -> None:
    asyncio.run(on_fakeredis(history))
