"""Reads the notifications that one connection reaches."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from invites.client.group import Group, ServerClock
from invites.client.page import Page
from invites.client.servers import until_served
from invites.connection.clients import BLOCK_MS
from invites.events.entry import entries_of
from invites.notifications import BadNotification, Invitation, decode_notification

if TYPE_CHECKING:
    from invites.client.repeats import Repeats
    from invites.events.entry import Entry
    from invites.keys import Keys
    from invites.notifications import Notification

_PAGE: Final = 100
_GATHER_S: Final = 0.01
_LONGEST_KEEP_S: Final = 30.0
_NEVER_MS: Final = 2**53  # the idle time of no entry

_log = logging.getLogger(__name__)


class Arrivals(deque["Notification"]):
    """Notifications that have arrived and are not taken yet."""

    def __init__(self) -> None:
        super().__init__()
        self._news = asyncio.Event()

    def put(self, notification: Notification) -> None:
        """One has arrived."""
        self.append(notification)
        self._news.set()

    async def wait(self) -> None:
        """Wait until there is one."""
        while not self:
            self._news.clear()
            await self._news.wait()


class Consumer(NamedTuple):
    """The consumer to read as. At most `most` notifications are not done at a time."""

    group: str
    name: str
    claim_after_ms: int
    most: int


class Reader:
    """Three loops for the shards of one connection: read, acknowledge, and do periodic work."""

    def __init__(
        self,
        reads: Any,  # noqa: ANN401 - see Clients
        commands: Any,  # noqa: ANN401
        keys: list[Keys],
        consumer: Consumer,
        repeats: Repeats,
        came: Arrivals,
    ) -> None:
        """Put the notifications into `came`."""
        self.keys = keys
        self.is_connected = False
        self._reads = reads
        self._commands = commands
        self._groups = {
            one.notifications.encode(): Group(commands, one, consumer.group, consumer.name) for one in keys
        }
        self._group = consumer.group
        self._consumer = consumer.name
        self._claim_after_ms = consumer.claim_after_ms
        self._most = consumer.most
        self._page = Page(_PAGE)
        self._repeats = repeats
        self._came = came
        self._clock = ServerClock(commands)
        self._open: set[tuple[int, str]] = set()
        self._done: set[tuple[int, str]] = set()
        self._room = asyncio.Event()
        self._news = asyncio.Event()

    async def prepare(self) -> None:
        """Create the groups, and drop those of processes that are gone. Raises redis exceptions."""
        await until_served("Reading notifications", self._prepare)

    async def read(self) -> None:
        """Read until cancelled. Raises errors that waiting does not cure."""
        while True:
            await until_served("Reading notifications", self._read)

    async def acknowledge(self) -> None:
        """Acknowledge done notifications until cancelled."""
        while True:
            await self._news.wait()
            await asyncio.sleep(_GATHER_S)
            self._news.clear()
            await until_served("Acknowledging notifications", self._acknowledge)

    async def keep(self) -> None:
        """Take over the entries that other consumers of the group have left, until cancelled.

        Redis before 7.2 counts a consumer as idle when its reads find nothing, but not when it claims.
        """
        while True:
            await asyncio.sleep(min(_LONGEST_KEEP_S, self._claim_after_ms / 2000))
            await until_served("Claiming notifications", self._keep)

    def age_ms(self, at: int) -> int:
        """How long ago the time `at` was by the server's clock (ms)."""
        return _local_ms() + self._clock.ahead_ms - at

    def is_over(self, notification: Notification) -> bool:
        """Whether it is an invitation whose time is over."""
        payload = notification.payload
        return isinstance(payload, Invitation) and self.age_ms(notification.at) >= payload.expires_in

    def done(self, entry: str, shard: int) -> None:
        """Acknowledge an entry soon."""
        self._done.add((shard, entry))
        self._news.set()

    async def finish(self, *, remove: bool) -> None:
        """Acknowledge done notifications; `remove` the groups. Raises redis exceptions."""
        if not remove:
            await self._acknowledge()
            return
        for group in self._groups.values():
            await group.remove()

    async def _prepare(self) -> None:
        await self._clock.ask(_local_ms())
        for group in self._groups.values():
            await group.ensure()
            for name in await group.drop_dead():
                _log.info("Dropped %s, the group of a reader that is gone.", name)

    async def _read(self) -> None:
        try:
            if not self.is_connected:
                await self._prepare()
                for stream in self._groups:
                    await self._read_pending(stream)
                self.is_connected = True
            await self._read_streams(b"BLOCK", BLOCK_MS, after=dict.fromkeys(self._groups, b">"))
        except Exception:
            self.is_connected = False
            raise

    async def _read_pending(self, stream: bytes) -> None:
        """The entries pending for this consumer: from an earlier process, or from a lost reply."""
        after: bytes | None = b"0"
        while after:
            after = (await self._read_streams(after={stream: after})).get(stream)

    async def _read_streams(self, *options: Any, after: dict[bytes, bytes]) -> dict[bytes, bytes]:  # noqa: ANN401
        """Read a page of each stream once there is room; returns the last entry of those that have any."""
        while len(self._open) >= self._most:
            self._room.clear()
            await self._room.wait()
        with self._page.sized() as count:
            reply = await self._reads.execute_command(
                *(b"XREADGROUP", b"GROUP", self._group, self._consumer, b"COUNT", count, *options),
                *(b"STREAMS", *after, *after.values()),
            )
        last = {}
        for stream, raw in reply or ():
            entries = entries_of(raw)
            self._take(self._groups[stream], entries)
            if entries:
                last[stream] = entries[-1].id.encode()
                if after[stream] == b">":
                    self._groups[stream].last = entries[-1].id
        return last

    def _take(self, group: Group, entries: list[Entry]) -> None:
        for entry in entries:
            place = (group.keys.shard, entry.id)
            if place in self._open:
                continue
            self._open.add(place)
            notification = self._wanted(entry, group.keys.shard)
            if notification is None:
                self.done(entry.id, group.keys.shard)
            else:
                self._came.put(notification)

    def _wanted(self, entry: Entry, shard: int) -> Notification | None:
        if not entry.fields:
            return None  # it was dropped while it was pending
        try:
            found = decode_notification(entry.fields, shard=shard, entry=entry.id)
        except BadNotification as error:
            _log.warning("The notification %s of shard %d cannot be read: %s", entry.id, shard, error)
            return None
        return None if self._repeats.is_one(found.id, found.type) else found

    async def _acknowledge(self) -> None:
        done = sorted(self._done)
        if not done:
            return
        by_shard: dict[int, list[str]] = {}
        for shard, entry in done:
            by_shard.setdefault(shard, []).append(entry)
        async with self._commands.pipeline(transaction=False) as pipe:
            for keys in self.keys:
                if keys.shard in by_shard:
                    pipe.xack(keys.notifications, self._group, *by_shard[keys.shard])
            await pipe.execute()
        self._done.difference_update(done)
        self._open.difference_update(done)
        self._room.set()

    async def _keep(self) -> None:
        await self._clock.ask(_local_ms())
        for stream, group in self._groups.items():
            start = b"0-0"
            while True:
                # A reader without room claims nothing. It asks all the same: one that does not looks gone.
                has_room = len(self._open) < self._most
                idle_ms = self._claim_after_ms if has_room else _NEVER_MS
                with self._page.sized() as count:
                    start, raw, *_ = await self._commands.execute_command(
                        *(b"XAUTOCLAIM", stream, self._group, self._consumer, idle_ms, start, b"COUNT", count)
                    )
                self._take(group, entries_of(raw))
                if start == b"0-0" or not has_room:
                    break


def _local_ms() -> int:
    return time.time_ns() // 1_000_000
