"""Settles a backlog over several shards in batches of one size, as a worker does, and carries what they relay."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis

from invites.events.decoding import decode_event_entry, decode_relay_entry
from invites.events.entry import entries_of
from invites.keys import Stream
from invites.lookup.other_shards import OtherShards
from invites.store.answers import Status
from invites.store.commit import Committer, SettleMode, TakeMode
from invites.store.scripts import Scripts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invites.events.entry import Entry
    from invites.events.operation import Operation
    from invites.keys import Keys
    from invites.store.settings import Settings

_CONSUMER: Final = "carried"
_TAKEN: Final = 64
"""The most relayed entries that one call takes, as `workers.roles.forwarder` does."""


class Carried:
    """All shards of one server."""

    def __init__(self, url: str, shards: Sequence[Keys], settings: Settings) -> None:
        self._client: Any = Redis.from_url(
            url, protocol=2, socket_timeout=None
        )  # a server that is counted is slow
        scripts = Scripts()
        self._shards = shards
        self._committers = [Committer(self._client, keys, settings, scripts, verbosity=0) for keys in shards]
        self._others = [OtherShards(keys, lambda _: self._client) for keys in shards]

    async def settle(self, batch: int) -> None:
        """Settle everything: of each shard in turn a batch of events, and then what is relayed."""
        working = True
        while working:
            working = False
            for keys in self._shards:
                working = await self._settle_events(keys, batch) or working
                working = await self._carry(keys) or working
        await self._client.aclose()

    async def _settle_events(self, keys: Keys, batch: int) -> bool:
        operations = [
            decode_event_entry(entry, max_deliveries=5, keys=keys)
            for entry in await self._read(keys, Stream.EVENTS, batch)
        ]
        if operations:
            await self._commit(keys.shard, operations, SettleMode())
        return bool(operations)

    async def _carry(self, keys: Keys) -> bool:
        for_shard: defaultdict[int, list[Operation]] = defaultdict(list)
        for entry in await self._read(keys, Stream.RELAY, _TAKEN):
            operation = decode_relay_entry(entry, max_deliveries=5, keys=keys)
            for_shard[keys.shard if operation.shard is None else operation.shard].append(operation)
        for shard, operations in for_shard.items():
            if shard == keys.shard:
                await self._commit(shard, operations, SettleMode(Stream.RELAY))
                continue
            await self._commit(shard, operations, TakeMode(keys.shard, "0-0"))
            ids = [operation.entry for operation in operations]
            await self._client.execute_command("XACK", keys.relay, Stream.RELAY.group, *ids)
        return bool(for_shard)

    async def _commit(self, shard: int, operations: Sequence[Operation], mode: SettleMode | TakeMode) -> None:
        ready = await self._others[shard].see_rooms(operations)
        for outcome in (await self._committers[shard].commit(ready, mode)).outcomes:
            assert outcome.status is Status.DONE, outcome

    async def _read(self, keys: Keys, stream: Stream, count: int) -> list[Entry]:
        command = (
            b"XREADGROUP",  # as bytes it has no callback in redis-py
            "GROUP",
            stream.group,
            _CONSUMER,
            "COUNT",
            count,
            "STREAMS",
            stream.key(keys),
            ">",
        )
        reply: list[Any] | None = await self._client.execute_command(*command)
        return entries_of(reply[0][1]) if reply else []
