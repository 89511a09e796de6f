"""Who can be reached, as far as a script cannot know it: a trunk's `match` is a regular expression.

The script says what it needs (`Status.NEEDS`); the operation is completed here and settled again. What was looked up
carries a version, so that a decision made on yesterday's trunks is refused and asked for again.
"""

from typing import Final

import msgspec
import re2
from redis.asyncio import Redis

from invites.commit import Outcome
from invites.keys import Keys
from invites.operations import Operation
from invites.protocol import ANYTHING, Invite, InviteRequest

TRUNKS: Final = "trunks"


class _Trunk(msgspec.Struct):
    id: str
    match: str = ANYTHING

    def leads_to(self, number: str) -> bool:
        """Say whether the whole number fits."""
        return self.match == ANYTHING or re2.fullmatch(self.match, number) is not None


_DECODER: Final = msgspec.json.Decoder(_Trunk)


class Resolver:
    """Completes operations by what the scripts cannot look up."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        """Look things up for one shard."""
        self._client = client
        self._keys = keys

    async def complete(self, operation: Operation, outcome: Outcome) -> Operation:
        """Return the operation with what its outcome says it needs.

        Raises ValueError for a need that is not known, and redis exceptions.
        """
        event = operation.event
        if outcome.detail == TRUNKS and isinstance(event, (Invite, InviteRequest)):
            version, trunk = await self._choose_trunk(event.to, event.peer.id)
            chosen = trunk.id if trunk else ""
            # The last three arguments of an invite: version of the trunks, trunk, answer of sippo-server.
            *asked, _, _, answer = operation.args
            return msgspec.structs.replace(operation, args=(*asked, version, chosen, answer))
        raise ValueError(f"{operation.handler} needs {outcome.detail}, which nobody can look up")

    async def _choose_trunk(self, number: str, inviter: str) -> tuple[bytes, _Trunk | None]:
        """Return the version of the trunks, and the one for the number: a specific match goes before `*`."""
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.get(self._keys.trunks_version)
            pipe.hvals(self._keys.trunks)
            version, found = await pipe.execute()
        trunks = sorted(
            (_DECODER.decode(raw) for raw in found), key=lambda trunk: (trunk.match == ANYTHING, trunk.id)
        )
        for trunk in trunks:
            if trunk.id != inviter and trunk.leads_to(number):
                return version, trunk
        return version or b"", None
