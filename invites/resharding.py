"""Spreads what there is over more shards, while publishers go on and no worker commits.

The key `layout` of each shard says how many shards there are; the scripts refuse to work for whoever counts
otherwise. So a move begins with a word in that key, and from then on nobody but it changes anything. It can be
interrupted anywhere and begun again: whatever is moved is first made in its new place, then removed from the old one.

Events and relays that wait stay where they are. Workers send them on, since by the new count they are in the wrong
shard.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from invites import streams
from invites.commit import Source
from invites.homes import homes_of, names_of_ref
from invites.keys import Keys, shard_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from redis.asyncio import Redis

MOVING: Final = "moving:"
"""What `layout` begins with during a move; the new number of shards follows."""

_PAGE: Final = 500
_MOST: Final = 1_024


class ReshardError(Exception):
    """It cannot be begun; the text says why, and what to do."""


class _Trunk(Struct):
    user: str


class Resharding:
    """A move from the shards that there are to `target` of them; `told` hears of each shard that is done.

    How many there are says the server; `former` is for one that no worker has told.
    """

    def __init__(
        self,
        prefix: str,
        client_of: Callable[[Keys], Redis],
        target: int,
        told: Callable[[str], None],
        former: int = 1,
    ) -> None:
        self._prefix = prefix
        self._former = former
        self._client_of = client_of
        self._target = target
        self._told = told
        self.moved: Counter[str] = Counter()
        """How many were moved of each kind of key, and of timers, members and push jobs."""

    async def run(self) -> int:
        """Move everything; the former number of shards. Raises ReshardError, and what redis-py raises."""
        former = await self._begin()
        for number in range(former):
            keys = Keys(self._prefix, number, former)
            await self._settle_taken(keys)
            await self._move_pushes(keys)
            await self._spread_trunks(keys)
            await self._move_timers(keys)
            await self._move_keys(keys)
            self._told(f"shard {number}: done")
        # Shard 0 remembers what was begun, so it comes last.
        first, *others = self._all()
        for keys in others:
            await self._client(keys).set(keys.layout, str(self._target))
        async with self._client(first).pipeline(transaction=True) as pipe:
            pipe.set(first.layout, str(self._target))
            pipe.delete(first.former_layout)
            await pipe.execute()
        return former

    def _client(self, keys: Keys) -> Any:  # noqa: ANN401 - redis-py leaves open whether it answers text or bytes
        return self._client_of(keys)

    def _all(self) -> list[Keys]:
        return [Keys(self._prefix, number, self._target) for number in range(self._target)]

    def _home(self, name: str) -> Keys:
        return Keys(self._prefix, shard_of(name, self._target), self._target)

    async def _begin(self) -> int:
        """Say in all shards that they are on the move; the former number of shards, which shard 0 remembers."""
        first = Keys(self._prefix)
        layout, former = (
            (value or b"").decode()
            for value in await self._client(first).mget(first.layout, first.former_layout)
        )
        if layout.startswith(MOVING) and layout != f"{MOVING}{self._target}":
            raise ReshardError(
                f"A move to {layout.removeprefix(MOVING)} shards was begun: finish it first, with `invites "
                f"reshard {layout.removeprefix(MOVING)}`."
            )
        count = int(former if layout.startswith(MOVING) else layout or self._former)
        if count == self._target:
            raise ReshardError(f"The number of shards is {count} already.")
        if not count < self._target <= _MOST:
            raise ReshardError(
                f"The number of shards is {count}: give a larger one, {_MOST} at most. The streams of a shard that "
                "goes would be lost, so there is no way to fewer."
            )
        await self._client(first).set(first.former_layout, str(count))
        for keys in self._all():
            await self._client(keys).set(keys.layout, f"{MOVING}{self._target}")
        return count

    async def _settle_taken(self, keys: Keys) -> None:
        """Acknowledge relays that have been taken: by the new count another shard would take them again."""
        client, group = self._client(keys), Source.RELAY.group
        if not await client.exists(keys.relay) or not await client.xinfo_groups(keys.relay):
            return
        after = "-"
        while page := await client.xpending_range(keys.relay, group, after, "+", _PAGE):
            for pending in page:
                entry = pending["message_id"].decode()
                for found in await streams.read(client, keys.relay, entry, entry):
                    target = _relayed_to(found, keys)
                    if target is not None and await self._is_taken(keys, target, entry):
                        await client.xack(keys.relay, group, entry)
            after = f"({page[-1]['message_id'].decode()}"

    async def _is_taken(self, source: Keys, target: Keys, entry: str) -> bool:
        client = self._client(target)
        if await client.zscore(target.taken(source.shard), entry) is not None:
            return True
        floor = await client.hget(target.taken_floors, str(source.shard))
        return floor is not None and streams.order(entry) < streams.order(floor.decode())

    async def _move_pushes(self, keys: Keys) -> None:
        """A push job belongs to the shard of its invite."""
        client, group = self._client(keys), Source.PUSH.group
        if not await client.exists(keys.push):
            return
        async for entry in _unsettled(client, keys.push, group):
            home = self._home(names_of_ref(entry.text(b"ref")).callee)
            if home.shard != keys.shard:
                await self._client(home).xadd(home.push, dict(entry.fields))
                await client.xack(keys.push, group, entry.id)
                await client.xdel(keys.push, entry.id)
                self.moved["push jobs"] += 1

    async def _spread_trunks(self, keys: Keys) -> None:
        """Every shard knows every trunk; the shard of a trunk's user is who knows for sure."""
        known = await self._client(keys).hgetall(keys.trunks)
        sure = {
            peer: raw
            for peer, raw in known.items()
            if shard_of(msgspec.json.decode(raw, type=_Trunk).user, keys.shards) == keys.shard
        }
        if not sure:
            return
        version = await self._client(keys).get(keys.trunks_version)
        for other in self._all()[keys.shards :]:
            await self._client(other).hset(other.trunks, mapping=sure)
            await self._client(other).set(other.trunks_version, version or b"0-0")
        self.moved["trunks"] += len(sure)

    async def _move_timers(self, keys: Keys) -> None:
        client = self._client(keys)
        trunks = {
            f"lapse|{msgspec.json.decode(raw, type=_Trunk).user}|{peer.decode()}"
            for peer, raw in (await client.hgetall(keys.trunks)).items()
        }
        kept = 0
        # Not by ZSCAN, which may leave out what is there while others go.
        while page := await client.zrange(keys.timers, kept, kept + _PAGE - 1, withscores=True):
            for member, due in page:
                name = member.decode()
                if name in trunks:
                    places = {keys.shard, *range(keys.shards, self._target)}
                else:
                    places = await self._shards_of("timers", name, keys)
                for shard in places - {keys.shard}:
                    other = keys.of(shard)
                    await self._client(other).zadd(other.timers, {name: due})
                if keys.shard in places:
                    kept += 1
                else:
                    await client.zrem(keys.timers, name)
                    self.moved["timers"] += 1

    async def _shards_of(self, kind: str, name: str, keys: Keys) -> set[int]:
        """Where a key or a timer belongs: the homes of the ids that decide it, and of what a lost peer was rung for."""
        homes = homes_of(kind, name)
        if homes.stays:
            return {keys.shard}
        if homes.everywhere:
            return set(range(self._target))
        shards = {self._home(each).shard for each in homes.names}
        if homes.rung is not None:
            for ref in await self._client(keys).smembers(keys.pending(homes.rung)):
                shards.add(self._home(names_of_ref(ref.decode()).callee).shard)
        return shards

    async def _move_keys(self, keys: Keys) -> None:
        client = self._client(keys)
        pattern = "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in keys.base) + "*"
        # What is rung last: graces look there.
        indexes: list[str] = []
        async for raw in client.scan_iter(match=pattern, count=_PAGE):
            kind, _, name = raw.decode().removeprefix(keys.base).partition(":")
            if homes_of(kind, name).by_member:
                indexes.append(raw.decode())
            elif not homes_of(kind, name).stays:
                await self._move(keys, kind, name)
        for index in indexes:
            await self._move_members(keys, index)

    async def _move(self, keys: Keys, kind: str, name: str) -> None:
        key = f"{kind}:{name}"
        client = self._client(keys)
        if kind == "grace":
            user = await client.get(keys.base + key)
            places = set() if user is None else await self._shards_of("grace", user.decode(), keys)
        else:
            places = await self._shards_of(kind, name, keys)
        others = places - {keys.shard}
        if others:
            async with client.pipeline(transaction=True) as pipe:
                pipe.dump(keys.base + key)
                pipe.pexpiretime(keys.base + key)
                content, expires = await pipe.execute()
            if content is None:
                return  # it has expired
            for shard in others:
                other = keys.of(shard)
                await self._client(other).restore(
                    other.base + key, max(expires, 0), content, replace=True, absttl=True
                )
        if keys.shard not in places:
            await client.unlink(keys.base + key)
            self.moved[kind] += 1

    async def _move_members(self, keys: Keys, key: str) -> None:
        """Refs of invites stand where their invites are: those of a trunk's user in many shards."""
        client = self._client(keys)
        is_set = await client.type(key) == b"set"
        found = await (client.smembers(key) if is_set else client.zrange(key, 0, -1, withscores=True))
        members = dict.fromkeys(found, 0.0) if is_set else dict(found)
        expires = max(0, await client.pexpiretime(key))
        name = key.removeprefix(keys.base)
        for raw, score in members.items():
            home = self._home(names_of_ref(raw.decode()).callee)
            if home.shard == keys.shard:
                continue
            other = self._client(home)
            await (
                other.sadd(home.base + name, raw) if is_set else other.zadd(home.base + name, {raw: score})
            )
            if expires:
                await other.pexpireat(home.base + name, expires)
            await (client.srem(key, raw) if is_set else client.zrem(key, raw))
            self.moved["members"] += 1


def _relayed_to(entry: streams.StreamEntry, keys: Keys) -> Keys | None:
    """The shard that a relay entry was for, by the former count; None for the one that it is in."""
    said = entry.text(b"shard")
    shard = int(said) if said else shard_of(entry.text(b"name"), keys.shards)
    return None if shard == keys.shard else keys.of(shard)


async def _unsettled(client: Any, stream: str, group: str) -> AsyncIterator[streams.StreamEntry]:  # noqa: ANN401 - as above
    """What is pending in the group, and what it has not read."""
    groups: Iterable[Any] = await client.xinfo_groups(stream)
    last = next((one["last-delivered-id"] for one in groups if one["name"] == group.encode()), None)
    after = "-"
    while last is not None and (page := await client.xpending_range(stream, group, after, "+", _PAGE)):
        for pending in page:
            entry = pending["message_id"].decode()
            for found in await streams.read(client, stream, entry, entry):
                yield found
        after = f"({page[-1]['message_id'].decode()}"
    async for entry in streams.pages(client, stream, "-" if last is None else f"({last.decode()}"):
        yield entry
