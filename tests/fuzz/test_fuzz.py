"""A short run. `python -m tests.fuzz` gives a hundred times as much."""

from __future__ import annotations

import pytest

from tests.fuzz.play import fuzzed
from tests.fuzz.run import play

INPUTS = 1_000


@pytest.mark.slow
def test_generated_input_stops_nothing_and_gets_lost_nowhere(valkey_url: str) -> None:
    done = play(valkey_url, INPUTS, 11, lambda _: None)
    assert sum(done.given.values()) >= INPUTS
    assert min(done.given[kind] for kind in ("events", "relay", "push", "replies", "requests")) > 0
    assert done.letters > 0


async def test_an_entry_that_got_lost_would_be_seen(valkey_url: str) -> None:
    async with fuzzed(valkey_url) as target:
        target.unusable += 1
        with pytest.raises(AssertionError, match="0 dead letters of 1 unusable events"):
            await target.check()
