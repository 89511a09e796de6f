"""Calls to groups: a separate call for each member, and one that decides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .core import rank, why
from .missed import has_declined, is_missed, missed
from .presence import Registration
from .state import Candidate, Id, Invite, Leg
from .trunks import Trunks

LEG_SLACK = 2_000
"""ms by which a leg outlives its group's deadline."""


class Groups(Trunks):
    """Section 6.9."""

    # -- who can be rung as a member

    def device_candidate(self, there: Registration) -> Candidate:
        return Candidate(there.peer, there.user, there.user, "PEER", "CALLED", there.device, there.session)

    def registered_of(self, user: str, caller: str) -> list[Candidate]:
        there = self.presence.of(user)
        return [self.device_candidate(each) for each in there if not each.trunk and each.peer != caller]

    def elsewhere(
        self, user: str, peers: tuple[str, ...], there: list[Candidate], caller: str, since: Id
    ) -> None:
        """Add peers that are connected elsewhere, unless they are known to have gone `since` they were asked for."""
        for peer in peers:
            lost = self.presence.lost_at(user, peer)
            known = {caller, *(each.peer for each in there)}
            if peer not in known and not (lost and lost > since):
                there.append(Candidate(peer, user, user, "PEER", "CALLED"))

    def asleep(self, user: str, devices: tuple[str, ...], there: list[Candidate]) -> None:
        """Add push devices that are not there."""
        for device in devices:
            known = [each for each in there if (each.device or each.peer) == device]
            for each in known:
                each.push = True
            if not known:
                asleep = Candidate(device, user, user, "PUSH", "PUSHING", device, push=True, unheard=True)
                there.append(asleep)

    def lost_lately(self, user: str, caller: str, there: list[Candidate]) -> None:
        """Add devices that may be back soon, each under the peer id that was lost last."""
        lost = [each for (owner, _), each in self.away.items() if owner == user and each[0] > self.now]
        for due, each in sorted(lost, key=lambda one: (-one[0], one[1].peer)):
            ids = {caller, *(one.peer for one in there if one.type != "PUSH")}
            devices = {one.device or one.peer for one in there}
            if each.peer not in ids | devices and (each.device or each.peer) not in devices:
                mine = self.device_candidate(each)
                mine.state, mine.unheard = "AWAY", True
                there.append(mine)
                self.timers[f"grace|{user}|{each.peer}"] = due

    def may_be_number(self, *, failed: bool) -> bool:
        """While the Reachability service answers, it decides which names are numbers."""
        return self.settings.look_up != "reachability" or failed

    def devices_of_member(self, call: Invite, invite: Invite, user: str, leg: Leg) -> list[Candidate]:
        found = leg.found
        devices = self.registered_of(user, call.caller)
        self.elsewhere(user, found.peers, devices, call.caller, call.latest)
        self.asleep(user, found.push, devices)
        self.lost_lately(user, call.caller, devices)
        if found.phone or (not devices and self.may_be_number(failed=found.failed)):
            for field in found.trunks.split():
                owner, _, peer = field.partition("|")
                invite.trunks.append((owner, peer))
            trunk = self.next_trunk(invite.trunks, user, {each.key for each in devices})
            devices += [trunk] if trunk else []
        return devices

    # -- a group call's life

    def call_group(self, call: Invite, legs: dict[str, Leg], *, sequential: bool) -> None:
        call.group, call.sequential, call.legs = call.to, sequential, legs
        self.timers[f"ring|{call.ref}"] = call.deadline
        if sequential:
            self.next_member(call)
        else:
            for user in list(legs):
                self.start_leg(call, user)

    def next_member(self, call: Invite) -> None:
        """The next one that can be rung at all."""
        if call.starting or self.now >= call.deadline:
            return
        call.starting = True
        while call.pending and not call.of("RINGING") and (waiting := self.members(call, "WAITING")):
            self.timers.pop(f"step|{call.ref}", None)
            if waiting[1:]:
                self.timers[f"step|{call.ref}"] = self.now + self.settings.ringing_step
            self.start_leg(call, waiting[0])
        call.starting = False

    def members(self, call: Invite, state: str) -> list[str]:
        return [user for user, leg in call.legs.items() if leg.state == state]

    def start_leg(self, call: Invite, user: str) -> None:
        leg = call.legs[user]
        invite = Invite(
            sender=call.sender,
            invite_id=call.invite_id,
            to=user,
            room=call.room,
            request=call.request,
            caller=call.caller,
            entry=call.entry,
            latest=call.latest,
            heard=call.heard,
            entered=call.entered,
            mediatypes=call.mediatypes,
            from_details=call.from_details,
            context=call.context,
            request_id=None,
            started_at=call.started_at,
            deadline=call.deadline,
            group=call.to,
        )
        if invite.ref in self.invites:
            del call.legs[user]
            self.go_on(call)
            return
        stops = [(user, call.invite_id, call.sender), (user, call.invite_id, None)]
        if any(stop in self.tombstones for stop in stops):
            leg.state, leg.end_reason, leg.reason = "OVER", 487, "cancelled"
            self.go_on(call)
            return
        has_joined = self.has_joined(invite)
        if not has_joined and self.wishes.refuse(user, call.sender, self.now):
            leg.state, leg.end_reason, leg.reason = "OVER", 480, "unreachable"
            self.go_on(call)
            return
        leg.state = "RINGING"
        self.invites[invite.ref] = invite
        if has_joined:
            self.accept_as_joined(invite)
            return
        devices = self.devices_of_member(call, invite, user, leg)
        if not devices:
            failed = leg.found.failed
            self.end(invite, "DECLINED", 500 if failed else 480, "internal" if failed else "unreachable")
            return
        devices = self.choose(invite, devices)
        if not devices:
            self.end(invite, "DECLINED", 486, "busy")
            return
        invite.put(*devices)
        self.timers[f"ring|{invite.ref}"] = call.deadline + LEG_SLACK
        self.ring(invite, devices, resumed=False)
        self.expect_ringing(invite, devices)

    def end(self, invite: Invite, state: str, code: int, reason: str, decider: str | None = None) -> None:
        if invite.is_group:
            self.end_group(invite, state, code, reason)
            return
        super().end(invite, state, code, reason)
        if not invite.is_leg:
            self.tell_missed(invite, invite.to, code, reason)
        call = self.invites.get(invite.group_ref) if invite.is_leg else None
        leg = call.legs.get(invite.to) if call else None
        if call and leg and call.pending and leg.state != "OVER":
            leg.state, leg.reason, leg.peer, leg.context = "OVER", reason, decider, invite.answer
            leg.end_reason = 487 if reason == "cancelled" else code
            self.go_on(call)

    def end_group(self, call: Invite, state: str, code: int, reason: str) -> None:
        """All that ring stop; cancelled ones no longer affect the outcome."""
        was_accepted = call.everybody and call.who is not None
        if was_accepted:
            call.legs_end = state, code, reason
        final = ("ACCEPTED", 200, "accepted") if was_accepted else (state, code, reason)
        call.state, call.code, call.reason = final
        call.ended_at = self.now
        self.timers.pop(f"ring|{call.ref}", None)
        self.timers.pop(f"step|{call.ref}", None)
        self.refuse_answers(call)
        if not was_accepted:
            self.tell_inviter(call, *self.outcome(call))
        self.tell("INVITE_COMPLETED", [], [], call.record())
        for user, leg in call.legs.items():
            if leg.state != "WAITING" and (call.state != "ACCEPTED" or call.everybody):
                ended = (code, reason) if leg.state == "RINGING" else (leg.end_reason, leg.reason)
                self.tell_missed(call, user, *ended)
        for user in self.members(call, "RINGING"):
            leg, invite = call.legs[user], self.invites[f"{call.sender}|{call.invite_id}|{user}"]
            leg.state, leg.end_reason = "OVER", 408 if code == 408 else 487
            if not was_accepted:
                invite.who, invite.winner = call.who, call.winner
            self.end(invite, state, code, reason)

    def tell_missed(self, call: Invite, user: str, code: int | None, reason: str | None) -> None:
        """The user has not answered: neither a direct call nor, as a member, one to a group."""
        own = self.invites.get(f"{call.sender}|{call.invite_id}|{user}")
        wish = self.wishes.last.get(user)
        if (
            is_missed(code, reason)
            and not call.probe
            and user != call.sender
            and not (own and (own is call or own.group == call.group) and has_declined(own))
            and not (wish and call.sender in wish.block)
        ):
            self.tell("callMissed", [], [user], missed(call, user, code, reason, self.now))

    def go_on(self, call: Invite) -> None:
        """A leg is over: the next one's turn, or the end."""
        if call.sequential and not call.of("RINGING"):
            self.next_member(call)
        if not call.pending or call.of("WAITING", "RINGING"):
            return
        if call.everybody and call.who is not None:
            self.end(call, "ACCEPTED", 200, "accepted")
            return
        votes = [leg.vote() for leg in call.legs.values()]
        best = min(votes, key=rank, default=Candidate("", "", "", "", "GONE", end_reason=480))
        code, reason = best.end_reason or 480, why(best)
        if self.now >= call.deadline and any(leg.reason == "timeout" for leg in call.legs.values()):
            code, reason = 408, "timeout"
        call.answer = best.context if reason in {"declined", "busy"} and best.state == "DECLINED" else None
        states = {"timeout": "DECLINED_BY_TIMEOUT", "cancelled": "DECLINED_BY_CREATOR"}
        self.end(call, states.get(reason, "DECLINED"), code, reason)

    def turn_over(self, call: Invite) -> None:
        """One after the other: the one that rings has had its time."""
        for user in self.members(call, "RINGING"):
            leg = self.invites[f"{call.sender}|{call.invite_id}|{user}"]
            self.end(leg, "DECLINED_BY_TIMEOUT", 408, "timeout")

    def has_joined(self, _leg: Invite) -> bool:
        """Whether the member has joined the room since the call began: see `joining.py`."""
        return False

    def accept_as_joined(self, leg: Invite) -> None:
        """Such a member has accepted."""

    def win_group(self, leg: Invite, peer: str | None, context: Any) -> None:
        """The first of all members' devices: the group call is decided before it is answered."""
        call = self.invites[leg.group_ref]
        mine = call.legs[leg.to]
        mine.state, mine.end_reason, mine.peer = "OVER", 200, peer
        mine.context = context
        if call.everybody:
            one = replace(call, state="ACCEPTED", who=leg.to, winner=peer, answer=context)
            self.tell_inviter(call, *self.outcome(one))
            if call.request:
                self.requests[leg.ref] = call.caller, call.deadline + self.kept()
            if call.who is None:
                call.who, call.winner, call.answer = leg.to, peer, context
            self.go_on(call)
            return
        call.answer = context
        call.who, call.winner = leg.to, peer
        self.end_group(call, "ACCEPTED", 200, "accepted")
        if call.request:
            self.requests[leg.ref] = call.caller, call.deadline + self.kept()

    def update_legs(self, call: Invite, entry: Id) -> None:
        for user in self.members(call, "RINGING"):
            leg = self.invites[f"{call.sender}|{call.invite_id}|{user}"]
            if entry > leg.latest:
                leg.latest = entry
                leg.mediatypes, leg.context = call.mediatypes or leg.mediatypes, call.context or leg.context
                leg.from_details = call.from_details or leg.from_details
                self.ring_again(leg)

    def ring_again(self, invite: Invite) -> None:
        """An update for the devices that ring."""
        ringing = [each for each in invite.candidates.values() if each.state in {"CALLED", "RINGING"}]
        if ringing:
            self.ring(invite, ringing, resumed=True)
