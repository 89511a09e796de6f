"""Runs several shards as if they were one: routes events, and delivers what the shards relay to each other."""

import json
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Self, cast

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from invites.connection.clients import Clients
from invites.events.decoding import decode_event_entry, decode_relay_entry
from invites.events.entry import Entry
from invites.events.operation import Operation
from invites.events.protocol import decode_event
from invites.events.routing import routing_key
from invites.keys import Keys, Stream, shard_of
from invites.lookup.other_shards import OtherShards
from invites.lookup.resolver import Resolver
from invites.resharding.procedure import move_all
from invites.resharding.shard_map import Command, ShardMap
from invites.store.answers import Outcome, Status
from invites.store.commit import TakeMode
from invites.store.scripts import Scripts
from invites.store.settings import Settings
from tests.support.shard import Notification, Shard, composed, make_groups

ClientOf = Callable[[Keys], Redis]


class RoutedKeys(Keys):
    """Names keys as `Keys` does, each in the shard of the id that decides it."""

    def __init__(self, shards: int) -> None:
        super().__init__(shards=shards)
        self.become(shards)

    def become(self, shards: int) -> None:
        """Change the number of shards."""
        self.shards = shards
        self.all = [Keys(shard=number, shards=shards) for number in range(shards)]

    def home(self, name: str) -> Keys:
        """Return the keys of the shard that an id belongs to."""
        return self.all[shard_of(name, self.shards)]

    def invite(self, ref: str) -> str:
        return self.home(ref.rpartition("|")[2]).invite(ref)

    def legs(self, ref: str) -> str:
        return self.home(ref.rpartition("|")[2]).legs(ref)

    def story(self, ref: str) -> str:
        return self.home(ref.rpartition("|")[2]).story(ref)

    def registry(self, user: str) -> str:
        return self.home(user).registry(user)

    def pending(self, user: str) -> str:
        return self.home(user).pending(user)

    def user_state(self, user: str) -> str:
        return self.home(user).user_state(user)

    def parallel(self, user: str) -> str:
        return self.home(user).parallel(user)

    def room_members(self, room: str) -> str:
        return self.home(room).room_members(room)

    def room_invites(self, room: str) -> str:
        return self.home(room).room_invites(room)


class Routed:
    """A client for all shards: a command goes to the server that has its first argument, a key."""

    def __init__(self, keys: RoutedKeys, client_of: ClientOf) -> None:
        self._keys = keys
        self._client_of = client_of

    def __getattr__(self, command: str) -> Callable[..., Awaitable[Any]]:
        """The command, to be called with a key first."""

        async def call(key: str, *arguments: Any, **options: Any) -> Any:
            shard = int(key.partition("{")[2].partition("}")[0])
            client = self._client_of(self._keys.all[shard])
            return await getattr(client, command)(key, *arguments, **options)

        return call


