"""Runs the rules of one shard without a worker, on a clock that only the test advances."""

import functools
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgspec
from redis.asyncio import Redis

from invites.events.decoding import decode_event_entry, decode_relay_entry
from invites.events.entry import Entry
from invites.events.operation import Operation
from invites.keys import WORKERS_GROUP, Keys, Stream
from invites.lookup.other_shards import OtherShards
from invites.lookup.resolver import Resolver
from invites.lookup.result import LookupResult
from invites.notifications import decode_notification
from invites.store.answers import Outcome, Status
from invites.store.commit import SettleMode
from invites.store.measures import Measure
from invites.store.scripts import Scripts
from invites.store.settings import Settings
from tests.support.candidates import candidates_in, whole
from tests.support.measured import MeasuringCommitter

Json = dict[str, Any]

TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Notification(msgspec.Struct, frozen=True):
    """One entry of the notifications stream."""

    id: str
    type: str
    peers: list[str]
    users: list[str]
    payload: Json


class Shard:
    """One shard: publish and settle events, read notifications and state. `now` (ms) is its clock."""

    def __init__(self, client: Redis, settings: Settings, scripts: Scripts, keys: Keys | None = None) -> None:
        self.client: Any = client  # redis-py's own types leave open whether it answers text or bytes
        self.keys = keys or Keys()
        self.settings = settings
        self.now = int(time.time() * 1000)
        self.committer = MeasuringCommitter(
            client, self.keys, settings, scripts, verbosity=2, clock=lambda: self.now
        )
        self.found: dict[str, LookupResult] = {}
        self.other_shards = OtherShards(self.keys, lambda _: client)
        self.resolver = Resolver(client, self.keys, self.other_shards, self)
        self.outcomes: list[Outcome] = []
        self._sequence = 0
        self._seen = "-"

    @classmethod
    async def make(cls, client: Redis, settings: Settings | None = None, *, flags: bool = True) -> Self:
        """Make the shard and its consumer group."""
        shard = cls(client, settings or Settings(), composed(flags=flags))
        await make_groups(client, shard.keys)
        return shard

    def client_of(self, _keys: Keys) -> Any:
        """The client for the keys of a shard."""
        return self.client

    @property
    def all_keys(self) -> list[Keys]:
        """The keys of each shard."""
        return [self.keys]

    def go_on_after(self, other: Self) -> None:
        """Continue where another Shard object for the same keys has stopped: clock, ids and notifications."""
        self.now, self._sequence, self._seen = other.now, other._sequence, other._seen

    def entry_id(self, at: int | None = None) -> str:
        """Return a new entry id for a time (default: now)."""
        self._sequence += 1
        return f"{self.now if at is None else at}-{self._sequence}"

    async def publish(
        self, kind: str, payload: Mapping[str, Any] | bytes, entry: str | None = None, *, traced: bool = False
    ) -> Operation:
        """Put an event into the stream and take it out again as a worker would. Ids must grow: see `operation`.

        With `traced` it has a traceparent, and each of its messages to other shards is an entry of its own.
        """
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        fields: Any = {b"type": kind.encode(), b"payload": raw}
        if traced:
            fields[b"traceparent"] = TRACEPARENT
        entry = (await self.client.xadd(self.keys.events, fields, id=entry or self.entry_id())).decode()
        await self.client.xreadgroup(WORKERS_GROUP, "test", {self.keys.events: ">"}, count=1)
        return decode_event_entry(Entry(entry, fields), max_deliveries=5, keys=self.keys)

    async def settle(self, *operations: Operation) -> list[Outcome]:
        """Settle operations in one batch; settle those that need a lookup again with its result."""
        operations = tuple(await self.other_shards.see_rooms(operations))
        outcomes = (await self.committer.commit(operations)).outcomes
        for index, operation in enumerate(operations):
            completed = operation
            while outcomes[index].status is Status.NEEDS:
                completed = await self.resolver.complete(completed, outcomes[index])
                outcomes[index] = (await self.committer.commit([completed])).outcomes[0]
        self.outcomes = outcomes
        return outcomes

    def measured(self) -> list[Measure]:
        """Return the measures since the last call."""
        found = self.committer.measured[:]
        self.committer.measured.clear()
        return found

    async def event(self, kind: str, payload: Mapping[str, Any] | bytes) -> list[Notification]:
        """Publish and settle one event; return its notifications."""
        await self.settle(await self.publish(kind, payload))
        return await self.told()

    async def ask(self, callee: str, _inviter: str, **_more: bool) -> LookupResult:
        """Replaces lookups at sippo-server: callees that are not in `found` are unknown."""
        return self.found.get(callee, LookupResult())

    async def fire(self) -> list[Notification]:
        """Fire all due timers and do the work that commits have left to do; return the notifications."""
        while (await self.committer.fire()).count:
            pass
        return await self.relay()

    async def relay(self) -> list[Notification]:
        """Settle the relay stream until it is empty; return the notifications."""
        while read := await self.client.xreadgroup("relay", "test", {self.keys.relay: ">"}, count=1):
            for _, entries in read.items() if isinstance(read, dict) else read:
                for entry, fields in entries:
                    await self.settle_relayed(
                        decode_relay_entry(Entry(entry.decode(), fields), max_deliveries=5)
                    )
        return await self.told()

    async def settle_relayed(self, operation: Operation) -> None:
        """Settle an entry of the relay stream that is for this shard."""
        (outcome,) = (await self.committer.commit([operation], SettleMode(Stream.RELAY))).outcomes
        if outcome.status is Status.NEEDS:
            operation = await self.resolver.complete(operation, outcome)
            (outcome,) = (await self.committer.commit([operation], SettleMode(Stream.RELAY))).outcomes
        assert outcome.status is Status.DONE, outcome

    async def told(self) -> list[Notification]:
        """Return the notifications since the last call."""
        return self.heard(await self.ask_told(self.client))

    def ask_told(self, client: Any) -> Any:
        """Send the command whose reply `heard` reads, by this client or pipeline."""
        return client.xrange(self.keys.notifications, self._seen)

    def heard(self, entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> list[Notification]:
        """Read notifications, which are then told."""
        if entries:
            self._seen = "(" + entries[-1][0].decode()
        return [notification_of(fields) for _, fields in entries]

    async def hash(self, key: str) -> dict[str, str]:
        """Read a hash as text."""
        found = await self.client.hgetall(key)
        return {name.decode(): value.decode() for name, value in found.items()}

    async def invite(self, ref: str) -> dict[str, str]:
        """Read an invite without its story; empty if there is none."""
        found = await self.hash(self.keys.invite(ref))
        found.pop("story", None)
        return whole(ref, found) if found else {}

    async def candidates(self, ref: str) -> dict[str, Json]:
        """Read the candidates of an invite: peer, or device of a push -> what is known."""
        found = candidates_in(await self.invite(ref))
        return {name.removeprefix("|"): json.loads(raw) for name, raw in found.items()}

    async def dead(self) -> list[dict[str, str]]:
        """Read the dead letters."""
        return [
            {name.decode(): value.decode(errors="replace") for name, value in fields.items()}
            for _, fields in await self.client.xrange(self.keys.dead)
        ]


MakeShard = Callable[..., Awaitable[Shard]]
"""The fixture `make_shard`: makes a shard with these settings (default: `Settings()`)."""


@dataclass(frozen=True)
class Server:
    """A server, or several, that were emptied, with a client for each shard.

    `flags` says whether they know the line `#!lua`, `shards` how many run on them, `grows` whether more will be added.
    """

    client_of: Callable[[Keys], Redis]
    flags: bool
    shards: int = 1
    grows: bool = False
    url: str = ""

    @property
    def client(self) -> Redis:
        """The client for the first shard."""
        return self.client_of(Keys())


@functools.cache
def composed(*, flags: bool = True) -> Scripts:
    """The functions, composed once: nearly each test calls them."""
    return Scripts(flags=flags)


async def make_groups(client: Redis, *of: Keys) -> None:
    """Create the consumer groups of all streams that workers read in these shards, unless they exist."""
    async with client.pipeline(transaction=False) as pipe:
        for keys in of:
            for source in Stream:
                pipe.xgroup_create(source.key(keys), source.group, "0", mkstream=True)
        for reply in await pipe.execute(raise_on_error=False):
            if isinstance(reply, Exception) and not str(reply).startswith("BUSYGROUP"):
                raise reply


def notification_of(fields: Mapping[bytes, bytes]) -> Notification:
    """Read an entry of the notifications stream, and check it: nothing is missing, wrong or unknown."""
    decoded = decode_notification(fields)
    payload = json.loads(fields[b"payload"])
    assert json.loads(msgspec.json.encode(decoded.payload)) == payload, decoded.type
    return Notification(decoded.id, decoded.type, list(decoded.peers), list(decoded.users), payload)


def of_type(told: Sequence[Notification], kind: str) -> list[Notification]:
    """Return those of one type."""
    return [one for one in told if one.type == kind]


def peer(id_: str, user: str, device: str | None = None) -> Json:
    """A peer as events name it."""
    return {"id": id_, "user": user} | ({"device": device} if device is not None else {})
