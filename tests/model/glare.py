"""Two users who call each other."""

from __future__ import annotations

from .calls import Calls
from .state import Id, Invite, Payload


class Glare(Calls):
    """The section "Two users who call each other" of rules.md. `met`: the last accepted call, and by which entry."""

    entry: Id = (0, 0, 0)

    def reach(self, invite: Invite, event: Payload) -> None:
        if not self.meets(invite, event):
            super().reach(invite, event)

    def end(self, invite: Invite, state: str, code: int, reason: str, decider: str | None = None) -> None:
        if state == "ACCEPTED" and invite.group is None and invite.room is not None:
            self.met[invite.sender, invite.to] = invite, self.entry
        super().end(invite, state, code, reason, decider)

    def can_meet(self, invite: Invite) -> bool:
        there = self.presence.get(invite.sender, invite.caller)
        is_call = invite.room is not None and not invite.request_id and not invite.probe
        is_call = is_call and invite.sender != invite.to
        return is_call and invite.group is None and not invite.waiting and not (there and there.trunk)

    def meets(self, invite: Invite, event: Payload) -> bool:
        """Whether the new invite and another one become one call."""
        if self.settings.glare != "merge" or not self.can_meet(invite) or self.is_to_group(invite):
            return False
        others = [
            each
            for each in self.pending()
            if (each.sender, each.to) == (invite.to, invite.sender)
            and self.can_meet(each)
            and self.standing(each, event) != "REJECTED"
            and not each.is_of_other_user(invite.sender, invite.caller)
        ]
        if others:
            other = min(others, key=lambda each: (each.entry, each.ref))
            first, second = sorted((invite, other), key=lambda each: (each.entry, each.ref))
            caller, device = first.caller, first.device
            self.take(first, second.caller, second.device)
            self.merge(second, first, caller, device)
            return True
        known, accepted_at = self.met.get((invite.to, invite.sender), (None, self.entry))
        is_late = known is not None and known.into is None and accepted_at > invite.entry
        if known is not None and is_late and self.invites.get(known.ref) is known:
            self.merge(invite, known, known.caller, known.device)
            return True
        return False

    def take(self, first: Invite, peer: str, device: str | None) -> None:
        """The earlier call is accepted by the peer that sent the later one."""
        self.win(first, peer, device)
        self.end(first, "ACCEPTED", 200, "accepted")
        self.now_in_call(first, first.to, peer)
        if self.settings.only_one_device_with_invitations:
            winner = first.candidates[peer]
            self.reject_elsewhere(peer, first.to, winner.device)

    def merge(self, second: Invite, first: Invite, peer: str, device: str | None) -> None:
        """The later call ends in the earlier one's room."""
        self.win(second, peer, device)
        second.into, second.room = first.ref, first.room
        self.end(second, "ACCEPTED", 200, "merged")

    def win(self, invite: Invite, peer: str, device: str | None) -> None:
        named = {} if device is None else {"device": device}
        winner = self.candidate(invite, {"peer": {"id": peer, "user": invite.to} | named})
        winner.state, winner.end_reason, winner.context = "ACCEPTED", 200, None
        invite.who, invite.winner = invite.to, peer
