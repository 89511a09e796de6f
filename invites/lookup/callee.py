"""Asks sippo-server who can be reached as a callee.

In the legacy mode for a group and for push devices, as the configuration says; otherwise the Reachability service, in
one request. Failures are in the log, once for each callee, and in the answer.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from invites.logs import messages
from invites.logs.personal import personal
from invites.lookup.asking import some_at_once, tried
from invites.lookup.nested_groups import NestedGroups
from invites.lookup.result import LookupResult, Member, Resource
from invites.sippo import Candidate, Group, NoAnswer, PushDevice, Reachability, SippoServer
from invites.store.settings import Settings

_DEBUG: Final = 2

_log = logging.getLogger(__name__)


class CalleeLookup:
    """Look-ups as the configuration wants them; `settings.look_up` says which."""

    def __init__(self, server: SippoServer, settings: Settings, *, nested: bool = False) -> None:
        """`nested`: a member may be a group itself, whose members are called."""
        self._server = server
        self._nested = NestedGroups(server, settings.max_group_size) if nested else None
        self._most = settings.max_group_size
        self._push = settings.look_up in {"push", "all"}
        self._groups = settings.look_up in {"groups", "all"}
        self._reachability = settings.look_up == "reachability"

    async def ask(self, callee: str, inviter: str, *, may_be_group: bool) -> LookupResult:
        """What sippo-server knows of a callee. Never raises: the answer of a failed request has `failed`.

        `inviter` is a user, whose own devices are not asked for. The legacy mode asks for a group of this name only if
        it `may_be_group`.
        """
        if self._reachability:
            return await self._reach(callee)
        group, devices = await asyncio.gather(
            tried(self._server.group(callee) if self._groups and may_be_group else _nothing()),
            tried(self._server.push_devices(callee) if self._push else _nothing()),
        )
        if isinstance(group, Group):
            return await self._call_members(group, callee, inviter)
        failures = [answer for answer in (group, devices) if isinstance(answer, NoAnswer)]
        if failures:
            _log.warning("Other ways to reach %s are not known: %s", personal(callee), personal(failures[0]))
        known = not isinstance(devices, NoAnswer) and devices is not None
        return LookupResult(known=known, failed=bool(failures), push=_ids(devices))

    async def _call_members(self, group: Group, callee: str, inviter: str) -> LookupResult:
        """The members in the order in which they are first named, with their push devices."""
        if self._nested is None:
            members = [Member(user) for user in dict.fromkeys(group.participants)]
        else:
            members = await self._nested.members(group, callee, inviter)
        found = self._group_of(members, sequential=group.sequential)
        if not self._push or found.size:
            return found
        called = [member for member in members if member.user != inviter]
        failures = await self._ask_for_devices(called)
        if failures:
            _log.warning(
                "The push devices of %d of the %d members of %s are not known: %s",
                len(failures),
                len(called),
                personal(callee),
                personal(failures[0]),
            )
        return found

    async def _ask_for_devices(self, members: Sequence[Member]) -> list[NoAnswer]:
        """Ask for the push devices of members, a limited number at once; returns the failures."""
        failures = []

        async def ask(member: Member) -> None:
            devices = await tried(self._server.push_devices(member.user))
            member.push = _ids(devices)
            if isinstance(devices, NoAnswer):
                member.failed = True
                failures.append(devices)

        await some_at_once(ask, members)
        return failures

    async def _reach(self, callee: str) -> LookupResult:
        answer = await tried(self._server.reachability(callee))
        if answer is None:
            return LookupResult()
        if isinstance(answer, NoAnswer):
            _log.warning("Other ways to reach %s are not known: %s", personal(callee), personal(answer))
            return LookupResult(failed=True)
        found = self._reachable(answer)
        if messages.verbosity() >= _DEBUG:
            candidates = msgspec.json.encode(answer.candidates).decode()
            found.resource = Resource(answer.candidates_type, candidates)
        return found

    def _reachable(self, answer: Reachability) -> LookupResult:
        """The candidates of a user or a phone together; those of a group by their addresses, in order of appearance."""
        if answer.candidates_type == "group":
            by_member: dict[str, list[Candidate]] = {}
            for candidate in answer.candidates:
                by_member.setdefault(candidate.address, []).append(candidate)
            members = [
                Member(user, _of_type("PUSH", own), _of_type("PEER", own), phone=bool(_numbers(own)))
                for user, own in by_member.items()
            ]
            return self._group_of(members, sequential=answer.sequential)
        own = answer.candidates
        # One trunk is one candidate of an invite, so there is one number.
        phone = next(iter(_numbers(own)), "")
        return LookupResult(known=True, push=_of_type("PUSH", own), peers=_of_type("PEER", own), phone=phone)

    def _group_of(self, members: list[Member], *, sequential: bool) -> LookupResult:
        """A group of these; a script need not read 10,000 members to see that there are too many."""
        if len(members) > self._most:
            return LookupResult(known=True, members=[], size=len(members))
        return LookupResult(known=True, members=members, sequential=sequential)


def _of_type(kind: str, candidates: Iterable[Candidate]) -> tuple[str, ...]:
    """The ids of the candidates of one type. A PEER without one only says that the user is registered."""
    ids = (candidate.id for candidate in candidates if candidate.type == kind and candidate.id is not None)
    return tuple(dict.fromkeys(ids))


def _numbers(candidates: Iterable[Candidate]) -> list[str]:
    return [candidate.address for candidate in candidates if candidate.type == "PSTN"]


def _ids(devices: list[PushDevice] | NoAnswer | None) -> tuple[str, ...]:
    if devices is None or isinstance(devices, NoAnswer):
        return ()
    return tuple(dict.fromkeys(device.id for device in devices))


async def _nothing() -> None:
    """The result without a request."""