class Shards(Shard):
    """Several shards with one clock (ms) and the face of one.

    Afterwards their relay streams are empty: the messages may have been carried in any order.
    """

    def __init__(self, client_of: ClientOf, settings: Settings, scripts: Scripts, shards: int) -> None:
        self.routed = RoutedKeys(shards)
        super().__init__(cast("Redis", Routed(self.routed, client_of)), settings, scripts)
        self.keys = self.routed
        self._client_of = client_of
        self._scripts = scripts
        self.parts = [self._part(keys) for keys in self.routed.all]
        self._chance = random.Random(shards)
        self._told: list[Notification] = []
        self._published: dict[str, Shard] = {}

    @classmethod
    async def make_several(cls, client_of: ClientOf, settings: Settings | None, shards: int) -> Self:
        """Make the shards and their consumer groups, as far as they are not there."""
        made = cls(client_of, settings or Settings(), composed(), shards)
        for client, parts in made._by_client().items():
            await make_groups(client, *(part.keys for part in parts))
        await made._ask_all(lambda pipe, part: pipe.set(part.keys.layout, str(shards), nx=True))
        return made

    async def publish_somewhere(self, kind: str, payload: Mapping[str, Any]) -> tuple[str, int]:
        """Publish an event into any shard and deliver it; its entry, and which shard that is."""
        operation = await self.publish(kind, payload)
        return operation.entry, self._published[operation.entry].keys.shard

    async def go_on_from(self, before: "Shards") -> None:
        """Take over clock and ids; earlier notifications count as read."""
        self.now, self._sequence = before.now, before._sequence
        await self.told()

    async def take_up(self, entry: str, shard: int) -> None:
        """Settle an event that was published into a shard, and delivered, before."""
        part = self.parts[shard]
        ((_, fields),) = await part.client.xrange(part.keys.events, entry, entry)
        operation = decode_event_entry(Entry(entry, fields), max_deliveries=5, keys=part.keys)
        self._published[entry] = part
        await self.settle(operation)

    def client_of(self, keys: Keys) -> Any:
        return self._client_of(keys)

    @property
    def all_keys(self) -> list[Keys]:
        return self.routed.all

    async def publish(
        self, kind: str, payload: Mapping[str, Any] | bytes, entry: str | None = None, *, traced: bool = False
    ) -> Operation:
        """Put an event into the stream of any shard, seldom its own, and take it out again as a worker would."""
        part = self._chance.choice(self.parts)
        operation = await part.publish(kind, payload, entry or self.entry_id(), traced=traced)
        self._published[operation.entry] = part
        return operation

    async def settle(self, *operations: Operation) -> list[Outcome]:
        """Settle operations in order, and all that follows from them in other shards."""
        self._sync()
        outcomes = []
        for operation in operations:
            part = self._published[operation.entry]
            outcomes += await part.settle(operation)
            await self._hear(part)
            await self._carry_all()
        self.outcomes = outcomes
        return outcomes

    async def fire(self) -> list[Notification]:
        """Fire the due timers of all shards; return all notifications."""
        self._sync()
        for part in self.parts:
            while (await part.committer.fire()).count:
                pass
            await self._hear(part)
            await self._carry_all()
        return await self.told()

    async def told(self) -> list[Notification]:
        """Return the notifications since the last call, in the order in which they came about."""
        await self._hear_all()
        told, self._told = self._told, []
        return told

    async def dead(self) -> list[dict[str, str]]:
        """Read the dead letters of all shards."""
        return [letter for part in self.parts for letter in await part.dead()]

    def _part(self, keys: Keys) -> Shard:
        part = Shard(self._client_of(keys), self.settings, self._scripts, keys)
        part.other_shards = OtherShards(keys, self._client_of)
        part.found = self.found
        part.committer.measured = self.committer.measured
        part.resolver = Resolver(part.client, keys, part.other_shards, part)
        return part

    def _sync(self) -> None:
        for part in self.parts:
            part.now = self.now

    def _by_client(self) -> dict[Any, list[Shard]]:
        found: dict[Any, list[Shard]] = {}
        for part in self.parts:
            found.setdefault(part.client, []).append(part)
        return found

    async def _ask_all(self, ask: Callable[[Any, Shard], object]) -> list[tuple[Shard, Any]]:
        """Each shard's reply to one command, which `ask` sends. Each server is asked once for all its shards."""
        replies: dict[int, Any] = {}
        for client, parts in self._by_client().items():
            async with client.pipeline(transaction=False) as pipe:
                for part in parts:
                    ask(pipe, part)
                replies |= zip((part.keys.shard for part in parts), await pipe.execute(), strict=True)
        return [(part, replies[part.keys.shard]) for part in self.parts]

    async def _hear(self, part: Shard) -> None:
        """Read the notifications that a commit of the shard wrote: no other shard has written any."""
        self._told += await part.told()

    async def _hear_all(self) -> None:
        for part, entries in await self._ask_all(lambda pipe, part: part.ask_told(pipe)):
            self._told += part.heard(entries)

    async def _carry_all(self) -> None:
        """Carry the messages between shards, in any order, until none is left."""
        while carried := await self._relayed():
            self.mix(carried)
            for part, entry in carried:
                await self._carry(part, entry)

    def mix(self, carried: list[tuple[Shard, Entry]]) -> None:
        """Put the messages into the order in which they arrive."""
        self._chance.shuffle(carried)

    async def _relayed(self) -> list[tuple[Shard, Entry]]:
        """The messages between shards that have not been read yet."""
        found = []
        for part, reply in await self._ask_all(
            lambda pipe, part: pipe.xreadgroup(Stream.RELAY.group, "test", {part.keys.relay: ">"})
        ):
            lists = reply.values() if isinstance(reply, dict) else (entries for _, entries in reply)
            found += [(part, Entry(name.decode(), fields)) for entries in lists for name, fields in entries]
        return found

    async def _carry(self, part: Shard, entry: Entry) -> None:
        """Settle a message in its shard, and read the notifications of that shard."""
        operation = decode_relay_entry(entry, max_deliveries=5, keys=part.keys)
        if operation.shard is None:
            await part.settle_relayed(operation)
            await self._hear(part)
            return
        target = self.parts[operation.shard]
        floor = (await part.client.xpending(part.keys.relay, Stream.RELAY.group))["min"].decode()
        for expected in (Status.DONE, Status.STALE):  # a message that is carried twice is taken once
            outcome = await self._take(target, part.keys.shard, floor, operation)
            assert outcome.status is expected, outcome
        await part.client.xack(part.keys.relay, Stream.RELAY.group, entry.id)
        await self._hear(target)

    async def _take(self, target: Shard, source: int, floor: str, operation: Operation) -> Outcome:
        for _ in range(5):
            (ready,) = await target.other_shards.see_rooms([operation])
            (outcome,) = (await target.committer.commit([ready], TakeMode(source, floor))).outcomes
            if outcome.status is not Status.NEEDS:
                return outcome
            operation = await target.resolver.complete(ready, outcome)
        raise AssertionError("it needs one lookup after the other")


