"""Reads the notifications of all shards."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from invites.client.group import TEMPORARY, temporary_name
from invites.client.reader import Arrivals, Consumer, Reader
from invites.client.repeats import Repeats
from invites.client.servers import by_client, keys_of_all, until_served
from invites.client.shard_count import EVERY_S, ShardCount
from invites.connection.clients import BLOCK_MS, Clients
from invites.store.layout import Layout

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from invites.notifications import Notification

CLAIM_AFTER_MS: Final = 60_000
"""When a consumer takes over what another one of its group has not acknowledged, unless said otherwise (ms)."""

_MOST: Final = 1_000
_END_S: Final = 2.0

_log = logging.getLogger(__name__)


class Notifications:
    """The notifications of all shards, one after the other.

        async with Notifications("redis://127.0.0.1:6379", shards=3) as notifications:
            async for one in notifications:
                deliver(one)
                notifications.done(one)

    Without `group` the reader has a temporary group of its own: it receives the notifications that are written while it
    lives. That suits a gateway: devices ring now or not at all. With `group` it receives every notification, even those
    written while it was not running. That suits a service that keeps call records. Readers that share a group, each
    with its own `consumer`, get each notification once among them. If one of them has not acknowledged a notification
    after `claim_after_ms`, another one gets it.

    With fewer shards than the workers have, it would miss calls, so it raises LayoutError: at the start, or once
    `invites reshard` is done.

    Notifications that are not `done` are delivered again. Repeats, and invitations whose time is over when they are
    asked for, are dropped. A reader with 1,000 notifications that are not done neither reads nor takes over more until
    some are.
    """

    def __init__(
        self,
        url: str,
        *,
        group: str | None = None,
        consumer: str = "reader",
        shards: int = 1,
        prefix: str = "invites",
        claim_after_ms: int = CLAIM_AFTER_MS,
        only: int | None = None,
        temporary: str = TEMPORARY,
    ) -> None:
        """Read at `url`, as in `redis.url`; `shards` and `prefix` are those of the workers.

        `only` is the one shard to read; None for all. `temporary` is the beginning of a temporary group's name.
        """
        if group is not None and group.startswith(TEMPORARY):
            raise ValueError(f"a group whose name begins with {TEMPORARY} is removed when nobody reads it")
        self._is_temporary = group is None
        self._reads = Clients(url, "notifications", block_ms=BLOCK_MS)
        self._commands = Clients(url, "notifications")
        self._came = Arrivals()
        all_keys, repeats = keys_of_all(prefix, shards), Repeats()
        self._count = ShardCount(self._commands.of(all_keys[0]), all_keys[0])
        self.checks_shards = only is None
        """Set it to False before the start if the owner compares the numbers of shards."""
        if only is not None:
            all_keys = [all_keys[only]]
        servers = by_client(self._reads, all_keys)
        as_who = Consumer(
            group or temporary_name(temporary), consumer, claim_after_ms, max(1, _MOST // len(servers))
        )
        self._readers = [
            Reader(reads, self._commands.of(keys[0]), keys, as_who, repeats, self._came)
            for reads, keys in servers
        ]
        self._reader_of = {keys.shard: reader for reader in self._readers for keys in reader.keys}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_connected(self) -> bool:
        """Whether the last read of each server succeeded."""
        return all(reader.is_connected for reader in self._readers)

    def age_ms(self, notification: Notification) -> int:
        """How long ago the server wrote it (ms), as far as its clock is known."""
        return self._reader_of[notification.shard].age_ms(notification.at)

    def done(self, notification: Notification) -> None:
        """Acknowledge a notification: it will not be delivered again."""
        self._reader_of[notification.shard].done(notification.entry, notification.shard)

    async def start(self) -> None:
        """Create the groups and begin to read. Waits for an unreachable server.

        Raises LayoutError and redis exceptions.
        """
        if self.checks_shards:
            await until_served("Reading the number of shards", self._count.look)
            await self._count.check(Layout.reaches)
        for reader in self._readers:
            await reader.prepare()
        self._tasks = [
            asyncio.create_task(loop, name="reading notifications")
            for reader in self._readers
            for loop in (reader.read(), reader.acknowledge(), reader.keep())
        ]
        if self.checks_shards:
            watching = asyncio.create_task(_watch(self._count), name="watching the number of shards")
            self._tasks.append(watching)

    async def aclose(self) -> None:
        """Acknowledge what is done, remove a temporary group, and close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*map(self._finish, self._readers))
        await self._count.aclose()
        await self._reads.aclose()
        await self._commands.aclose()

    async def _finish(self, reader: Reader) -> None:
        try:
            async with asyncio.timeout(_END_S):
                await reader.finish(remove=self._is_temporary)
        except (RedisError, OSError, TimeoutError) as error:
            _log.warning("The notifications that are done could not be acknowledged: %s", error)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Notification:
        """The next notification. Raises the error that ended the reading."""
        if not self._tasks:
            raise RuntimeError("the notifications are not being read: use `async with`, or `start`")
        while True:
            await self._arrival()
            # Until the return nothing can be cancelled, so no notification gets lost.
            one = self._came.popleft()
            if not self._reader_of[one.shard].is_over(one):
                return one
            self.done(one)

    async def _arrival(self) -> None:
        """Wait until there is a notification. Raises the error that ended the reading."""
        while not self._came:
            coming = asyncio.ensure_future(self._came.wait())
            try:
                await asyncio.wait([coming, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            finally:
                coming.cancel()
            for task in self._tasks if not self._came else ():
                if task.done():
                    if not task.cancelled():
                        task.result()
                    raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


async def _watch(count: ShardCount) -> None:
    while True:
        await asyncio.sleep(EVERY_S)
        await count.check(Layout.reaches)
