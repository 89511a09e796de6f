"""Who rings for an invite: registered devices, looked-up devices, the phone network."""

from __future__ import annotations

from collections.abc import Collection

from invites.lookup.result import LookupResult

from .presence import Registration
from .redial import Redial
from .state import IN, Candidate, Invite, Leg, Payload
from .trunks import NOTHING


class Reach(Redial):
    """Section 7. `found` is what the lookup for the event at hand has found, None if there was none."""

    found: LookupResult | None = None

    def looked_up(self, *, registered: bool) -> LookupResult:
        """Only a group is not asked for while somebody of that name is registered."""
        if self.settings.look_up == "" or (self.settings.look_up == "groups" and registered):
            return NOTHING
        assert self.found is not None, "committed without the lookup"
        return self.found

    def trunk_for(self, invite: Invite, devices: Collection[Candidate]) -> Candidate | None:
        """The trunk that rings beside these devices; the others are kept for later."""
        number = (self.found.phone if self.found else "") or invite.to
        invite.trunks = self.trunks_to(number, (invite.sender, invite.caller))
        return self.next_trunk(invite.trunks, number, {each.key for each in devices})

    def reach(self, invite: Invite, event: Payload) -> None:  # noqa: C901, PLR0912 - one branch for each end
        """Ring the candidates, or end the invite at once without any."""
        if invite.probe:
            self.reach_registered(invite, event)
            return
        asked = self.requests.get(f"{invite.to}|{invite.request_id}|{invite.sender}")
        if invite.request_id is not None and asked:
            refusal = self.refusal_of(invite, asked[0])
            if refusal:
                self.end(invite, "DECLINED", *refusal)
                return
            invite.asked = True
            device = self.presence.marked_device(invite.to, asked[0])
            guest = Registration((0, 0, 0), asked[0], invite.to, device=device)
            there = self.whoever_is(invite.to, asked[0]) or guest
            self.call_devices(invite, event, [self.device_candidate(there)])
            return
        if self.wishes.refuse(invite.to, invite.sender, self.now):
            self.end(invite, "DECLINED", 480, "unreachable")
            return
        to_self = invite.to == invite.sender
        devices = [] if to_self else self.registered_of(invite.to, invite.caller)
        registered = bool(devices)
        trunk = self.trunk_for(invite, ())
        parallel = self.settings.parallel_sip and trunk is not None and not invite.request
        asks = not parallel or (self.settings.look_up != "push" and not registered)
        found = self.looked_up(registered=registered) if asks else NOTHING
        if found.members is not None and not registered:
            self.reach_group(invite, event, found)
            return
        if parallel:
            assert trunk is not None
            invite.waiting = invite.parallel = True
            self.call_devices(invite, event, [trunk])
            return
        if not to_self:
            self.elsewhere(invite.to, found.peers, devices, invite.caller, invite.entry)
            self.asleep(invite.to, found.push, devices)
            self.lost_lately(invite.to, invite.caller, devices)
        if trunk and (found.phone or (not devices and self.may_be_number(failed=found.failed))):
            trunk = self.trunk_for(invite, devices)
            devices += [trunk] if trunk else []
        else:
            invite.trunks = []
        if devices:
            self.call_devices(invite, event, devices)
        elif found.failed:
            self.end(invite, "DECLINED", 500, "internal")
        elif found.known or self.presence.known(invite.to):
            self.end(invite, "DECLINED", 480, "unreachable")
        else:
            self.end(invite, "DECLINED", 404, "not_found")

    def is_to_group(self, invite: Invite) -> bool:
        """Whether the callee is a group that may be called. A name with registered devices is a user's."""
        return (
            self.settings.look_up not in {"", "push"}
            and not self.wishes.refuse(invite.to, invite.sender, self.now)
            and not self.registered_of(invite.to, invite.caller)
            and self.looked_up(registered=False).members is not None
        )

    def reach_registered(self, invite: Invite, event: Payload) -> None:
        """A probe rings the registered devices, without a lookup."""
        devices = [] if invite.to == invite.sender else self.registered_of(invite.to, invite.caller)
        if devices:
            self.call_devices(invite, event, devices)
        else:
            self.end(invite, "DECLINED", 480, "unreachable")

    def refusal_of(self, invite: Invite, peer: str) -> tuple[int, str] | None:
        """Why the invite may not answer the request of this peer."""
        refusal = self.refusals.get(f"{invite.to}|{invite.request_id}|{invite.sender}")
        lost = self.presence.lost_at(invite.to, peer)
        if refusal or lost is None or self.whoever_is(invite.to, peer):
            return refusal
        return (480, "unreachable") if lost[0] + self.settings.caller_grace <= self.now else None

    def call_devices(self, invite: Invite, event: Payload, devices: list[Candidate]) -> None:
        invite.put(*devices)
        self.timers[f"ring|{invite.ref}"] = invite.deadline
        self.device_speaks(event, invite.entry, calls=True)
        self.set_caller(invite, invite.caller)
        self.ring(invite, devices, resumed=False)
        self.expect_ringing(invite, devices)
        self.tell_progress(invite, event, invite.caller)

    def reach_group(self, invite: Invite, event: Payload, found: LookupResult) -> None:
        members = found.members or []
        invite.group = invite.to
        if len(members) > self.settings.max_group_size:
            self.end(invite, "DECLINED", 403, "too_many")
            return
        room = self.rooms.get(invite.room) if invite.room is not None else None
        there = {invite.sender, *(room.members if room else ())}
        legs = {each.user: Leg(each) for each in reversed(members) if each.user not in there}
        if not legs:
            self.end(invite, "DECLINED", 480, "unreachable")
            return
        order = dict.fromkeys(each.user for each in members if each.user in legs)
        self.device_speaks(event, invite.entry, calls=True)
        self.set_caller(invite, invite.caller)
        mode = event.get("ringMode")
        invite.everybody = mode == "all"
        sequential = found.sequential if mode is None else mode == "sequential"
        self.call_group(invite, {user: legs[user] for user in order}, sequential=sequential)
        if invite.pending:
            self.tell_progress(invite, event, invite.caller)

    def tell_progress(self, invite: Invite, event: Payload, peer: str | None = None) -> None:
        """Tell the event's peer, or the peer id that its device has now."""
        payload = self.progress(invite)
        if event.get("transaction") is not None:
            payload["transaction"] = event["transaction"]
        self.tell("inviteProgress", [peer or event["peer"]["id"]], [event["peer"]["user"]], payload)

    # -- phones that sleep

    def pushed(self, became: str, ref: str, device: str) -> None:
        """The result of a push job."""
        invite = self.invites.get(ref)
        mine = invite.pushed(device) if invite else None
        if invite is None or mine is None:
            return
        sleeps = mine.type == "PUSH"
        if became == "pushGone":
            if sleeps and invite.pending and mine.state in {"PUSHING", "PUSHED"}:
                mine.state, mine.end_reason = "GONE", 480
                self.end_when_left_alone(invite)
            elif invite.pending:
                mine.push, mine.also = False, ""
        elif became != "pushDropped" and mine.also == "PUSHING" and mine.state in IN:
            mine.also, mine.taken = "PUSHED", True
            self.push_taken(invite, became)
        elif became != "pushDropped" and sleeps and mine.state == "PUSHING":
            mine.state, mine.taken = "PUSHED", True
            self.push_taken(invite, became)
        elif became != "pushDropped":
            phone = [Candidate(device, mine.user, mine.address, "PUSH", mine.state, device)]
            if mine.state == "REJECTED":
                self.cancel(invite, phone, 486, "busy_elsewhere")
            elif not invite.pending and mine.state in {"CANCELLED", "GONE"}:
                self.cancel_at_end(invite, phone)

    def push_taken(self, invite: Invite, became: str) -> None:
        """The inviter gets 110 once, unless a device rings."""
        call = self.invites[invite.group_ref] if invite.is_leg else invite
        if became == "pushTaken" and not call.taken:
            call.taken = True
            if not call.progressed:
                self.tell_inviter(call, "inviteProgress", self.progress(call))
