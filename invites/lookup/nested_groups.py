"""Finds the members of groups within a group."""

import functools
import logging
from collections.abc import Iterator
from typing import Final

from invites.logs.personal import personal
from invites.lookup.asking import some_at_once, tried
from invites.lookup.result import Member
from invites.sippo import Group, NoAnswer, SippoServer

LEVELS: Final = 5
"""How deep groups may be nested; the group that is called is the first level."""

_log = logging.getLogger(__name__)


class NestedGroups:
    """Asks for each member whether it is a group. `most` is how many members a group may have in all."""

    def __init__(self, server: SippoServer, most: int) -> None:
        self._server = server
        self._most = most

    async def members(self, group: Group, name: str, inviter: str) -> list[Member]:
        """The members of the group `name` and of those within it, each once, in their order.

        Never raises. A member that cannot be asked for is one with `failed`. Stops asking as soon as there are too many
        members, or groups: then the list, which is longer than `most`, is not complete.
        """
        found = _Found(name, group)
        while found.level <= LEVELS and (unknown := found.unknown(inviter)):
            found.level += 1
            await some_at_once(functools.partial(self._ask, found), unknown)
        if found.size > self._most:
            return [Member(user) for user in (*found.users, *found.groups)]
        if found.failures:
            _log.warning(
                "Whether %d of the members of %s are groups is not known: %s",
                len(found.failures),
                personal(name),
                personal(next(iter(found.failures.values()))),
            )
        return [Member(user, failed=user in found.failures) for user in dict.fromkeys(found.flat())]

    async def _ask(self, found: "_Found", member: str) -> None:
        if found.size <= self._most:
            found.note(member, await tried(self._server.group(member)))


class _Found:
    """What is known so far: the groups, with the level on which each was found first, and the users."""

    def __init__(self, name: str, group: Group) -> None:
        self.name = name
        self.groups: dict[str, tuple[Group, int]] = {name: (group, 1)}
        self.level = 1
        self.users: set[str] = set()
        self.failures: dict[str, NoAnswer] = {}

    @property
    def size(self) -> int:
        """The number of users, or of groups if they are more."""
        return max(len(self.users), len(self.groups))

    def note(self, member: str, answer: Group | NoAnswer | None) -> None:
        """Note what a member is."""
        if isinstance(answer, Group):
            self.groups[member] = answer, self.level
            return
        self.users.add(member)
        if isinstance(answer, NoAnswer):
            self.failures[member] = answer

    def unknown(self, inviter: str) -> list[str]:
        """The members of the groups of the last level that have not been asked for."""
        last = (group for group, level in self.groups.values() if level == self.level)
        members = dict.fromkeys(member for group in last for member in group.participants)
        known = {inviter, *self.groups, *self.users}
        return [member for member in members if member not in known]

    def flat(self) -> Iterator[str]:
        """The users in their order; a group stands for its members, where it is named first."""
        open_ = {self.name: iter(dict.fromkeys(self.groups[self.name][0].participants))}
        opened, left_out = {self.name}, set[str]()
        while open_:
            within = next(reversed(open_))
            member = next(open_[within], None)
            group, level = self.groups.get(member or "", (None, 0))
            if member is None:
                del open_[within]
            elif group is None:
                yield member
            elif member in left_out:
                continue
            elif member in open_:
                left_out.add(member)
                _log.warning(
                    "Group %s is left out of group %s, which is within it.",
                    personal(member),
                    personal(within),
                )
            elif level > LEVELS:
                left_out.add(member)
                _log.warning(
                    "Group %s is left out: in %s it is on level %d.",
                    personal(member),
                    personal(self.name),
                    level,
                )
            elif member not in opened:
                opened.add(member)
                open_[member] = iter(dict.fromkeys(group.participants))
