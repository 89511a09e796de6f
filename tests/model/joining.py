"""A user who joins the room of invites that ring has answered them."""

from __future__ import annotations

from .calls import Calls
from .state import Invite, Payload


class Joining(Calls):
    """`joinAccepts`."""

    def is_in(self, room_id: str, user: str, peer: Payload | None) -> None:
        """The latest join of a user who is in the room."""
        room = self.rooms[room_id]
        if peer is not None:
            room.peers[user] = peer
        if not self.settings.join_accepts:
            return
        for invite in self.pending():
            mine = (invite.to, invite.room) == (user, room_id) and not invite.is_group
            if mine and invite.pending and not self.is_inviter(invite, peer):
                self.accept_by_join(invite, peer)

    @staticmethod
    def is_inviter(invite: Invite, peer: Payload | None) -> bool:
        """In a call to oneself the inviting peer answers nothing, and a join without a peer could be by that one."""
        return invite.sender == invite.to and (peer is None or peer["id"] == invite.caller)

    def accept_by_join(self, invite: Invite, peer: Payload | None) -> None:
        if peer and invite.is_of_other_user(invite.to, peer["id"]):
            peer = None
        invite.waiting = False
        if invite.is_leg:
            self.win_group(invite, peer["id"] if peer else None, None)
        invite.who = invite.to
        if peer is None:
            self.end(invite, "ACCEPTED", 200, "accepted")
            self.now_in_call(invite, None, "")
            return
        mine = self.candidate(invite, {"peer": peer})
        mine.state, mine.end_reason, mine.context = "ACCEPTED", 200, None
        invite.winner = mine.peer
        self.end(invite, "ACCEPTED", 200, "accepted")
        self.now_in_call(invite, None, "")
        if self.settings.only_one_device_with_invitations:
            self.reject_elsewhere(mine.peer, invite.to, mine.device, invite.room)

    def named_late(self, invite: Invite, event: Payload) -> bool:
        """The first accept of the callee after a join that named nobody."""
        is_open = invite.state == "ACCEPTED" and invite.winner is None and invite.who == invite.to
        if not is_open or event["peer"]["user"] != invite.to:
            return False
        mine = self.candidate(invite, event)
        mine.state, mine.end_reason = "ACCEPTED", 200
        mine.context = invite.answer = event.get("context")
        invite.winner = mine.peer
        self.answer(event, "accept", 200, "accepted", who=invite.who, to=invite.to)
        if invite.is_leg:
            call = self.invites[invite.group_ref]
            call.legs[invite.to].peer = mine.peer
            if call.who == invite.to:
                call.winner = mine.peer
        return True

    # -- who is in the room when the call begins

    def joined_before(self, invite: Invite) -> tuple[bool, Payload | None]:
        """Whether the callee is in the room, which answers the invite, and as whom."""
        room = self.rooms.get(invite.room) if invite.room is not None else None
        since = room.members.get(invite.to) if room else None
        if room is None or since is None or not self.settings.join_accepts:
            return False, None
        peer = room.peers.get(invite.to)
        if self.is_inviter(invite, peer):
            return False, None
        began = self.entry if invite.is_leg else invite.entry
        is_there = peer is not None and self.is_there(invite.to, peer)
        return since > began or (is_there and not invite.is_leg), peer

    def is_there(self, user: str, peer: Payload) -> bool:
        """Whether the device of a join is registered, under any peer id."""
        device = peer.get("device")
        same = device and any(each.device == device for each in self.presence.of(user))
        there = self.presence.get(user, peer["id"]) if device else self.whoever_is(user, peer["id"])
        return bool(same or there)

    def reach(self, invite: Invite, event: Payload) -> None:
        is_in, peer = self.joined_before(invite)
        if is_in:
            self.accept_at_once(invite, peer)
        else:
            super().reach(invite, event)

    def accept_at_once(self, invite: Invite, peer: Payload | None) -> None:
        """Nothing rings, and no other device has to stop."""
        invite.who = invite.to
        if peer is not None:
            mine = self.candidate(invite, {"peer": peer})
            mine.state, mine.end_reason = "ACCEPTED", 200
            invite.winner = mine.peer
        self.end(invite, "ACCEPTED", 200, "accepted")
        self.now_in_call(invite, None, "")

    def has_joined(self, leg: Invite) -> bool:
        return self.joined_before(leg)[0]

    def accept_as_joined(self, leg: Invite) -> None:
        self.accept_by_join(leg, self.joined_before(leg)[1])
