"""Generates input until there is enough of it, checking now and then."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from random import Random

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.inputs import several
from tests.fuzz.play import Fuzzed, fuzzed
from tests.fuzz.shapes import Input

_EACH = 500
"""How many inputs are given before everything is checked."""
_ROUND = 20
"""How many times inputs are drawn at once: some thousand."""


def play(url: str, count: int, chance: int, tell: Callable[[str], None]) -> Fuzzed:
    """Give a worker on this server `count` inputs. Raises AssertionError with what is wrong."""
    with asyncio.Runner() as runner:
        opening = fuzzed(url)
        target = runner.run(opening.__aenter__())
        try:
            _generate(runner, target, count, chance, tell)
            runner.run(target.check_that_nothing_stays())
        finally:
            runner.run(opening.__aexit__(*sys.exc_info()))
    return target


def _generate(
    runner: asyncio.Runner, target: Fuzzed, count: int, chance: int, tell: Callable[[str], None]
) -> None:
    random, looked_at = Random(chance), 0

    def give(inputs: list[Input]) -> None:
        nonlocal looked_at
        given_so_far = sum(target.given.values())
        if given_so_far >= count:
            return
        runner.run(target.take(inputs))
        if given_so_far - looked_at >= _EACH:
            looked_at = given_so_far
            runner.run(target.check())
            tell(f"{given_so_far} given, {target.letters} of them dead letters")

    while sum(target.given.values()) < count:
        _round(give, random.getrandbits(32))


def _round(give: Callable[[list[Input]], None], chance: int) -> None:
    """Draw some inputs and give them. hypothesis cannot be told to stop when there are enough."""

    @seed(chance)
    @settings(
        max_examples=_ROUND,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(several())
    def draw(inputs: list[Input]) -> None:
        give(inputs)

    draw()