def messages_of(entry: Entry) -> list[dict[str, str]]:
    """The messages in a relayed entry, each with the fields of a message that goes alone."""
    if bundle := entry.fields.get(b"messages"):
        return [
            {"kind": kind, "name": name, "entry": first, "arguments": json.dumps(arguments)}
            for kind, name, first, *arguments in json.loads(bundle)
        ]
    return [{name.decode(): value.decode() for name, value in entry.fields.items()}]


class Apart(Shards):
    """Shards between which messages arrive late, in any order, on request."""

    def __init__(self, client_of: ClientOf, settings: Settings, scripts: Scripts, shards: int) -> None:
        super().__init__(client_of, settings, scripts, shards)
        self.on_the_way: list[tuple[Shard, Entry]] = []
        self.known: set[tuple[int, str]] = set()

    async def at_home(self, kind: str, payload: Mapping[str, Any]) -> list[Notification]:
        """Publish an event into its own shard and settle it; return its notifications.

        Its messages to one shard arrive together or, by chance, one by one.
        """
        raw = json.dumps(payload).encode()
        part = self.home_of(routing_key(decode_event(kind, raw)))
        traced = self._chance.random() < 1 / 2
        operation = await part.publish(kind, raw, self.entry_id(), traced=traced)
        self._published[operation.entry] = part
        (outcome,) = await self.settle(operation)
        assert outcome.status is Status.DONE, outcome
        return await self.told()

    def home_of(self, name: str) -> Shard:
        """The shard of a name."""
        return self.parts[shard_of(name, len(self.parts))]

    async def carry_any(self, chance: random.Random) -> bool:
        """Carry one entry, any one; False when there is none."""
        await self._read()
        if not self.on_the_way:
            return False
        await self._carry(*self.on_the_way.pop(chance.randrange(len(self.on_the_way))))
        return True

    async def carry_first(self) -> list[dict[str, str]]:
        """Carry the oldest entry; its messages, none when there is no entry."""
        await self._read()
        if not self.on_the_way:
            return []
        part, entry = self.on_the_way.pop(0)
        await self._carry(part, entry)
        return messages_of(entry)

    async def carry(self, kind: str = "") -> list[Notification]:
        """Carry the entries with a message of one kind (default: all), and what follows; return the notifications."""
        while True:
            await self._read()
            wanted = [
                each
                for each in self.on_the_way
                if kind in {"", *(one["kind"] for one in messages_of(each[1]))}
            ]
            if not wanted:
                return await self.told()
            for each in wanted:
                self.on_the_way.remove(each)
                await self._carry(*each)

    async def copy_of(self, part: Shard) -> dict[bytes, tuple[bytes, int]]:
        """The data of a replica of the shard."""
        names = [name async for name in part.client.scan_iter(match=f"{part.keys.base}*")]
        return {name: (await part.client.dump(name), await part.client.pttl(name)) for name in names}

    async def fail_over(self, part: Shard, copy: Mapping[bytes, tuple[bytes, int]]) -> None:
        """Let the shard forget everything after the copy, once its notifications are read."""
        await self._hear(part)
        async for name in part.client.scan_iter(match=f"{part.keys.base}*"):
            await part.client.delete(name)
        for name, (value, ms) in copy.items():
            await part.client.restore(name, max(ms, 0), value)
        left = {entry.decode() for entry, _ in await part.client.xrange(part.keys.relay)}
        self.on_the_way = [each for each in self.on_the_way if each[0] is not part or each[1].id in left]

    async def _carry_all(self) -> None:
        """Nothing is carried until requested."""

    async def _read(self) -> None:
        self._sync()
        for part, entry in await self._relayed():
            # A shard that has failed over delivers again the entries whose delivery it has forgotten.
            if (part.keys.shard, entry.id) not in self.known:
                self.known.add((part.keys.shard, entry.id))
                self.on_the_way.append((part, entry))


