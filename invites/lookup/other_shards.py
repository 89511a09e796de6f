"""What other shards know about an invite: the state of its room, and the peer that asked for it.

This decides nothing. A room may close after the look; its own shard then ends the invite. Looking first spares devices
a ring that stops at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import msgspec
from redis.exceptions import RedisError

from invites.events.protocol import Invite, InviteRequest, Peer
from invites.keys import Keys, shard_of
from invites.queries.invites import InviteQueries
from invites.values.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from redis.asyncio import Redis

    from invites.events.operation import Operation

NOBODY: Final = "|"
"""Returned by `requester` when no peer has asked. No peer has this id."""

_PATIENCE_S: Final = 0.2  # an unreachable shard must not hold up this one


class OtherShards:
    """Looks into the other shards for one shard; `client_of` gives the client for the keys of each.

    `reads_of` gives what executes one of many small reads, those for the invites of a commit: by default the client's
    own `execute_command`.
    """

    def __init__(
        self,
        keys: Keys,
        client_of: Callable[[Keys], Redis],
        reads_of: Callable[[Keys], Callable[..., Awaitable[Any]]] | None = None,
    ) -> None:
        self._keys = keys
        self._client_of = client_of
        self._reads_of = reads_of or (lambda keys: client_of(keys).execute_command)

    async def see_rooms(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        """The operations. Invites into rooms of other shards get what the rule must know of the room.

        That is the entries by which it was closed and by which the inviter left it, and the callee's value among its
        members.

        Nothing is known of a shard that does not answer within 200 ms. Never raises.
        """
        if self._keys.shards == 1:
            return operations
        asking: defaultdict[int, dict[int, Invite]] = defaultdict(dict)
        for index, operation in enumerate(operations):
            event = operation.event
            if isinstance(event, Invite) and event.return_of is None:
                shard = shard_of(event.room, self._keys.shards)
                if shard != self._keys.shard:
                    asking[shard][index] = event
        if not asking:
            return operations
        seen = list(operations)
        with contextlib.suppress(RedisError, OSError):  # TimeoutError is one of the latter
            async with asyncio.timeout(_PATIENCE_S):
                await asyncio.gather(*(self._see(shard, found, seen) for shard, found in asking.items()))
        return seen

    async def requester(self, event: Invite) -> str:
        """The peer that asked for this invite by the inviteRequest that it names, and until when (ms): "peer|until".

        NOBODY when no peer asked. A request that has ended so that no invite may come has "|code|reason" as its peer.
        """
        keys = self._at(event.peer.user)
        ref = Ref(event.to, event.request_id or "", event.peer.user)
        client: Any = self._client_of(keys)
        caller, until, refusal = await client.hmget(keys.invite(str(ref)), ["caller", "asksUntil", "refusal"])
        return f"{(refusal or caller).decode()}|{until.decode()}" if until else NOBODY

    async def present(self, event: Invite | InviteRequest, users: Iterable[str]) -> set[str]:
        """The users that are already in the room of the invite, when the room belongs to another shard.

        Nothing is known of a shard that does not answer within 200 ms. Never raises.
        """
        names = list(users)
        if isinstance(event, InviteRequest) or not names:
            return set()
        keys = self._at(event.room)
        if keys.shard == self._keys.shard:
            return set()
        with contextlib.suppress(RedisError, OSError):  # TimeoutError is one of the latter
            async with asyncio.timeout(_PATIENCE_S):
                since = await self._client_of(keys).hmget(keys.room_members(event.room), names)
                return {name for name, known in zip(names, since, strict=True) if known is not None}
        return set()

    async def invitations(self, peer: Peer) -> bytes:
        """What rings for a trunk, or its user, in all other shards: a list in JSON, of some if they are many."""
        others = (self._keys.of(number) for number in range(self._keys.shards) if number != self._keys.shard)
        found = await asyncio.gather(
            *(InviteQueries(self._client_of(keys), keys).open_to(peer) for keys in others)
        )
        return msgspec.json.encode([each for some in found for each in some])

    def _at(self, name: str) -> Keys:
        return self._keys.of(shard_of(name, self._keys.shards))

    async def _see(self, shard: int, invites: dict[int, Invite], seen: list[Operation]) -> None:
        keys = self._keys.of(shard)
        ask, events = self._reads_of(keys), invites.values()
        names = [(keys.closed(event.room), keys.left(event.room, event.peer.user)) for event in events]
        texts, *members = await asyncio.gather(
            ask("MGET", *itertools.chain.from_iterable(names)),
            *(ask("HGET", keys.room_members(event.room), event.to) for event in events),
        )
        for index, closed, left, member in zip(invites, texts[::2], texts[1::2], members, strict=True):
            seen[index] = seen[index].having(closed=closed or b"", left=left or b"", member=member or b"")
