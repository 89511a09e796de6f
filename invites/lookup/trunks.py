"""The trunks of one shard, and which of them leads to a number: `match` is a regular expression, beyond a script."""

import asyncio
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from invites.events.protocol import ANYTHING
from invites.keys import Keys
from invites.lookup.matching import fitting

_AT_ONCE: Final = 8  # reads; each needs a connection


class Trunk(msgspec.Struct, frozen=True):
    """A registered trunk: the id of its peer, and the numbers that it leads to."""

    id: str
    match: str = ANYTHING

    @property
    def leads_everywhere(self) -> bool:
        """Whether it is only asked when no other leads to the number."""
        return self.match == ANYTHING


class Listed(msgspec.Struct, frozen=True):
    """All trunks as they were at a `version`, in the order in which they are asked."""

    version: bytes = b""
    trunks: tuple[Trunk, ...] = ()

    async def leading_to(self, number: str, inviter: str) -> str:
        """The peer of the trunk for a number, never the inviting one; "" when there is none.

        A specific match goes before `*`.
        """
        trunks = [trunk for trunk in self.trunks if trunk.id != inviter]
        found = await fitting([trunk.match for trunk in trunks], number)
        return trunks[found[0]].id if found else ""


_DECODER: Final = msgspec.json.Decoder(Trunk)


class Trunks:
    """Reads the trunks of one shard, and remembers them by their version."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client: Any = client  # its own types leave open whether it answers text or bytes
        self._keys = keys
        self._reading = asyncio.Semaphore(_AT_ONCE)
        self.known = Listed()
        """As they were when they were last read. The script refuses a choice that was made among outdated ones."""

    async def read(self) -> None:
        """Make those known that are there now. Raises redis exceptions."""
        async with self._reading:
            version = await self._client.get(self._keys.trunks_version) or b""
            if version == self.known.version:
                return
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.get(self._keys.trunks_version)
                pipe.hvals(self._keys.trunks)
                version, found = await pipe.execute()
        trunks = sorted(map(_DECODER.decode, found), key=lambda trunk: (trunk.leads_everywhere, trunk.id))
        self.known = Listed(version or b"", tuple(trunks))
