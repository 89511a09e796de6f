"""Completes operations with data that a rule cannot look up: sippo-server's answers, trunks that match, other shards.

A rule says what it needs (`Status.NEEDS`). The operation is completed here and committed again. A choice of trunks
carries their version, so that the rule refuses a choice among outdated trunks and asks again.
"""

import asyncio
from typing import Final, Protocol

from msgspec.structs import replace
from redis.asyncio import Redis

from invites.events.arguments import Arguments, InviteArguments, RelayArguments, RelayedEventArguments
from invites.events.operation import Operation
from invites.events.protocol import GetInvitations, Invite, InviteRequest
from invites.keys import Keys
from invites.lookup.other_shards import OtherShards
from invites.lookup.result import LookupResult
from invites.lookup.trunks import Trunks
from invites.store.answers import Outcome
from invites.values.ref import Ref

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
_TRUNKS_HAVE_FAILED: Final = "trunks_have_failed"
"""The message after which the callee's own devices ring (lua/call/trunk_failure.lua)."""


class Lookup(Protocol):
    """Asks sippo-server about a callee, as `invites.lookup.callee` does."""

    async def ask(self, callee: str, inviter: str, /, *, may_be_group: bool) -> LookupResult:
        """What sippo-server knows. Never raises."""


class Resolver:
    """Completes operations of one shard with data that its scripts cannot look up.

    `lookup` is None if sippo-server is never asked.
    """

    def __init__(
        self, client: Redis, keys: Keys, other_shards: OtherShards, lookup: Lookup | None = None
    ) -> None:
        self._trunks = Trunks(client, keys)
        self._other_shards = other_shards
        self._lookup = lookup
        self._asking: dict[tuple[str, Ref], asyncio.Future[LookupResult]] = {}

    async def complete(self, operation: Operation, outcome: Outcome) -> Operation:
        """The operation with the data that its outcome asks for.

        Raises ValueError for an unknown need, and redis exceptions.
        """
        event, need = operation.event, outcome.detail
        message = operation.arguments
        if isinstance(message, RelayArguments) and message.kind == _TRUNKS_HAVE_FAILED:
            ref = message.arguments[0]
            answer = await self._ask(need, Ref.parse(ref))
            completed = replace(message, arguments=(ref, answer.encode().decode()))
            return replace(operation, arguments=completed)
        if need == INVITATIONS and isinstance(event, GetInvitations):
            return operation.having(other_shards=await self._other_shards.invitations(event.peer))
        if not isinstance(event, (Invite, InviteRequest)):
            raise ValueError(f"{operation.rule} needs {need}, which nobody can look up")  # noqa: TRY004
        if isinstance(event, Invite) and event.return_of is not None:
            answer = await self._ask(need, Ref.parse(event.return_of))
            return operation.having(lookup_result=answer.encode())
        if need == REQUEST and isinstance(event, Invite):
            return operation.having(requester=await self._other_shards.requester(event))
        if need == TRUNKS:
            await self._trunks.read()
            found = LookupResult.decode(answered) if (answered := _found(operation.arguments)) else None
        else:
            found = await self._ask(need, Ref(event.peer.user, event.invite_id, event.to))
            await self._mark_present(event, found)
        return await self._with_trunks(operation, event, found)

    async def _ask(self, need: str, ref: Ref) -> LookupResult:
        """Ask sippo-server about the callee of an invite, once, even if repeats come meanwhile."""
        if need not in {USER, ANYBODY} or self._lookup is None:
            raise ValueError(f"an invite needs {need}, which nobody can look up")
        asked = self._asking.get((need, ref))
        if asked is not None:
            return await asyncio.shield(asked)
        self._asking[need, ref] = asked = asyncio.get_running_loop().create_future()
        try:
            found = await self._lookup.ask(ref.callee, ref.inviter, may_be_group=need == ANYBODY)
            asked.set_result(found)
        finally:
            asked.cancel()  # with a result it stays
            del self._asking[need, ref]
        return found

    async def _mark_present(self, event: Invite | InviteRequest, found: LookupResult) -> None:
        """Mark the members that are already in the room, when the room belongs to another shard."""
        members = found.members or []
        present = await self._other_shards.present(event, [member.user for member in members])
        for member in members:
            member.present = member.user in present

    async def _with_trunks(
        self, operation: Operation, event: Invite | InviteRequest, found: LookupResult | None
    ) -> Operation:
        """The operation with the trunks for the callee, or for its number, and with those for each member.

        The trunks are those that were last read. Their version is passed along: the rule refuses an outdated choice.
        """
        known, inviter = self._trunks.known, event.peer
        number = (found and found.phone) or event.to
        for member in (found and found.members) or ():
            member.trunks = await known.leading_to(member.user, inviter)
        return operation.having(
            trunks_version=known.version,
            trunks=await known.leading_to(number, inviter),
            lookup_result=found.encode() if found else b"",
        )


def _found(arguments: Arguments) -> bytes:
    """What an earlier lookup has found for an invite."""
    if isinstance(arguments, RelayedEventArguments):
        arguments = arguments.arguments
    return arguments.lookup_result if isinstance(arguments, InviteArguments) else b""
