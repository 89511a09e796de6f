"""Calling again: an invite ends earlier ones of its inviter."""

from __future__ import annotations

from .groups import Groups
from .state import Candidate, Invite, Payload, Tombstone

REPLACED = "replaced"


class Redial(Groups):
    """The section "Calling again" of rules.md."""

    def other_calls(self, invite: Invite, event: Payload) -> list[Invite]:
        """The pending calls of the same device to the same callee."""
        trunk = self.presence.get(invite.sender, invite.caller)
        if self.settings.redial != "replace" or invite.request_id or (trunk and trunk.trunk):
            return []
        return [
            each
            for each in self.pending()
            if (each.sender, each.to, each.request) == (invite.sender, invite.to, invite.request)
            and each is not invite
            and not each.is_leg
            and not each.request_id
            and self.same_caller(each, invite.caller, event["peer"].get("device"))
        ]

    @staticmethod
    def same_caller(call: Invite, peer: str, device: str | None) -> bool:
        return call.caller == peer or (device is not None and call.device == device)

    def choose_others(self, invite: Invite, event: Payload) -> list[str]:
        """The refs that this new invite replaces; `overtaken` when a later one came first."""
        others, last = [], None
        named = event.get("replaces")
        if named is not None and self.may_replace(invite, named):
            others.append(named)
            invite.replaces = named
        for each in sorted(self.other_calls(invite, event), key=lambda one: one.entry):
            if each.entry > invite.entry:
                invite.overtaken = True
            elif each.ref != named:
                others.append(each.ref)
                last = each.ref
        invite.replaces = invite.replaces or last
        return others

    def may_replace(self, invite: Invite, ref: str) -> bool:
        known = self.invites.get(ref) if ref.endswith(f"|{invite.to}") else None
        mine = ref.startswith(f"{invite.sender}|") and ref != invite.ref
        return mine and (known is None or (known.pending and not known.is_leg))

    def replace_others(self, invite: Invite, others: list[str]) -> None:
        for ref in others:
            other = self.invites.get(ref)
            if other is None:
                sender, invite_id, to = ref.split("|")
                until = self.now + self.settings.max_ring_timeout + self.kept()
                self.tombstones[to, invite_id, sender] = Tombstone(487, until, REPLACED)
            elif other.pending and not other.is_leg:
                if self.same_caller(other, invite.caller, invite.device):
                    other.caller = invite.caller
                self.end(other, "DECLINED_BY_CREATOR", 487, REPLACED)

    def ring(self, invite: Invite, candidates: list[Candidate], *, resumed: bool) -> None:
        """Ring them; the invitation names the replaced invite."""
        told = len(self.out)
        super().ring(invite, candidates, resumed=resumed)
        call = self.invites.get(invite.group_ref, invite) if invite.is_leg else invite
        if call.replaces is not None:
            for each in self.out[told:]:
                payload = each.payload["payload"] if each.type.startswith("push ") else each.payload
                payload["replaces"] = call.replaces
