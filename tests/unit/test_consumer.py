"""The entries of one stream in a worker: their number, their bytes, their batches."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from invites.events.entry import Entry, entries_of, order
from invites.keys import Keys, Stream
from invites.store.answers import CommitResult
from invites.store.commit import SettleMode
from workers.consumer.batch_size import BatchSize
from workers.consumer.budget import ByteBudget
from workers.consumer.shard import Shard
from workers.consumer.source import Batch, Source
from workers.consumer.ticket import InFlight


def after(batch_size: BatchSize, event_ms: float) -> int:
    """The size after commits of full batches that take this long."""
    for _ in range(50):
        batch_size.committed(batch_size.value, batch_size.value * event_ms / 1000)
    return batch_size.value


@pytest.mark.parametrize(("event_ms", "size"), [(0.2, 50), (0.4, 25), (1.0, 16), (0.001, 64)])
def test_a_commit_is_kept_at_10_ms_within_bounds(event_ms: float, size: int) -> None:
    assert after(BatchSize(), event_ms) == pytest.approx(size, abs=1)


def test_small_commits_tell_nothing() -> None:
    batch_size = BatchSize()
    before = batch_size.value
    for _ in range(100):
        batch_size.committed(1, 0.001)
    assert batch_size.value == before


async def test_the_time_of_a_commit_is_what_the_server_tells_or_else_that_of_its_answer() -> None:
    told = iter([0.004, 0.0])

    async def commit(*_: object) -> CommitResult:
        return CommitResult([], None, 0, [], next(told))

    clients = SimpleNamespace(ordered=lambda _keys: SimpleNamespace(took=lambda _since: 0.030))
    worker: Any = SimpleNamespace(clients=clients)
    committer: Any = SimpleNamespace(commit=commit)
    unused: Any = None
    shard = Shard(Keys(), worker, unused, committer, unused)
    assert [(await shard.commit([], SettleMode())).server_s for _ in range(2)] == [0.004, 0.030]


def test_only_what_has_aged_is_renewed_and_then_is_young_again() -> None:
    in_flight = InFlight(ByteBudget())
    in_flight.begin({"1-0": 1, "2-0": 1}, now=0.0)
    in_flight.begin({"3-0": 1}, now=5.0)
    in_flight.end("2-0")
    assert in_flight.renew(before=1.0, now=6.0) == ["1-0"]
    assert in_flight.renew(before=5.5, now=7.0) == ["3-0"]
    assert "1-0" in in_flight
    assert "2-0" not in in_flight
    assert len(in_flight) == 2


def _source(budget: ByteBudget) -> Source[Any]:
    worker: Any = SimpleNamespace(budget=budget, spans=None)
    shard: Any = SimpleNamespace(worker=worker, keys=Keys())
    reads: Any = None
    return Source(shard, Stream.EVENTS, reads, lambda entry: entry)


async def test_reads_begin_small_and_shrink_with_large_entries() -> None:
    source = _source(ByteBudget())
    assert source.room == 16
    rooms = []
    for size in (100, 100, 100, 2**21, 2**21, 100, 100):
        tickets = await source.take_on([Entry("1-0", {b"x": b"x" * size})], alone=False)
        tickets[0].done()
        rooms.append(source.room)
    assert rooms == [32, 64, 128, 3, 3, 8, 16]


async def test_nothing_is_read_while_the_budget_is_used_up_unless_nothing_is_in_flight() -> None:
    budget = ByteBudget(1_000_000)
    busy, other = _source(budget), _source(budget)
    [first] = await busy.take_on([Entry("1-0", {b"x": b"x" * 2_000_000})], alone=False)
    assert (busy.room, other.room) == (0, 1)
    [second] = await other.take_on([Entry("1-0", {b"x": b"x" * 10})], alone=False)
    assert (busy.room, other.room) == (0, 0)
    second.done()
    first.leave()
    first.leave()
    assert budget.room == 1_000_000
    assert (busy.room, other.room) == (1, 3)


async def test_an_entry_is_taken_on_once_at_a_time() -> None:
    """A reader that recovers and a reclaimer may both find it."""
    budget = ByteBudget(1_000)
    source = _source(budget)
    entry = Entry("1-0", {b"x": b"x" * 99})
    [ticket] = await source.take_on([entry], alone=False)
    assert await source.take_on([entry], alone=True) == []
    assert budget.room == 900
    ticket.leave()
    [again] = await source.take_on([entry], alone=True)
    again.done()
    assert budget.room == 1_000


async def test_a_full_batch_is_halved_only_while_too_few_are_taken() -> None:
    source = _source(ByteBudget())
    sizes: list[int] = []
    taken: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        for page in range(3):
            entries = [Entry(f"{page + 1}-{number}", {b"x": b"x"}) for number in range(64)]
            await source.inbox.put(Batch([], source.begin(entries)))
            while len(taken) < 64 * (page + 1):
                batch = await stack.enter_async_context(source.next_batch(2))
                sizes.append(len(batch.tickets))
                taken += [ticket.entry for ticket in batch.tickets]
    assert sizes == [32, 32, 64, 64]
    assert taken == sorted(taken, key=order)
    entries = [Entry(f"9-{number}", {b"x": b"x"}) for number in range(64)]
    await source.inbox.put(Batch([], source.begin(entries)))
    async with source.next_batch() as batch:
        assert len(batch.tickets) == len(entries)


async def test_batches_are_handed_out_in_their_order_whoever_has_the_larger_one() -> None:
    source = _source(ByteBudget())
    handed_out: list[str] = []

    async def take() -> None:
        async with source.next_batch() as batch:
            handed_out.append(batch.tickets[0].entry)

    roles = [asyncio.create_task(take()) for _ in range(2)]
    for first, count in ((1, 60), (2, 1)):
        entries = [Entry(f"{first}-{number}", {b"x": b"x"}) for number in range(count)]
        await source.inbox.put(Batch([], source.begin(entries)))
    await asyncio.gather(*roles)
    assert handed_out == ["1-0", "2-0"]


def test_entries_keep_their_order_and_say_what_was_trimmed() -> None:
    raw: list[Any] = [[b"1-0", [b"type", b"joined", b"payload", b"{}"]], [b"2-0", None]]
    found = entries_of(raw)
    assert [(entry.id, entry.fields) for entry in found] == [
        ("1-0", {b"type": b"joined", b"payload": b"{}"}),
        ("2-0", {}),
    ]
