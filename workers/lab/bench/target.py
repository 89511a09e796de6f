"""The measured server."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from redis import ConnectionPool, Redis
from redis.exceptions import RedisError

from invites.connection.clients import find_server
from invites.events.entry import Entry
from invites.events.protocol import decode_event
from invites.events.routing import routing_key
from invites.keys import RELAY_GROUP, WORKERS_GROUP, Keys, shard_of
from workers.lab.bench.connection import Connection, pack
from workers.lab.bench.load import Event
from workers.lab.embedded import EmbeddedValkey

_PAGE: Final = 1000
_READER: Final = "bench"


class BenchError(Exception):
    """The benchmark has no result; the text says why."""


class Progress(msgspec.Struct, frozen=True):
    """The workers' progress: events taken so far, events not settled yet, and the server's time, s.

    `carrying` counts the entries on their way from one shard to another.
    """

    taken: int
    pending: int
    at: float
    carrying: int = 0

    @property
    def settled(self) -> int:
        """Events settled so far."""
        return self.taken - self.pending


class Target(Connection):
    """A server with this benchmark's keys, under their own prefix.

    `keys` are those of the first shard. Only `throughput` and `plots` use more than one.
    """

    def __init__(self, url: str, pool: ConnectionPool, shards: int, *, owned: bool) -> None:
        super().__init__(pool.get_connection())
        self.url = url
        self.prefix = f"bench-{secrets.token_hex(4)}"
        self.shards = [Keys(self.prefix, number, shards) for number in range(shards)]
        self.keys = self.shards[0]
        self._pool = pool
        self._owned = owned

    @contextlib.contextmanager
    def another_connection(self) -> Iterator[Connection]:
        """One more connection."""
        connection = self._pool.get_connection()
        try:
            yield Connection(connection)
        finally:
            connection.disconnect()

    def clear(self) -> None:
        """Remove everything from our own server, or the keys under our prefix from another one."""
        if self._owned:
            self.command("FLUSHALL", "SYNC")
            return
        for page in self._scan():
            self.command("UNLINK", *page)

    def names(self) -> Iterator[bytes]:
        """The names of all our keys; a name may come twice."""
        for page in self._scan():
            yield from page

    def _scan(self) -> Iterator[list[bytes]]:
        cursor: bytes | int = 0
        while True:
            cursor, names = self.command("SCAN", cursor, "MATCH", f"*{self.prefix}*", "COUNT", _PAGE)
            if names:
                yield names
            if int(cursor) == 0:
                return

    def make_groups(self, *, counted: bool = True) -> None:
        """Make the workers' groups; with `counted`, also a group that keeps all notifications for counting."""
        for keys in self.shards:
            self.command("XGROUP", "CREATE", keys.events, WORKERS_GROUP, "0", "MKSTREAM")
            self.command("XGROUP", "CREATE", keys.relay, RELAY_GROUP, "0", "MKSTREAM")
            if counted:
                self.command("XGROUP", "CREATE", keys.notifications, _READER, "0", "MKSTREAM")

    def publish(self, events: Iterable[Event]) -> list[bytes]:
        """Publish events; returns their entry ids."""
        return self.send(map(self.packed, events), in_flight=_PAGE)

    def packed(self, event: Event) -> bytes:
        """The command that publishes an event."""
        kind, payload = event
        keys = self.keys
        if len(self.shards) > 1:
            keys = self.shards[shard_of(routing_key(decode_event(kind, payload)), len(self.shards))]
        return pack("XADD", keys.events, "*", "type", kind, "payload", payload)

    def empty_streams(self) -> None:
        """Remove all entries of the streams; their groups stay."""
        for keys in self.shards:
            for stream in (keys.events, keys.notifications, keys.push, keys.relay):
                self.command("XTRIM", stream, "MAXLEN", 0)

    def take(self, keys: Keys) -> list[Entry]:
        """Read all new events of a shard as a worker would, with our own consumer."""
        entries: list[Entry] = []
        source = ("STREAMS", keys.events, ">")
        while streams := self.command("XREADGROUP", "GROUP", WORKERS_GROUP, _READER, "COUNT", _PAGE, *source):
            for entry, flat in streams[0][1]:
                fields = dict(zip(flat[::2], flat[1::2], strict=True))
                entries.append(Entry(entry.decode(), fields))
        return entries

    def progress(self) -> Progress:
        """The workers' progress."""
        events = [self._group(keys.events) for keys in self.shards]
        relays = [self._group(keys.relay) for keys in self.shards]
        return Progress(
            taken=sum(group[b"entries-read"] or 0 for group in events),
            pending=sum(group[b"pending"] for group in events),
            at=self.now(),
            carrying=sum(group[b"pending"] + (group[b"lag"] or 0) for group in relays),
        )

    def _group(self, stream: str) -> dict[bytes, Any]:
        flat = self.command("XINFO", "GROUPS", stream)[0]
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def now(self) -> float:
        """The server's time, s since 1970."""
        seconds, microseconds = self.command("TIME")
        return int(seconds) + int(microseconds) / 1e6

    def first_commit(self) -> float | None:
        """When the first commit began (s since 1970), from the id of the first notification."""
        firsts = [self.command("XRANGE", keys.notifications, "-", "+", "COUNT", 1) for keys in self.shards]
        times = [int(first[0][0].partition(b"-")[0]) / 1000 for first in firsts if first]
        return min(times, default=None)

    def commits(self) -> int:
        """The number of calls of our functions or scripts so far."""
        served = self.info("commandstats")
        calls = [served.get(f"cmdstat_{command}", "calls=0,") for command in ("fcall", "evalsha")]
        return sum(int(each.partition("calls=")[2].partition(",")[0]) for each in calls)

    def cpu_s(self) -> float:
        """The server's processor time so far, user and system, s."""
        spent = self.info("cpu")
        return float(spent["used_cpu_user"]) + float(spent["used_cpu_sys"])

    def info(self, section: str) -> dict[str, str]:
        """A section of the server's `INFO`."""
        lines: list[str] = self.command("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def records(self) -> Iterator[dict[str, Any]]:
        """All call records."""
        for keys in self.shards:
            yield from self._records(keys.notifications)

    def _records(self, stream: str) -> Iterator[dict[str, Any]]:
        after = "-"
        while page := self.command("XRANGE", stream, after, "+", "COUNT", _PAGE):
            for _entry, flat in page:
                fields = dict(zip(flat[::2], flat[1::2], strict=True))
                if fields[b"type"] == b"INVITE_COMPLETED":
                    yield msgspec.json.decode(fields[b"payload"])
            after = "(" + page[-1][0].decode()


@contextlib.contextmanager
def open_target(url: str | None, shards: int = 1) -> Iterator[Target]:
    """Use the server at `url` (None: an embedded one, by its socket) during the context, and clear it at the end.

    Of a cluster it is the node that has the first shard. Raises `BenchError` when the server cannot be reached,
    `EmbeddedError` when none can be started.
    """
    if shards > 1 and url and urlsplit(url).scheme.endswith("+cluster"):
        raise BenchError(
            "Several shards are measured on one server: give the URL of a single server, or --shards 1."
        )
    with contextlib.ExitStack() as stack:
        place = url or stack.enter_context(EmbeddedValkey()).unix_url
        try:
            server = asyncio.run(find_server(place, Keys()))
            client = stack.enter_context(Redis.from_url(server.reveal(), protocol=2, socket_timeout=None))
            target = Target(place, client.connection_pool, shards, owned=url is None)
            target.command("PING")
        except RedisError as error:
            raise BenchError(f"The server cannot be reached: {error}") from error
        try:
            yield target
        finally:
            with contextlib.suppress(RedisError):
                target.clear()
