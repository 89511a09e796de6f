"""The trunks of one shard, and which of them lead to a number: `match` is a regular expression, beyond a script."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from invites.events.entry import order
from invites.events.fields import ANYTHING
from invites.events.protocol import Peer
from invites.keys import Keys
from invites.lookup.matching import fitting

_AT_ONCE: Final = 8  # reads; each needs a connection

MOST: Final = 10
"""The most trunks to one number that a call knows: each pending call keeps those that it has not tried."""


class Trunk(msgspec.Struct, frozen=True):
    """A registered trunk: its peer, the entry `at` which it registered, and the numbers that it leads to."""

    id: str
    user: str
    at: str = "0-0"
    match: str = ANYTHING

    @property
    def leads_everywhere(self) -> bool:
        """Whether it is used only if no other leads to the number."""
        return self.match == ANYTHING


class Listed(msgspec.Struct, frozen=True):
    """All trunks as they were at a `version`, by their fields in the hash, in the order in which they are asked."""

    version: bytes = b""
    trunks: dict[str, Trunk] = {}

    async def leading_to(self, number: str, inviter: Peer) -> str:
        """The first `MOST` trunks to a number, never the inviting one, as the rules take them: fields, with spaces.

        A specific match goes before `*`.
        """
        others = {
            field: trunk.match
            for field, trunk in self.trunks.items()
            if (trunk.id, trunk.user) != (inviter.id, inviter.user)
        }
        fields = list(others)
        return " ".join(fields[index] for index in await fitting(list(others.values()), number, MOST))


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
        """Read the current trunks. Raises redis exceptions."""
        async with self._reading:
            version = await self._client.get(self._keys.trunks_version) or b""
            if version == self.known.version:
                return
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.get(self._keys.trunks_version)
                pipe.hgetall(self._keys.trunks)
                version, found = await pipe.execute()
        self.known = Listed(version or b"", in_order(found))


def in_order(found: Mapping[bytes, bytes]) -> dict[str, Trunk]:
    """The trunks of the hash in the order in which they are asked.

    A release before 0.2.0 names the field of a trunk by its peer alone (lua/reach/trunks.lua). Of two fields of one
    trunk the later registration counts.
    """
    latest: dict[tuple[str, str], tuple[str, Trunk]] = {}
    for field, raw in found.items():
        trunk = _DECODER.decode(raw)
        known = latest.get((trunk.user, trunk.id))
        if known is None or order(known[1].at) < order(trunk.at):
            latest[trunk.user, trunk.id] = field.decode(), trunk
    trunks = sorted(latest.values(), key=lambda each: (each[1].leads_everywhere, each[1].id, each[1].user))
    return dict(trunks)
