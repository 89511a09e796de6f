"""The server that is measured, and what the benchmark does on it besides the workers.

Everything here is synchronous and of one connection: the benchmark must not take the workers' processor.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable, Iterator
from typing import Any, Final

import hiredis
import msgspec
from redis import Redis
from redis.connection import AbstractConnection
from redis.exceptions import RedisError

from invites.embedded import EmbeddedValkey
from invites.keys import WORKERS_GROUP, Keys
from invites.operations import Entry
from workers.bench.load import Event

_PAGE: Final = 1000
_READER: Final = "bench"


class BenchError(Exception):
    """The benchmark has no result; the text says why."""


class Progress(msgspec.Struct, frozen=True):
    """How far the workers are: events taken so far, those of them not settled yet; the server's time, s."""

    taken: int
    pending: int
    at: float

    @property
    def settled(self) -> int:
        """Events settled so far."""
        return self.taken - self.pending


class Arena:
    """A server with nothing on it but this benchmark's keys, under a prefix of their own."""

    def __init__(self, url: str, connection: AbstractConnection, *, owned: bool) -> None:
        self.url = url
        self.prefix = f"bench-{secrets.token_hex(4)}"
        self.keys = Keys(self.prefix)
        self._connection = connection
        self._owned = owned

    def command(self, *arguments: bytes | str | int) -> Any:  # noqa: ANN401 - replies are of any type
        """Send one command and return its reply."""
        return self.send([pack(*arguments)])[0]

    def send(self, packed: Iterable[bytes], in_flight: int = 2) -> list[Any]:
        """Send packed commands and return their replies in order.

        So many are `in_flight` at once; two are enough to let the server never wait for the next one.
        """
        replies: list[Any] = []
        waiting = 0
        for command in packed:
            self._connection.send_packed_command([command], check_health=False)
            waiting += 1
            if waiting == in_flight:
                replies.append(self._connection.read_response())
                waiting -= 1
        replies += [self._connection.read_response() for _ in range(waiting)]
        return replies

    def clear(self) -> None:
        """Remove everything: the whole content of a server of our own, else only what is under our prefix."""
        if self._owned:
            self.command("FLUSHALL", "SYNC")
            return
        for page in self._scan():
            self.command("UNLINK", *page)

    def names(self) -> Iterator[bytes]:
        """The names of all our keys; one may come twice."""
        for page in self._scan():
            yield from page

    def _scan(self) -> Iterator[list[bytes]]:
        cursor: bytes | int = 0
        while True:
            cursor, names = self.command("SCAN", cursor, "MATCH", f"{self.prefix}:*", "COUNT", _PAGE)
            if names:
                yield names
            if int(cursor) == 0:
                return

    def make_groups(self) -> None:
        """Make the workers' group, and one of ours, so that no notification goes before it is counted."""
        self.command("XGROUP", "CREATE", self.keys.events, WORKERS_GROUP, "0", "MKSTREAM")
        self.command("XGROUP", "CREATE", self.keys.notifications, _READER, "0", "MKSTREAM")

    def publish(self, events: Iterable[Event]) -> None:
        """Put events into the stream."""
        key = self.keys.events
        packed = (pack("XADD", key, "*", "type", kind, "payload", payload) for kind, payload in events)
        self.send(packed, in_flight=_PAGE)

    def empty_streams(self) -> None:
        """Trim everything that is in the streams; their groups stay."""
        keys = self.keys
        for stream in (keys.events, keys.notifications, keys.push, keys.relay):
            self.command("XTRIM", stream, "MAXLEN", 0)

    def take(self) -> list[Entry]:
        """Take all new events as a worker would, with a consumer of our own."""
        entries: list[Entry] = []
        source = ("STREAMS", self.keys.events, ">")
        while streams := self.command("XREADGROUP", "GROUP", WORKERS_GROUP, _READER, "COUNT", _PAGE, *source):
            for entry, flat in streams[0][1]:
                fields = dict(zip(flat[::2], flat[1::2], strict=True))
                entries.append(Entry(entry.decode(), fields))
        return entries

    def progress(self) -> Progress:
        """How far the workers are."""
        flat = self.command("XINFO", "GROUPS", self.keys.events)[0]
        group = dict(zip(flat[::2], flat[1::2], strict=True))
        return Progress(group[b"entries-read"] or 0, group[b"pending"], self.now())

    def now(self) -> float:
        """The server's time, s since 1970."""
        seconds, microseconds = self.command("TIME")
        return int(seconds) + int(microseconds) / 1e6

    def first_commit(self) -> float | None:
        """When the first commit began (s since 1970): the time in the first notification's id."""
        first = self.command("XRANGE", self.keys.notifications, "-", "+", "COUNT", 1)
        return int(first[0][0].partition(b"-")[0]) / 1000 if first else None

    def scripts_run(self) -> int:
        """How many script calls the server has served so far."""
        calls = self.info("commandstats").get("cmdstat_evalsha", "calls=0,")
        return int(calls.partition("calls=")[2].partition(",")[0])

    def info(self, section: str) -> dict[str, str]:
        """What the server says of itself."""
        lines: list[str] = self.command("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def records(self) -> Iterator[dict[str, Any]]:
        """All call records."""
        after = "-"
        while page := self.command("XRANGE", self.keys.notifications, after, "+", "COUNT", _PAGE):
            for _entry, flat in page:
                fields = dict(zip(flat[::2], flat[1::2], strict=True))
                if fields[b"type"] == b"INVITE_COMPLETED":
                    yield msgspec.json.decode(fields[b"payload"])
            after = "(" + page[-1][0].decode()


def pack(*arguments: bytes | str | int) -> bytes:
    """Pack one command as it goes over the wire."""
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type] # its stub knows one argument only
    return packed


@contextlib.contextmanager
def open_arena(url: str | None) -> Iterator[Arena]:
    """An embedded server, or the one at `url`; cleared at the end.

    Raises `BenchError` when the server cannot be reached, `EmbeddedError` when none can be started.
    """
    with contextlib.ExitStack() as stack:
        place = url or stack.enter_context(EmbeddedValkey()).url
        client = stack.enter_context(Redis.from_url(place, protocol=2, socket_timeout=None))
        try:
            connection = client.connection_pool.get_connection()
            arena = Arena(place, connection, owned=url is None)
            arena.command("PING")
        except RedisError as error:
            raise BenchError(f"The server cannot be reached: {error}") from error
        try:
            yield arena
        finally:
            with contextlib.suppress(RedisError):
                arena.clear()
