"""The phone network: the trunks that lead to a number, and the next one when one fails."""

from __future__ import annotations

from collections.abc import Callable, Collection

from invites.lookup.result import LookupResult

from .core import Core
from .presence import Registration
from .state import Candidate, Invite

MOST = 10
"""The most trunks to one number that a call knows."""
NOTHING = LookupResult()


def is_failure(code: int) -> bool:
    """Whether the trunk says that it cannot connect the call; otherwise the phone has answered."""
    return code in {408, 480} or 500 <= code < 600


class Trunks(Core):
    """`ask` is sippo-server's answer about a callee at this moment."""

    ask: Callable[[str], LookupResult]

    def trunk_as(self, trunk: Registration, number: str) -> Candidate:
        return Candidate(
            trunk.peer,
            trunk.user,
            number,
            "PSTN",
            "CALLED",
            trunk.device,
            trunk.session,
            confirm=trunk.confirm,
        )

    def trunks_to(self, number: str, inviter: tuple[str, str]) -> list[tuple[str, str]]:
        """Users and peers of the trunks, the first choice first."""
        fitting = [
            each
            for each in self.presence.everybody()
            if each.trunk and (each.user, each.peer) != inviter and self.matches(each.match, number)
        ]
        fitting.sort(key=lambda each: (each.match == "*", each.peer, each.user))
        return [(each.user, each.peer) for each in fitting[:MOST]]

    def next_trunk(
        self, waiting: list[tuple[str, str]], number: str, taken: Collection[str]
    ) -> Candidate | None:
        """Take the trunks off the list up to the first that is registered and has a peer id of its own."""
        while waiting:
            user, peer = waiting.pop(0)
            there = self.presence.get(user, peer)
            if there and there.trunk and peer not in taken:
                return self.trunk_as(there, number)
        return None

    def trunk_fails(self, invite: Invite, mine: Candidate) -> bool:
        """It has declined, or is lost (then still in). True: something else rings instead."""
        if mine.type != "PSTN" or (invite.parallel and not invite.waiting) or self.now >= invite.deadline:
            return False
        following = self.next_trunk(invite.trunks, mine.address, invite.candidates)
        if not following and not invite.waiting:
            return False
        mine.followed = True
        if mine.state != "DECLINED":
            mine.state, mine.end_reason = "GONE", 480
        if following:
            invite.put(following)
            self.ring(invite, [following], resumed=False)
        else:
            asks = self.settings.look_up not in {"", "groups"}
            self.ring_at_home(invite, self.ask(invite.to) if asks else NOTHING)
            if invite.pending:
                self.end_when_left_alone(invite)
        return True

    def ring_at_home(self, invite: Invite, found: LookupResult) -> None:
        """The callee's own devices ring for a call that the phone network had."""
        raise NotImplementedError
