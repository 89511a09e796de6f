"""Events in and notifications out, of all shards."""

from __future__ import annotations

import asyncio
import json
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from redis.exceptions import RedisError

from invites.connection.clients import Clients
from invites.connection.errors import passes
from invites.events.entry import order
from invites.events.protocol import decode_event
from invites.events.routing import routing_key
from invites.keys import Keys, Stream, shard_of
from invites.queries.overview import backlog
from invites.values.printable import escape
from tests.chaos.calls import Event, encode
from tests.support.leaks import assert_nothing_leaks

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

Hear = Callable[[str, str, list[str], dict[str, Any]], list[Event]]
"""Takes identity, type, recipients and payload of a notification; returns people's reactions."""

_PAGE: Final = 1_000
_BREATH_S: Final = 0.005
_LISTEN_MS: Final = 100
_SHOWN: Final = 160


class Script(NamedTuple):
    """A call of a function: how long it took on the server, s, and the beginning of its arguments."""

    seconds: float = 0.0
    words: str = ""


class Post:
    """The publishers and gateways. Gateways read all `shards`; publishers use `published_to` shards, by default all."""

    def __init__(self, url: str, shards: int, published_to: int = 0) -> None:
        self.sent = 0
        self.shards = shards
        self.note_sent: Callable[[Event, int], None] = lambda _event, _ms: None
        """Is told when each event was published: the ms of its entry id."""
        self._published_to = published_to or shards
        self._clients = Clients(url, "chaos", block_ms=_LISTEN_MS)
        self._shards = [Keys(shard=number, shards=shards) for number in range(shards)]
        self._heard = dict.fromkeys(range(shards), b"0-0")

    async def make_streams(self) -> None:
        """Make all keys that a script names beforehand.

        While a shard moves by its keys a script with a named key that does not exist is refused at once. The trap is a
        script whose named keys all exist.
        """
        for keys in self._shards:
            client = self._client(keys)
            for stream in (keys.push, keys.relay, keys.dead):
                await client.xdel(stream, await client.xadd(stream, {"type": "none"}))

    async def send(self, events: list[Event]) -> list[Event]:
        """Publish events; those that are refused for now (a shard on the move) are returned."""
        by_shard: defaultdict[int, list[dict[str, str]]] = defaultdict(list)
        refused: list[Event] = []
        places = [self._shard_of(event) for event in events]
        for event, place in zip(events, places, strict=True):
            by_shard[place].append(encode(event))
        replies = {}
        for place, entries in by_shard.items():
            keys = self._shards[place]
            async with self._client(keys).pipeline(transaction=False) as pipe:
                for entry in entries:
                    pipe.xadd(keys.events, entry)
                replies[place] = iter(await pipe.execute(raise_on_error=False))
        for event, place in zip(events, places, strict=True):
            reply = next(replies[place])
            if not isinstance(reply, Exception):
                self.sent += 1
                self.note_sent(event, order(reply.decode())[0])
            elif passes(reply):
                refused.append(event)
            else:
                raise reply
        return refused

    async def add(self, fields: dict[bytes, bytes]) -> bool:
        """Publish a raw entry to any shard; returns whether the server has taken it."""
        keys = self._shards[self.sent % len(self._shards)]
        try:
            await self._client(keys).xadd(keys.events, fields)
        except RedisError as error:
            if not passes(error):
                raise
            return False
        return True

    async def abandon(self, group: str) -> None:
        """Make the group of a gateway that never reads."""
        for keys in self._shards:
            await self._client(keys).xgroup_create(keys.notifications, group, "0", mkstream=True)

    async def step_back(self, ms: int) -> None:
        """Let the streams' ids be ahead of the server's clock, as they are after that has stepped back."""
        for keys in self._shards:
            try:
                seconds, micros = await self._client(keys).time()
                ahead = f"{seconds * 1000 + micros // 1000 + ms}-*"
                fields = {"type": "left", "payload": '{"userId":"nobody","roomId":"nowhere"}'}
                await self._client(keys).xadd(keys.events, fields, id=ahead)
            except RedisError as error:
                if not passes(error) and "equal or smaller" not in str(error):
                    raise

    async def listen(self, hear: Hear, say: Callable[[list[Event]], None]) -> None:
        """Read notifications as they come, and `say` people's reactions to them, until cancelled."""
        async with asyncio.TaskGroup() as listening:
            for keys in self._shards:
                listening.create_task(self._listen(keys, hear, say))

    async def listen_again(self, hear: Hear) -> None:
        """Read all notifications that the servers have kept, from the beginning, in order.

        A moved call has notifications in two shards.
        """
        told: list[tuple[tuple[int, int], dict[bytes, bytes]]] = []
        for keys in self._shards:
            after = "-"
            while page := await self._client(keys).xrange(keys.notifications, after, count=_PAGE):
                told += [(order(entry.decode()), fields) for entry, fields in page]
                after = f"({page[-1][0].decode()}"
        for _, fields in sorted(told, key=operator.itemgetter(0)):
            _tell(hear, fields)

    async def settled(self, sources: Iterable[Stream] = Stream) -> bool:
        """Whether the workers have settled all events, push jobs, and messages between shards, or some of these."""
        try:
            return not any([await self.entries(source) for source in sources])
        except (RedisError, OSError):
            return False

    async def decided(self) -> bool:
        """Whether all is settled, and no invite waits for another shard's answer."""
        return await self.settled() and not any([await self._holds(keys) for keys in self._shards])

    async def _holds(self, keys: Keys) -> bool:
        try:
            async with self._client(keys).pipeline(transaction=False) as pipe:
                async for name in self._client(keys).scan_iter(f"{keys.base}invite:*", _PAGE):
                    pipe.hexists(name, "held")
                return any(await pipe.execute())
        except (RedisError, OSError):
            return True

    async def entries(self, source: Stream) -> int:
        """How many entries of a kind of stream are not settled."""
        return sum([(await backlog(self._client(keys), keys, source)).entries for keys in self._shards])

    async def has_no_events(self) -> bool:
        """Whether all events are settled, as far as the servers say."""
        try:
            return not await self.entries(Stream.EVENTS)
        except (RedisError, OSError):
            return False

    async def over(self) -> bool:
        """Whether all is settled, and all notifications are read."""
        # A relayed entry may be settled before the look at the shard that it went to, and make another one.
        if not (await self.settled() and await self.settled()):
            return False
        for keys in self._shards:
            last = await self._client(keys).xrevrange(keys.notifications, count=1)
            if last and last[0][0] != self._heard[keys.shard]:
                return False
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._clients.aclose()

    async def longest_script(self) -> Script:
        """The longest call of a function in the slow logs of the shards' present servers; of 0 s if none took 10 ms."""
        longest = Script()
        for keys in self._shards:
            try:
                slow = await self._client(keys).slowlog_get(_PAGE)
            except (RedisError, OSError):
                continue
            calls = [each for each in slow if each["command"][:5] == b"FCALL"]
            longest = max(
                [longest, *(Script(each["duration"] / 1e6, _words(each["command"])) for each in calls)]
            )
        return longest

    async def dead(self) -> int:
        """How many dead letters there are."""
        return len(await self.dead_letters())

    async def dead_letters(self) -> list[str]:
        """The errors of the dead letters."""
        found = [await self._client(keys).xrange(keys.dead) for keys in self._shards]
        return [fields[b"error"].decode() for entries in found for _, fields in entries]

    async def leaks(self) -> list[str]:
        """Keys that never expire and events that nobody has settled, in words."""
        faults = []
        for keys in self._shards:
            try:
                await assert_nothing_leaks(self._client(keys), keys)
            except AssertionError as error:
                faults.append(str(error))
        return faults

    def _client(self, keys: Keys) -> Any:
        # Typed, every reply is a union of all its shapes.
        return self._clients.of(keys)

    def _shard_of(self, event: Event) -> int:
        kind, payload = event
        return shard_of(routing_key(decode_event(kind, json.dumps(payload).encode())), self._published_to)

    async def _listen(self, keys: Keys, hear: Hear, say: Callable[[list[Event]], None]) -> None:
        while True:
            after = {keys.notifications: self._heard[keys.shard]}
            try:
                found = await self._client(keys).xread(after, _PAGE, block=_LISTEN_MS)
            except (RedisError, OSError):
                await asyncio.sleep(_BREATH_S)
                continue
            for entry, fields in found[0][1] if found else ():
                self._heard[keys.shard] = entry
                say(_tell(hear, fields))


def _tell(hear: Hear, fields: dict[bytes, bytes]) -> list[Event]:
    return hear(
        fields[b"id"].decode(),
        fields[b"type"].decode(),
        json.loads(fields[b"peers"]),
        json.loads(fields[b"payload"]),
    )


def _words(command: bytes) -> str:
    """The mode and the first operation of a call, as far as the slow log has it."""
    words = command.decode(errors="replace").split()
    operations = " ".join(words).rpartition("more bytes) ")[
        2
    ]  # the settings are cut, and nothing else is that long
    return escape(f"{words[3 + int(words[2])]} {operations}")[:_SHOWN]
