"""The asyncio tools: back-off, pauses, tasks, the semaphore."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.waiting import wait_until
from workers.aio.backoff import Backoff, pause
from workers.aio.semaphore import NewestFirst
from workers.aio.tasks import end


async def test_delays_double_and_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    monkeypatch.setattr("workers.aio.backoff.asyncio.sleep", sleep)
    backoff = Backoff(first_ms=100, longest_ms=500)
    for _ in range(4):
        await backoff.wait()
    backoff.reset()
    await backoff.wait()
    assert slept == [0.1, 0.2, 0.4, 0.5, 0.1]


async def test_a_pause_ends_early() -> None:
    stop = asyncio.Event()
    stop.set()
    async with asyncio.timeout(30):
        await pause(60.0, stop)
        await Backoff(first_ms=60_000, longest_ms=60_000).wait(stop)


async def test_ending_takes_tasks_that_have_failed() -> None:
    async def failing() -> None:
        raise RuntimeError("done for")

    task = asyncio.create_task(failing())
    await wait_until(task.done, "the task has failed")
    await end([task])
    assert isinstance(task.exception(), RuntimeError)


async def test_a_free_place_goes_to_the_newest_who_still_waits() -> None:
    semaphore, took = NewestFirst(1), list[int]()

    async def take(made: int) -> None:
        async with semaphore.hold((made, 0)):
            took.append(made)

    async with semaphore.hold((1, 0)):
        waiting = [asyncio.create_task(take(made)) for made in (2, 5, 3, 4)]
        await asyncio.sleep(0)
        await end([waiting[1]])
    await asyncio.wait(waiting)
    assert took == [4, 3, 2]


async def test_those_who_are_equally_new_go_in_turn() -> None:
    semaphore, took = NewestFirst(1), list[str]()

    async def take(name: str) -> None:
        async with semaphore.hold((2, 0)):
            took.append(name)

    async with semaphore.hold((1, 0)):
        waiting = [asyncio.create_task(take(name)) for name in "abc"]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert took == ["a", "b", "c"]


async def test_a_place_that_comes_together_with_a_cancellation_is_passed_on() -> None:
    semaphore = NewestFirst(1)

    async def take() -> None:
        async with semaphore.hold((2, 0)):
            pass

    async with semaphore.hold((1, 0)):
        waiting = asyncio.create_task(take())
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    async with asyncio.timeout(5), semaphore.hold((3, 0)):
        pass
