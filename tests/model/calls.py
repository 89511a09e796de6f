"""The events of a call: invite, ringing, accept, decline, stop, getInvitations."""

from __future__ import annotations

from invites.lookup.result import LookupResult

from .core import reason_of
from .reach import Reach
from .state import IN, ONLINE, Candidate, Id, Invite, Payload, Tombstone
from .trunks import NOTHING, is_failure


class Calls(Reach):
    """Sections 6.1 to 6.4, 6.7 and 6.8."""

    stop_ahead: int | None = None
    """The code of a stop behind the invite at hand, in the same commit."""

    # -- invite

    def invite(self, event: Payload, entry: Id, *, request: bool) -> None:
        if event.get("returnOf") is not None:
            self.return_of(event, entry)
            return
        sender, to = event["peer"]["user"], event["to"]
        known = self.invites.get(f"{sender}|{event['inviteId']}|{to}")
        if known is None:
            self.new_invite(event, entry, request=request)
        elif known.is_leg:
            self.tell_peer(event, "inviteRejected", {**known.identity(), "code": 400, "reason": "invalid"})
        elif known.pending:
            self.repeat(known, event, entry)
        else:
            self.tell_peer(event, *self.outcome(known))

    def tell_peer(self, event: Payload, kind: str, payload: Payload) -> None:
        self.tell(kind, [event["peer"]["id"]], [event["peer"]["user"]], payload)

    def new_invite(self, event: Payload, entry: Id, *, request: bool) -> None:
        peer, to, room = event["peer"], event["to"], None if request else event["room"]
        started = min(entry[0], self.now)
        ring_time = min(event.get("expires") or self.settings.ring_timeout, self.settings.max_ring_timeout)
        invite = Invite(
            sender=peer["user"],
            invite_id=event["inviteId"],
            to=to,
            room=room,
            request=request,
            caller=peer["id"],
            entry=entry,
            latest=entry,
            heard=self.heard(peer["user"], to, entry),
            entered=entry if room is None else self.heard(room, to, entry),
            mediatypes=event.get("mediatypes"),
            from_details=event.get("fromDetails"),
            context=event.get("context"),
            request_id=event.get("requestId"),
            started_at=started,
            deadline=started + ring_time,
            probe=event.get("probe", False),
        )
        self.invites[invite.ref] = invite
        invite.device = peer.get("device")
        others = self.choose_others(invite, event)
        born_ended = self.why_over(invite)
        if born_ended:
            self.end(invite, *born_ended)
        else:
            self.reach(invite, event)
        if not invite.pending:
            self.device_speaks(event, entry, calls=True)
        self.replace_others(invite, others)

    def why_over(self, invite: Invite) -> tuple[str, int, str] | None:
        """The event that came before this invite, by arrival (a stop) or by entry id, and ended it."""
        callee, identity = invite.to, invite.invite_id
        stop = self.tombstones.get((callee, identity, invite.sender))
        if invite.overtaken or (stop and stop.reason == "replaced"):
            return "DECLINED_BY_CREATOR", 487, "replaced"
        stop = stop or self.tombstones.get((callee, identity, None))
        code = stop.code if stop else self.stop_ahead
        if code is not None:
            return "DECLINED_BY_CREATOR", code, "cancelled"
        room = self.rooms.get(invite.room) if invite.room is not None else None
        if room and room.closed and invite.entry < room.closed[0]:
            return "DECLINED_BY_CREATOR", 487, "room_closed"
        left = room.left.get(invite.sender) if room else None
        grace = self.settings.room_grace
        if left and invite.entry < left[0] and (not grace or left[0][0] + grace <= self.now):
            return "DECLINED_BY_CREATOR", 487, "caller_gone"
        if self.now >= invite.deadline:
            return "DECLINED_BY_TIMEOUT", 408, "timeout"
        return None

    def repeat(self, invite: Invite, event: Payload, entry: Id) -> None:
        """An update when something is new, else a retransmission; an older one changes nothing."""
        if entry > invite.latest:
            invite.latest, invite.heard = entry, self.heard(invite.sender, invite.to, entry)
            invite.device = event["peer"].get("device")
            before = (invite.mediatypes, invite.context)
            invite.mediatypes = event.get("mediatypes", invite.mediatypes)
            invite.from_details = event.get("fromDetails", invite.from_details)
            invite.context = event.get("context", invite.context)
            self.device_speaks(event, entry, calls=True)
            self.set_caller(invite, event["peer"]["id"])
            if before != (invite.mediatypes, invite.context):
                if invite.is_group:
                    self.update_legs(invite, entry)
                self.ring_again(invite)
        self.tell_progress(invite, event)

    def return_of(self, event: Payload, entry: Id) -> None:
        """A phone leg that came back: the devices of the first invite ring now."""
        invite = self.invites.get(event["returnOf"])
        identity = {"inviteId": event["inviteId"], "from": event["peer"]["user"], "to": event["to"]}
        if invite is None or not invite.pending:
            reason = invite.reason if invite else "not_found"
            self.tell_peer(event, "inviteRejected", {**identity, "code": 410, "reason": reason})
            return
        holder = invite.find(*self.hardware(event))
        has_it = holder and holder.type == "PSTN" and not holder.followed
        if not invite.parallel or not has_it or event["to"] != invite.to:
            self.tell_peer(event, "inviteRejected", {**identity, "code": 403, "reason": "forbidden"})
            return
        invite.leg = event["peer"]["id"], event["peer"]["user"]
        if invite.waiting and self.wishes.refuse(invite.to, invite.sender, self.now):
            self.end(invite, "DECLINED", 480, "unreachable")
        elif invite.waiting:
            self.entry = entry
            to_self = invite.to == invite.sender
            self.ring_at_home(invite, NOTHING if to_self else self.looked_up(registered=True))
        if invite.pending:
            self.tell_progress(invite, event)

    def ring_at_home(self, invite: Invite, found: LookupResult) -> None:
        invite.waiting = False
        devices: list[Candidate] = []
        if invite.to != invite.sender and not self.wishes.refuse(invite.to, invite.sender, self.now):
            there = self.registered_of(invite.to, invite.caller)
            devices = [each for each in there if each.peer not in invite.candidates]
            self.elsewhere(invite.to, found.peers, devices, invite.caller, self.entry)
            self.asleep(invite.to, found.push, devices)
            self.lost_lately(invite.to, invite.caller, devices)
        rung = self.choose(invite, devices)
        invite.put(*rung)
        if rung:
            self.ring(invite, rung, resumed=False)
            self.expect_ringing(invite, rung)
        elif devices:
            self.end(invite, "DECLINED", 486, "busy")

    # -- devices' answers

    def party(self, event: Payload, request: str) -> Invite | None:
        """The call that the event is about; None when its peer has been refused."""
        peer, user = event["peer"]["id"], event["peer"]["user"]
        to = event.get("to") or user
        invite = self.invites.get(f"{event['from']}|{event['inviteId']}|{to}")
        if (
            invite
            and request == "decline"
            and user == invite.sender
            and (user != to or invite.is_group or peer == invite.caller)
            and not self.rings_as_trunk(invite, event)
        ):
            return invite
        if invite and invite.is_group:
            leg = self.invites.get(f"{event['from']}|{event['inviteId']}|{user}")
            invite = leg if leg and leg.is_leg and leg.group == to else None
        if invite is None:
            self.answer(event, request, 404, "not_found")
            return None
        mine = invite.find(*self.hardware(event))
        if mine is None and invite.waiting:
            self.answer(event, request, 404, "not_found")
            return None
        is_stranger = (mine is None and user != invite.to) or invite.is_of_other_user(user, peer)
        if (user, peer) == (invite.sender, invite.caller) or is_stranger:
            self.answer(event, request, 403, "forbidden", to=invite.to)
            return None
        return invite

    def rings_as_trunk(self, invite: Invite, event: Payload) -> bool:
        """Whether the peer is a trunk that the call goes out to."""
        mine = invite.find(*self.hardware(event))
        return mine is not None and mine.type == "PSTN"

    def hardware(self, event: Payload) -> tuple[str, str, str | None]:
        """The sender: peer id, user, device."""
        peer, user = event["peer"]["id"], event["peer"]["user"]
        return peer, user, event["peer"].get("device") or self.presence.device(user, peer)

    def candidate(self, invite: Invite, event: Payload) -> Candidate:
        """The candidate that the event's peer is, or becomes by answering."""
        peer, user, device = self.hardware(event)
        found = invite.find(peer, user, device)
        if found is None:
            found = Candidate(peer, user, user, "PEER", "CALLED", device)
        elif found.peer != peer or found.type == "PUSH":
            invite.remove(found)
            found.peer, found.session, found.unheard, found.also = peer, None, False, ""
            found.type = "PEER" if found.type == "PUSH" else found.type
            if found.left_connection or found.state in {"AWAY", "GONE", "PUSHING", "PUSHED"}:
                found.state, found.end_reason = "CALLED", None
        if "device" in event["peer"]:
            for each in [one for one in invite.candidates.values() if one.user == user and one is not found]:
                if each.device == device:
                    invite.remove(each)
                    found.silenced |= each.silenced
            found.device = device
        invite.put(found)
        return found

    def moved_on(self, invite: Invite, event: Payload, entry: Id) -> Candidate | None:
        """The candidate of a connection that the event's device has had since."""
        peer, user, device = self.hardware(event)
        for each in invite.candidates.values():
            mine = each.user == user and each.device == device and each.peer != peer and each.type != "PUSH"
            there = self.presence.get(user, each.peer)
            seen = there.at if there else self.presence.lost_at(user, each.peer)
            if "device" in event["peer"] and mine and seen and seen > entry:
                return each
        return None

    def ringing(self, event: Payload, entry: Id) -> None:
        invite = self.party(event, "ringing")
        if invite is None:
            return
        if not invite.pending:
            self.answer_over(invite, event, "ringing")
            return
        known = invite.find(*self.hardware(event))
        peer = event["peer"]["id"]
        is_out = (
            known
            and (known.key == peer or known.followed)
            and known.state in {"AWAY", "GONE", "DECLINED", "REJECTED"}
        )
        if known and (is_out or known.declined == peer):
            return
        mine = self.moved_on(invite, event, entry) or self.candidate(invite, event)
        if mine.state != "CALLED":
            return
        mine.state = "RINGING"
        call = self.invites[invite.group_ref] if invite.is_leg else invite
        if not call.progressed:
            call.progressed = True
            self.tell_inviter(call, "inviteProgress", self.progress(call, 180))

    def accept(self, event: Payload) -> None:
        invite = self.party(event, "accept")
        if invite is None:
            return
        peer, user = event["peer"]["id"], event["peer"]["user"]
        device = self.hardware(event)[2]
        if not invite.pending:
            mine = invite.find(peer, user, device)
            if mine and mine.state == "ACCEPTED":
                self.answer(event, "accept", 200, "accepted", who=invite.who, to=invite.to)
            elif not self.named_late(invite, event):
                self.answer_over(invite, event, "accept")
            return
        if self.standing(invite, event) == "REJECTED":
            self.answer(event, "accept", 410, "busy_elsewhere", to=invite.to)
            return
        known = invite.find(peer, user, device)
        if known and known.confirm and not event.get("confirmed"):
            self.answer(event, "accept", 202, "confirm", to=invite.to)
            return
        if invite.is_leg:
            self.win_group(invite, peer, event.get("context"))
        mine = self.candidate(invite, event)
        mine.context = invite.answer = event.get("context")
        mine.state, mine.end_reason = "ACCEPTED", 200
        invite.who, invite.winner = invite.to, peer
        self.end(invite, "ACCEPTED", 200, "accepted")
        self.now_in_call(invite, user, peer)
        self.answer(event, "accept", 200, "accepted", who=invite.who, to=invite.to)
        if self.settings.only_one_device_with_invitations and user == invite.to:
            self.reject_elsewhere(peer, user, mine.device or device)

    def named_late(self, _invite: Invite, _event: Payload) -> bool:
        """The accept is that of a join that named nobody: see `joining.py`."""
        return False

    def reject_elsewhere(
        self, peer: str, user: str, device: str | None, but_for_room: str | None = None
    ) -> None:
        """A user who is in a call on one device is busy on all others."""
        for invite in self.pending():
            if invite.to != user or invite.waiting or invite.is_group:
                continue
            if but_for_room is not None and invite.room == but_for_room:
                continue
            others = [each for each in invite.inside() if not each.same_device(peer, device)]
            devices = [one for each in others for one in each.to_stop]
            for each in others:
                each.told_at = self.now if each.state in ONLINE else None
                each.state, each.end_reason = "REJECTED", 486
            self.cancel(invite, devices, 486, "busy_elsewhere")
            if not invite.inside():
                self.end(invite, "DECLINED", 486, "busy")

    def decline(self, event: Payload, entry: Id) -> None:
        invite = self.party(event, "decline")
        if invite is None:
            return
        peer, user = event["peer"]["id"], event["peer"]["user"]
        inviter = user != invite.to or invite.is_group or peer == invite.caller
        if user == invite.sender and inviter and not self.rings_as_trunk(invite, event):
            self.stop_one(invite, event, "decline", entry)
            return
        code = event.get("errorCode") or 603
        if not invite.pending:
            mine = invite.find(*self.hardware(event))
            if mine and mine.state == "DECLINED":
                self.answer(event, "decline", 200, reason_of(code), to=invite.to)
            else:
                self.answer_over(invite, event, "decline")
            return
        known = invite.find(*self.hardware(event))
        was_in = known is not None and known.state in IN
        mine = self.candidate(invite, event)
        mine.rejected = mine.rejected or mine.state == "REJECTED"
        mine.state, mine.end_reason, mine.context = "DECLINED", code, event.get("context")
        if mine.left_connection and mine.push:
            invite.remove(mine)
            mine.declined = peer
            mine.sleeps("PUSHED")
            invite.put(mine)
        elif code >= 600:
            invite.answer = mine.context
            self.end(invite, "DECLINED", code, "declined", mine.peer)
        elif not (was_in and is_failure(code) and self.trunk_fails(invite, mine)):
            self.end_when_left_alone(invite)
        self.answer(event, "decline", 200, reason_of(code), to=invite.to)

    # -- the inviter's events

    def stop_one(self, invite: Invite, event: Payload, request: str, entry: Id) -> None:
        more = {"sender": invite.sender, "to": invite.to}
        timed_out = invite.state == "DECLINED_BY_TIMEOUT" and (invite.ended_at or 0) >= invite.deadline
        in_time = timed_out and entry[0] < invite.deadline
        stopped = (invite.state, invite.reason) == ("DECLINED_BY_CREATOR", "cancelled")
        stopped = stopped or (invite.legs_end or ("", 0, ""))[2] == "cancelled"
        if not invite.pending and not stopped and not in_time:
            if "peer" in event:
                self.answer_over(invite, event, request, **more)
            return
        if invite.pending:
            self.end(invite, "DECLINED_BY_CREATOR", event.get("errorCode") or 487, "cancelled")
        if "peer" in event:
            self.answer(event, request, 200, "cancelled", **more)

    def stop(self, event: Payload, entry: Id) -> None:
        peer, callee, identity = event.get("peer"), event["callee"], event["inviteId"]
        sender = event.get("from") or (peer["user"] if peer else None)
        more = {"sender": sender, "to": callee}
        if peer and sender != peer["user"]:
            self.answer(event, "stopInvite", 403, "forbidden", **more)
            return
        if sender is None:
            fitting = [each for each in self.pending() if (each.to, each.invite_id) == (callee, identity)]
        else:
            found = self.invites.get(f"{sender}|{identity}|{callee}")
            fitting = [found] if found else []
        for invite in fitting:
            self.stop_one(invite, event, "stopInvite", entry)
        if not fitting:
            until = self.now + self.settings.max_ring_timeout + self.kept()
            code = event.get("errorCode") or 487
            self.tombstones[callee, identity, sender] = Tombstone(code, until)
            if peer:
                self.answer(event, "stopInvite", 200, "cancelled", **more)

    def get_invitations(self, event: Payload, entry: Id) -> None:
        self.device_speaks(event, entry)
        mine = [
            each.view()
            for each in self.ringing_for(event["peer"]["user"])
            if not each.is_group and not self.turned_away(each, event)
        ]
        self.answer(event, "getInvitations", 200, None, sender=None, to=None, invitations=mine)
        self.out[-1].payload["to"] = None

    def turned_away(self, invite: Invite, event: Payload) -> bool:
        """Whether this device must not ring for the call."""
        mine = invite.find(*self.hardware(event))
        if mine is None:
            return invite.asked or invite.to == invite.sender
        peer = event["peer"]["id"]
        out = mine.silenced or mine.followed
        if mine.left_connection:
            return out or mine.peer == peer
        return out or mine.declined == peer or mine.state in {"DECLINED", "REJECTED"}

    def standing(self, invite: Invite, event: Payload) -> str:
        """The state of this device in the call; REJECTED: its user is busy with another call elsewhere."""
        mine = invite.find(*self.hardware(event))
        peer = event["peer"]["id"]
        if mine and mine.rejected:
            return "REJECTED"
        if mine and mine.left_connection:
            return "DECLINED" if mine.peer == peer else ""
        if mine and mine.declined == peer:
            return "DECLINED"
        return mine.state if mine else ""
