"""The effect on calls when a device registers, goes, comes back or stays away."""

from __future__ import annotations

from dataclasses import replace

from .presence import Change, End, Registration, other_session
from .state import ONLINE, Candidate, Id, Invite, Payload
from .trunks import Trunks

NOTICED = 60_000
"""A dead connection is noticed within this time (ms)."""


def registration_of(registry: Payload, entry: Id) -> Registration:
    """What the event says."""
    return Registration(
        at=entry,
        peer=registry["id"],
        user=registry["user"],
        type=registry.get("type", "WEB"),
        device=registry.get("device"),
        session=registry.get("session"),
        expires=registry.get("expires"),
        trunk=registry.get("trunk", False),
        match=registry.get("match", "*"),
        confirm=registry.get("confirm", False),
    )


class Devices(Trunks):
    """Sections 6.5 and 6.6."""

    def registered(self, registry: Payload, entry: Id) -> None:
        registration = registration_of(registry, entry)
        held = self.other_holder(registration)
        if held and held[1] > entry:
            self.presence.end(registration.user, registration.peer, End(held[1]), self.now)
        change, replaced = self.presence.register(registration, self.now)
        for each in replaced:
            self.drop_timers(registration.user, each.peer)
        dropped = None if replaced else self.beyond_limit(registration, change)
        if dropped is registration:
            change = replace(self.crowd_out(registration), before=change.before)
        if change.after is registration:
            if not registration.trunk:
                self.presence.holders.claim(registration.peer, registration.user, entry)
            if held:
                self.taken(held[0], registration.peer, entry)
            self.here(registration, change)
            if dropped:
                self.gone_for_room(dropped, entry)
            return
        if change.before:
            # Overtaken by the end of the very session that it begins, which had counted as another one's.
            self.went(registration.user, change)
        for each in replaced:
            self.went(registration.user, each)
        self.overtaken(registration)

    def overtaken(self, registration: Registration) -> None:
        """Its device has since connected under another peer id, which takes over the calls that the peer has made."""
        since = self.whoever_is(registration.user, registration.peer)
        if since is None or since.at < registration.at:
            return
        self.device_moved(since.user, since.peer, since.device)
        for invite in self.pending():
            mine = (invite.sender, invite.caller) == (registration.user, registration.peer)
            if mine and not invite.is_leg and invite.heard < since.at:
                self.set_caller(invite, invite.caller)

    def beyond_limit(self, there: Registration, change: Change) -> Registration | None:
        """The registration beyond the limit: the one that has not been renewed for the longest time."""
        limit, before = self.settings.devices_per_user, change.before
        is_new = change.after is there and not there.trunk and (before is None or before.trunk)
        others = [each for each in self.presence.of(there.user) if not each.trunk and each.peer != there.peer]
        if not is_new or not limit or len(others) < limit:
            return None
        oldest = min(others, key=lambda each: (each.at, each.peer))
        return there if there.at < oldest.at else oldest

    def crowd_out(self, there: Registration) -> Change:
        """The registration comes after others have filled the limit."""
        latest = max(
            each.at for each in self.presence.of(there.user) if each.peer != there.peer and not each.trunk
        )
        return self.presence.end(there.user, there.peer, End(latest), self.now)

    def gone_for_room(self, there: Registration, entry: Id) -> None:
        """The device has made room for another one. What rings on it stops, and it has grace only as a caller."""
        self.presence.end(there.user, there.peer, End(entry), self.now)
        self.cut_off(there.user, there.peer)
        for invite in self.pending():
            if (invite.sender, invite.caller) == (there.user, there.peer) and not invite.is_leg:
                self.check_caller(invite, invite.heard)

    def other_holder(self, registration: Registration) -> tuple[str, Id] | None:
        """Another user that has the peer id, and since when. Trunks of two users may have one."""
        if registration.trunk:
            return None
        return self.presence.holders.since(registration.peer, registration.user)

    def here(self, there: Registration, change: Change) -> None:
        """The peer's newest registration is this one."""
        self.drop_timers(there.user, there.peer)
        self.away.pop((there.user, there.peer), None)
        if there.expires is not None:
            self.timers[f"lapse|{there.user}|{there.peer}"] = min(there.at[0], self.now) + there.expires
        if change.renewed:
            return
        self.hear_missed(there.user, there.peer, there.device)
        self.device_moved(there.user, there.peer, there.device)
        for invite in self.pending():
            if invite.sender == there.user and not invite.is_leg:
                self.inviter_here(invite, there)
            if invite.pending and not invite.is_group:
                self.callee_here(invite, there, change.lost)
        if change.fresh:
            for invite in self.invites.values():
                self.cancel_again(invite, there, change.seen)

    def inviter_here(self, invite: Invite, there: Registration) -> None:
        known = self.presence.last_device(invite.sender, invite.caller)
        is_gone = self.presence.lost_at(invite.sender, invite.caller) is not None
        may_move = is_gone or invite.caller == there.peer or invite.heard < there.at
        if there.device is not None and known == there.device and may_move:
            self.timers.pop(f"caller|{there.user}|{invite.caller}", None)
            if invite.caller != there.peer:
                invite.heard = max(invite.heard, there.at)
            self.set_caller(invite, there.peer)

    def callee_here(self, invite: Invite, there: Registration, lost: Id | None) -> None:
        mine = invite.find(there.peer, there.user, there.device)
        if invite.is_of_other_user(there.user, there.peer):
            return
        if mine is None:
            other = there.user != invite.to or invite.to == invite.sender or there.peer == invite.caller
            if other or there.trunk or invite.waiting or invite.asked or self.now >= invite.deadline:
                return
            mine = Candidate(
                there.peer, there.user, there.user, "PEER", "CALLED", there.device, there.session
            )
            invite.candidates[there.peer] = mine
            self.ring(invite, [mine], resumed=False)
            return
        if mine.declined == there.peer and not lost and there.session is None:
            return
        self.replace_connections(invite, mine, there)
        fresh = (
            mine.peer != there.peer
            or mine.state in {"AWAY", "GONE", "PUSHING", "PUSHED"}
            or other_session(mine, there.session)
            or (lost is not None and lost > invite.entry)
        )
        may_ring = mine.state not in {"DECLINED", "REJECTED"} or (mine.left_connection and not mine.followed)
        mine.peer, mine.device = there.peer, there.device or mine.device
        mine.session, mine.also = there.session, ""
        invite.candidates[mine.peer] = mine
        if mine.followed and mine.state == "GONE":
            if not mine.told:
                mine.told = True
                self.cancel(invite, [mine], 480, "unreachable")
        elif fresh and may_ring:
            mine.state, mine.end_reason, mine.declined = "CALLED", None, ""
            unheard, mine.unheard = mine.unheard, False
            mine.type = "PSTN" if mine.type == "PSTN" else "PEER"
            if self.now < invite.deadline:
                self.ring(invite, [mine], resumed=not unheard)
        self.end_when_left_alone(invite)

    def replace_connections(self, invite: Invite, mine: Candidate, there: Registration) -> None:
        """The device has only this connection; the one that rang before stops."""
        others = [each for each in invite.candidates.values() if each.user == mine.user and each is not mine]
        replaced = []
        for each in [mine, *others]:
            if each is mine or each.same_device(there.peer, there.device):
                self.timers.pop(f"grace|{there.user}|{each.peer}", None)
                invite.remove(each)
                mine.silenced |= each.silenced and there.device is not None and each.device == there.device
                if each.state in ONLINE and each.peer != there.peer:
                    replaced.append(replace(each))
        self.cancel(invite, replaced, 480, "taken_over")

    def cancel_again(self, invite: Invite, there: Registration, lost: Id | None) -> None:
        """A device that was away when its ringing ended must not go on, once it is back.

        `lost`: since when this peer had been gone, if it was seen to go. A device that goes long after the end knows
        it.
        """
        mine = invite.find(there.peer, there.user, there.device)
        if mine is None or mine.told:
            return
        if mine.unheard and (mine.type != "PUSH" or mine.state == "GONE"):
            return
        if mine.state not in {"CANCELLED", "GONE", "REJECTED"}:
            return
        winner = invite.candidates.get(invite.winner or "")
        if winner and there.device is not None and there.device == winner.device:
            return
        mine.told = True
        if mine.peer != there.peer:
            lost = self.presence.seen_to_end(there.user, mine.peer)
        since = mine.told_at
        if mine.state == "CANCELLED" and not mine.missed and mine.type != "PUSH":
            since = invite.ended_at
        if since is not None and lost is not None and lost[0] > since + NOTICED:
            return
        again = [Candidate(there.peer, mine.user, mine.address, "PEER", mine.state)]
        if mine.state == "REJECTED":
            self.cancel(invite, again, 486, "busy_elsewhere")
        else:
            self.cancel_at_end(invite, again)

    def drop_timers(self, user: str, peer: str) -> None:
        for name in ("grace", "caller", "lapse"):
            self.timers.pop(f"{name}|{user}|{peer}", None)

    # -- gone

    def gone(self, event: Payload, entry: Id) -> None:
        """`unregistered` and `disconnected`."""
        peer, user = event["peer"]["id"], event["peer"]["user"]
        change = self.presence.end(user, peer, End(entry, event.get("session")), self.now)
        self.presence.say(user, peer, event["peer"].get("device"), self.now)
        if self.presence.lost_at(user, peer) == entry or change.before:
            self.went(user, change)

    def taken(self, user: str, peer: str, at: Id) -> None:
        """Another user has the peer id: no grace, and its ringing stops."""
        there = self.presence.get(user, peer)
        if there is None or there.trunk:
            return
        self.presence.end(user, peer, End(at), self.now)
        self.cut_off(user, peer)
        for invite in self.pending():
            is_caller = (invite.sender, invite.caller) == (user, peer) and not invite.is_leg
            if invite.pending and is_caller and invite.heard < at:
                self.caller_lost(invite, at, self.now)

    def cut_off(self, user: str, peer: str) -> None:
        """The registration is over, though the connection may be alive: what rings on it stops."""
        self.peer_lost(user, peer)
        self.timers.pop(f"lapse|{user}|{peer}", None)
        for invite in self.pending():
            mine = invite.candidates.get(peer)
            if mine and mine.user == user and mine.state in ONLINE:
                self.cancel(invite, [mine], 480, "unreachable")
                self.out_of_reach(invite, mine)

    def out_of_reach(self, invite: Invite, mine: Candidate) -> None:
        """The device is lost: a push wakes it, or it is out."""
        if mine.push and self.now < invite.deadline:
            invite.remove(mine)
            mine.sleeps("PUSHING")
            invite.put(mine)
            self.ring(invite, [mine], resumed=True)
            return
        mine.state, mine.end_reason = "GONE", 480
        self.end_when_left_alone(invite)

    def went(self, user: str, change: Change) -> None:
        """Starts the graces of a peer that is no longer connected."""
        if change.after is not None or self.presence.lost_at(user, change.peer) is None:
            return
        self.timers.pop(f"lapse|{user}|{change.peer}", None)
        if change.before and not change.before.trunk and self.settings.remove_after:
            self.away[user, change.peer] = self.now + self.settings.remove_after, change.before
        self.peer_lost(user, change.peer)
        for invite in self.pending():
            mine = invite.candidates.get(change.peer)
            if mine and mine.user == user and mine.state in ONLINE and not self.trunk_fails(invite, mine):
                mine.state = "AWAY"
                self.timers[f"grace|{user}|{change.peer}"] = self.now + self.settings.remove_after
            if (invite.sender, invite.caller) == (user, change.peer) and not invite.is_leg:
                self.check_caller(invite, invite.heard)
        if not self.settings.remove_after:
            self.grace_over(user, change.peer)

    def grace_over(self, user: str, peer: str) -> None:
        """The device did not come back in time."""
        self.timers.pop(f"grace|{user}|{peer}", None)
        for invite in self.pending():
            mine = invite.candidates.get(peer)
            if mine and mine.user == user and mine.state == "AWAY":
                self.out_of_reach(invite, mine)

    def caller_over(self, user: str, peer: str, due: int) -> None:
        """The inviter's device stayed away: nobody waits for an answer any more."""
        lost = self.presence.lost_at(user, peer) or (due - self.settings.caller_grace, 0, 0)
        for invite in self.pending():
            mine = (invite.sender, invite.caller) == (user, peer) and not invite.is_leg
            known = self.loss_of(invite)
            if mine and invite.pending and known and known.till > due:
                self.wait_for_caller(known)
            elif mine and invite.pending and invite.heard < (known.at if known else lost):
                self.end(invite, "DECLINED_BY_CREATOR", 487, "caller_gone")

    def lapsed(self, user: str, peer: str, due: int) -> None:
        """A registration that was not repeated in time ends, and invites that ring the device keep ringing."""
        there = self.presence.get(user, peer)
        if there is None:
            return
        ms, sequence, _ = there.at
        self.presence.end(user, peer, End((ms, sequence, 1), None, (due, 0, 0), seen=False), self.now)
        self.peer_lost(user, peer)
        for invite in self.pending():
            mine = invite.candidates.get(peer)
            if mine and mine.user == user and mine.state in ONLINE and not self.trunk_fails(invite, mine):
                self.push_as_well(invite, mine)
            if (invite.sender, invite.caller) == (user, peer) and not invite.is_leg:
                self.check_caller(invite, invite.heard)

    def wake(self, ref: str) -> None:
        """Wake the devices that have not sent `ringing`."""
        invite = self.invites.get(ref)
        for mine in invite.inside() if invite and invite.pending else ():
            if invite and mine.state == "CALLED":
                self.push_as_well(invite, mine)

    def push_as_well(self, invite: Invite, mine: Candidate) -> None:
        """Wake the device of a connection that may be dead."""
        if mine.push and not mine.also and not mine.silenced and self.now < invite.deadline:
            mine.also = "PUSHING"
            self.ring(invite, [mine.phone()], resumed=True)
