"""A sample of all orders of each set, and proof that a wrong rule is found. `make exhaustive` plays all."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from math import gcd

import pytest
from redis.asyncio import Redis

from invites.store.scripts import Scripts

from .model import Model
from .orders import PlayOrders, count_orders
from .sets import SETS, OrderedSet, only_one_device, push

SAMPLE = 20
SCRIPTS = Scripts()


@pytest.mark.parametrize("make", SETS)
async def test_in_any_order_the_scripts_do_what_the_model_says(
    client: Redis, make: Callable[[], OrderedSet]
) -> None:
    play = PlayOrders(client, SCRIPTS, make())
    orders = count_orders(make().events)
    # A step with a common divisor would meet the same few settle orders again and again.
    step = next(number for number in count(orders // SAMPLE) if gcd(number, orders) == 1)
    await play.play_all(step=step)
    assert play.played >= SAMPLE // 2


async def test_a_wrong_rule_is_seen(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "reject_elsewhere", lambda *_: None)
    play = PlayOrders(client, SCRIPTS, only_one_device())
    with pytest.raises(AssertionError, match="busy_elsewhere") as failed:
        await play.play_all()
    assert "settled in the order" in failed.value.__notes__[0]


def test_what_is_not_published_has_no_place_among_the_publish_orders() -> None:
    assert count_orders(push().events) == 120 * 120