class Failing(ShardMap):
    """A server that becomes unreachable after some commands of a move."""

    left = 1_000_000

    async def execute(self, commands: Iterable[tuple[int, Command]], *, reads: bool = False) -> list[Any]:
        """Replies until the server becomes unreachable."""
        asked = list(commands)
        done = await super().execute(asked[: self.left], reads=reads)
        self.left -= len(done)
        if len(done) < len(asked):
            raise RedisConnectionError("away")
        return done


class Growing(Shards):
    """One shard to which more are added between any two steps of a test: all calls are moved, and continue."""

    def grow_by(self, mover: Clients, seed: int, numbers: Iterable[int] = (2, 3, 7)) -> None:
        """Set the clients for the growth, and let the seed decide when."""
        self._mover = mover
        self._numbers = iter(numbers)
        self._chance = random.Random(seed)

    async def close(self) -> None:
        """Close the clients of the move."""
        await self._mover.aclose()

    async def settle(self, *operations: Operation) -> list[Outcome]:
        """Settle operations that may have been published when there were fewer shards."""
        await self._grow()
        return await super().settle(*[await self._decoded_again(operation) for operation in operations])

    async def fire(self) -> list[Notification]:
        """Fire the due timers of all present shards."""
        await self._grow()
        return await super().fire()

    async def _decoded_again(self, operation: Operation) -> Operation:
        """The operation of an entry that a worker reads now."""
        part = self.parts[self._published[operation.entry].keys.shard]
        self._published[operation.entry] = part
        found = await part.client.xrange(part.keys.events, operation.entry, operation.entry)
        if not found:
            return operation  # it was trimmed while it was pending
        return decode_event_entry(Entry(operation.entry, found[0][1]), max_deliveries=5, keys=part.keys)

    async def _grow(self) -> None:
        if self._chance.random() < 1 / 2 and (shards := next(self._numbers, 0)):
            await self._hear_all()
            old = self.parts
            shard_map = ShardMap(self.keys.prefix, len(old), shards, self._mover.of)
            await move_all(shard_map, lambda _what, _more: None)
            self.routed.become(shards)
            for keys in self.routed.all:
                await self._mover.of(keys).set(keys.layout, str(shards))
            self.parts = [self._part(keys) for keys in self.routed.all]
            for part, before in zip(self.parts, old, strict=False):
                part.go_on_after(before)
            for part in self.parts[len(old) :]:
                await make_groups(part.client, part.keys)
