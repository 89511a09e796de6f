"""Who can be reached, as far as a script cannot know it: what sippo-server knows, and a trunk's `match`.

The script says what it needs (`Status.NEEDS`); the operation is completed here and settled again. A choice of trunks
carries their version, so that one made among yesterday's trunks is refused and asked for again.
"""

import asyncio
from typing import Final, Protocol

import msgspec
from redis.asyncio import Redis

from invites.events.operations import Operation, with_invitations, with_requester
from invites.events.protocol import GetInvitations, Invite, InviteRequest
from invites.keys import Keys
from invites.lookup.other_shards import OtherShards
from invites.lookup.result import LookupResult
from invites.lookup.trunks import Trunks
from invites.store.commit import Outcome

TRUNKS: Final = "trunks"
"""The trunks as they are now."""
USER: Final = "user"
"""What sippo-server knows of the callee, who is a user."""
ANYBODY: Final = "anybody"
"""What sippo-server knows of the callee, who may be a user, a group or a number."""
REQUEST: Final = "request"
"""The peer that asked for an invite, which its callee's shard knows."""
INVITATIONS: Final = "invitations"
"""What rings a user's trunks in other shards."""


class Lookup(Protocol):
    """Asks sippo-server about a callee, as `invites.lookup.callee` does."""

    async def ask(self, callee: str, inviter: str, /, *, may_be_group: bool) -> LookupResult:
        """What sippo-server knows. Never raises."""


class Resolver:
    """Completes operations of one shard by what its scripts cannot look up.

    `look_ups` is None where sippo-server is never asked.
    """

    def __init__(
        self, client: Redis, keys: Keys, other_shards: OtherShards, lookup: Lookup | None = None
    ) -> None:
        self._trunks = Trunks(client, keys)
        self._other_shards = other_shards
        self._lookup = lookup
        self._asking: dict[tuple[str, str], asyncio.Future[LookupResult]] = {}

    async def complete(self, operation: Operation, outcome: Outcome) -> Operation:
        """Return the operation with what its outcome says it needs.

        Raises ValueError for a need that is not known, and redis exceptions.
        """
        event, need = operation.event, outcome.detail
        if need == INVITATIONS and isinstance(event, GetInvitations):
            return with_invitations(operation, await self._other_shards.invitations(event.peer.user))
        if not isinstance(event, (Invite, InviteRequest)):
            raise ValueError(f"{operation.handler} needs {need}, which nobody can look up")  # noqa: TRY004
        if isinstance(event, Invite) and event.return_of is not None:
            # The last argument is the answer of sippo-server, about the callee of the first invite.
            answered = await self._ask(need, event.return_of)
            return _with(operation, (*operation.args[:-1], answered.encode()))
        if need == REQUEST and isinstance(event, Invite):
            return with_requester(operation, await self._other_shards.requester(event))
        # The last three arguments: version of the trunks, trunk, answer of sippo-server.
        *asked, _, _, answer = operation.args
        if need == TRUNKS:
            await self._trunks.read()
            found = LookupResult.decode(answer) if isinstance(answer, bytes) and answer else None
        else:
            found = await self._ask(need, f"{event.peer.user}|{event.invite_id}|{event.to}")
            await self._see_who_is_there(event, found)
        return _with(operation, (*asked, *self._choose_trunks(found, event.to, event.peer.id)))

    async def _ask(self, need: str, ref: str) -> LookupResult:
        """Ask sippo-server about the callee of an invite: once, though its repeats come while it is being asked."""
        if need not in {USER, ANYBODY} or self._lookup is None:
            raise ValueError(f"an invite needs {need}, which nobody can look up")
        asked = self._asking.get((need, ref))
        if asked is not None:
            return await asyncio.shield(asked)
        self._asking[need, ref] = asked = asyncio.get_running_loop().create_future()
        try:
            inviter, _, callee = ref.split("|")
            found = await self._lookup.ask(callee, inviter, may_be_group=need == ANYBODY)
            asked.set_result(found)
        finally:
            asked.cancel()  # with a result it stays
            del self._asking[need, ref]
        return found

    async def _see_who_is_there(self, event: Invite | InviteRequest, found: LookupResult) -> None:
        """Mark the members that are in the room already, when the room is another shard's."""
        members = found.members or []
        there = await self._other_shards.present(event, [member.user for member in members])
        for member in members:
            member.present = member.user in there

    def _choose_trunks(self, found: LookupResult | None, to: str, inviter: str) -> tuple[bytes, str, bytes]:
        """The version of the trunks; the one for the callee, or for its number; the answer, with one for each member.

        They are chosen among those that were last read.
        """
        known = self._trunks.known
        if found is None:
            return known.version, known.leading_to(to, inviter), b""
        for member in found.members or ():
            member.trunk = known.leading_to(member.user, inviter)
        return known.version, known.leading_to(found.phone or to, inviter), found.encode()


def _with(operation: Operation, args: tuple[bytes | str | int, ...]) -> Operation:
    return msgspec.structs.replace(operation, args=args)
