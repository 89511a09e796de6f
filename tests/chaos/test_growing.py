"""Shards are added under load: nothing is lost, nothing is done twice."""

from __future__ import annotations

import pytest

from tests.chaos.fleet import Fleet
from tests.chaos.gateway import Post
from tests.chaos.growing import GrowingReach, Growth, play_growing
from tests.chaos.reach import asking, directory
from workers.lab.fake_sippo import FakeSippo


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.parametrize(("place", "numbers"), [("single", (2, 7)), ("moving", (1, 3))])
async def test_every_event_has_its_effect_once_while_there_become_more_shards(
    place: str, numbers: tuple[int, ...]
) -> None:
    result, growth = await play_growing(place, numbers, workers=2, seed=7, tell=lambda _: None)
    assert growth.faults == []
    assert result.faults == [], result.words()
    assert len(growth.said) == len(numbers) - 1


@pytest.mark.chaos
@pytest.mark.slow
async def test_groups_and_phones_are_reached_once_while_there_become_more_shards(valkey_url: str) -> None:
    async with FakeSippo(directory()) as fake_sippo:
        invites = asking(fake_sippo)
        with Fleet(valkey_url, 2, 7, invites, ("grow",)) as fleet:
            async with Post(valkey_url, 7, published_to=1) as post:
                growth = Growth(valkey_url, fleet)
                reach = GrowingReach(post, fake_sippo, fleet, 7, growth)
                reach.numbers = (7,)
                await reach.play(rounds=2, harmed=1)
    assert growth.faults == []
    assert reach.faults == []
