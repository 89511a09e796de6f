"""Two commits under way at the same time: their order, a failure of the first, a stop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from invites.events.entry import order
from tests.support.waiting import wait_until
from tests.support.worker import Streams, settler_of, worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invites.events.operation import Operation
    from invites.store.answers import CommitResult
    from workers.service import Service

_BATCH = 4


class Commits:
    """Intercepts the commits of a worker: notes them, and holds back or fails those that a test chooses."""

    def __init__(self, service: Service) -> None:
        settler = settler_of(service)
        self._commit = settler._commit
        self.sent: list[str] = []
        self.answer = asyncio.Event()
        self.answer.set()
        self.is_away = False
        self.prepared = asyncio.Event()
        self.prepared.set()
        self.refuses_next = False
        self.refused: list[str] = []
        settler._commit = self
        settler._batch_size._fewest = settler._batch_size.value = _BATCH

    async def prepare(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        seen = await self._commit.prepare(operations)
        await self.prepared.wait()
        return seen

    async def commit(self, operations: Sequence[Operation]) -> CommitResult:
        self.sent.append(operations[0].entry)
        if self.refuses_next and len(operations) > 1:
            self.refuses_next = False
            self.refused = [operation.entry for operation in operations]
            await self.answer.wait()
            raise ResponseError("for the test")
        result = await self._commit.commit(operations)
        await self.answer.wait()
        if self.is_away:
            self.prepared.set()
            raise RedisConnectionError("for the test")
        return result


_COUNT = 5 * _BATCH


async def _hold(streams: Streams, service: Service, *, refuses: bool = False) -> Commits:
    """Publish some batches and hold back the answers of the first two; the others wait. The first may be refused."""
    commits = Commits(service)
    await streams.ask(0, 1)  # the waiting read may take more than a batch
    await streams.told(1)
    commits.answer.clear()
    commits.sent.clear()
    commits.refuses_next = refuses
    await streams.ask(1, _COUNT - 1)
    inbox = settler_of(service)._source.inbox
    await wait_until(
        lambda: len(commits.sent) >= 2 and inbox.full(), "two commits are under way, and a batch waits"
    )
    return commits


async def test_the_next_batch_is_sent_before_the_first_is_answered_and_no_third(
    valkey_url: str, streams: Streams
) -> None:
    async with worker(valkey_url) as service:
        await streams.told(0)
        commits = await _hold(streams, service)
        assert len(commits.sent) == 2
        commits.answer.set()
        await streams.assert_answered(_COUNT)
        assert await streams.answers() == list(range(_COUNT))
        assert commits.sent == sorted(commits.sent, key=order)


async def test_commits_whose_answers_are_lost_go_again_in_their_order(
    valkey_url: str, streams: Streams
) -> None:
    async with worker(valkey_url) as service:
        await streams.told(0)
        commits = await _hold(streams, service)
        first, second = commits.sent
        commits.is_away = True
        commits.answer.set()
        await wait_until(lambda: commits.sent.count(first) == 3, "the first is tried again")
        commits.is_away = False
        await streams.assert_answered(_COUNT)
        assert await streams.answers() == list(range(_COUNT))
        assert commits.sent[:2] == [first, second]
        again = commits.sent[2:]
        assert again[again.index(second) - 1] == first
        assert again.count(second) == 1


async def test_a_commit_that_is_being_prepared_when_another_fails_waits_for_it(
    valkey_url: str, streams: Streams
) -> None:
    async with worker(valkey_url) as service:
        await streams.told(0)
        commits = Commits(service)
        commits.answer.clear()
        (first,) = await streams.ask(0, 1)
        await wait_until(lambda: commits.sent == [first], "the first is under way")
        commits.prepared.clear()
        (second,) = await streams.ask(1, 1)
        await wait_until(settler_of(service)._beginning.locked, "the second is being prepared")
        commits.is_away = True
        commits.answer.set()
        await wait_until(lambda: len(commits.sent) > 1, "something is sent after that")
        assert commits.sent == [first, first]
        commits.is_away = False
        await streams.assert_answered(2)
        assert commits.sent[-1] == second


async def test_no_batch_overtakes_entries_that_go_alone(valkey_url: str, streams: Streams) -> None:
    await streams.make_group()
    await streams.ask(0, 150)
    await streams.strand(100, "the worker")
    async with worker(valkey_url, consumer="the worker", claim_after=60_000):
        await streams.assert_answered(150)
        assert await streams.answers() == list(range(150))


async def test_no_later_batch_overtakes_the_entries_of_one_that_is_refused(
    valkey_url: str, streams: Streams
) -> None:
    async with worker(valkey_url) as service:
        await streams.told(0)
        commits = await _hold(streams, service, refuses=True)
        commits.answer.set()
        await streams.assert_answered(_COUNT)
        later = commits.sent[commits.sent.index(commits.refused[0]) + 1 :]
        alone = later.index(commits.refused[0])
        assert alone <= 1  # one was under way
        assert later[alone : alone + len(commits.refused)] == commits.refused


async def test_a_stop_waits_for_both(valkey_url: str, streams: Streams) -> None:
    async with worker(valkey_url) as service:
        await streams.told(0)
        commits = await _hold(streams, service)
        stopping = asyncio.create_task(service.drain())
        await wait_until(service.stopping.is_set, "the worker stops")
        assert not stopping.done()
        commits.answer.set()
        await stopping
        assert await streams.pending() == 0
        assert sorted(await streams.answers()) == list(range(len(await streams.answers())))


async def test_a_worker_that_ends_at_once_loses_nothing(valkey_url: str, streams: Streams) -> None:
    async with worker(valkey_url) as service:
        await streams.told(0)
        await _hold(streams, service)
    async with worker(valkey_url):
        await streams.assert_answered(_COUNT)
