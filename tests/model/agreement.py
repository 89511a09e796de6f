"""What several shards must agree on once all messages between them have arrived."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from invites.keys import shard_of
from tests.support.candidates import candidates_in

from .state import IN, order

Fields = dict[str, str]
Contents = dict[str, Any]


class Agreement:
    """The keys of all shards at one moment (`now`, ms)."""

    def __init__(self, shards: dict[int, Contents], now: int) -> None:
        self.shards = shards
        self.now = now
        self.invites: dict[str, Fields] = self.every("invite:")
        self.candidates = {ref: candidates_in(fields) for ref, fields in self.invites.items()}
        self.pending = {ref: each for ref, each in self.invites.items() if each["state"] == "PENDING"}
        self.legs = {ref for ref, each in self.pending.items() if each.get("group") not in {None, each["to"]}}
        self.timers = {
            (shard, name) for shard, contents in shards.items() for name, _ in contents.get("timers", [])
        }

    def every(self, kind: str) -> dict[str, Any]:
        """All keys of a kind, whatever their shard."""
        return {
            name.removeprefix(kind): value
            for contents in self.shards.values()
            for name, value in contents.items()
            if name.startswith(kind)
        }

    def home(self, name: str) -> int:
        return shard_of(name, len(self.shards))

    def check(self) -> None:
        self.check_trunks()
        self.check_callers()
        self.check_rooms()
        self.check_indexes()
        for ref, each in self.pending.items():
            if each.get("group") == each["to"]:
                self.check_group(ref, each)
            else:
                self.check_devices(ref, each)

    def check_trunks(self) -> None:
        for shard, contents in self.shards.items():
            assert contents.get("trunks") == self.shards[0].get("trunks"), f"trunks of shard {shard}"

    def check_callers(self) -> None:
        """Each inviter's shard knows which peer is notified of which call, and ends those of a peer that is gone."""
        calls = {ref: value for there in self.every("calls:").values() for ref, value in there.items()}
        wanted = {ref: each["caller"] for ref, each in self.pending.items() if ref not in self.legs}
        known = {ref: value.partition("|")[0] for ref, value in calls.items()}
        assert known == wanted, f"inviters' shards know {known}, there are {wanted}"
        gone = self.every("gone:")
        for ref, caller in known.items():
            user, said = ref.partition("|")[0], calls[ref].rpartition("|")[2]
            lost = json.loads(gone.get(f"{user}|{caller}", "{}")).get("lost")
            if lost and order(lost) > order(said):
                timer = self.home(user), f"caller|{user}|{caller}"
                assert timer in self.timers, f"{ref}: its caller is gone since {lost}"

    def check_rooms(self) -> None:
        """Each room's shard knows which calls lead there; none that is older than its end, or its inviter's."""
        wanted: defaultdict[str, set[str]] = defaultdict(set)
        closed, left = self.every("closed:"), self.every("left:")
        for ref, each in self.pending.items():
            room = each.get("room")
            if room is None or ref in self.legs:
                continue
            wanted[room].add(ref)
            grace = self.home(room), f"left|{room}|{each['from']}"
            for mark in (closed.get(room), grace not in self.timers and left.get(f"{room}|{each['from']}")):
                assert not mark or order(mark) < order(each["entry"]), f"{ref} rings, room over at {mark}"
        known = {room: {ref for ref, _ in refs} for room, refs in self.every("room-invites:").items()}
        assert known == wanted, f"rooms' shards know {known}, there are {dict(wanted)}"

    def check_indexes(self) -> None:
        """A ringing invite is in the index of its callee, and has a deadline."""
        rings = {(self.home(each["to"]), f"ring|{ref}") for ref, each in self.pending.items()}
        assert {each for each in self.timers if each[1].startswith("ring|")} == rings
        for ref, each in self.pending.items():
            index = self.shards[self.home(each["to"])].get(f"pending:{each['to']}", [])
            assert ref in index or each.get("parallel") in {"out", "failed"}, f"{ref} is not in {index}"
        for shard, contents in self.shards.items():
            for name, refs in contents.items():
                if name.startswith("pending:"):
                    assert set(refs) <= set(self.pending), f"{name} in shard {shard} has {refs}"

    def check_devices(self, ref: str, invite: Fields) -> None:
        """A connected device rings, one that is away may come back until a set moment, and a leg has its call."""
        there = {name: json.loads(raw) for name, raw in self.candidates.get(ref, {}).items()}
        for name, one in there.items():
            timer = self.home(invite["to"]), f"grace|{one.get('user', one['address'])}|{name}"
            assert one["state"] != "AWAY" or timer in self.timers, f"{name} of {ref} is away for ever"
        if ref in self.legs:
            call = f"{invite['from']}|{invite['inviteId']}|{invite['group']}"
            assert call in self.pending, f"the leg {ref} has outlived its call"
        if invite["from"] == invite["to"] or "alone" in invite or invite.get("parallel") in {"out", "failed"}:
            return
        known = {invite["caller"], *there, *(one.get("device") for one in there.values())}
        if int(invite["expiresAt"]) > self.now:
            for name, raw in self.every("registry:").get(invite["to"], {}).items():
                assert known & {name, json.loads(raw).get("device", name)}, f"{name} does not ring for {ref}"

    def check_group(self, ref: str, call: Fields) -> None:
        """A group's shard knows which legs ring, and the states of their devices."""
        known = {user: raw for user, raw in self.every("legs:").get(ref, {}).items() if "|" not in user}
        states = {user: json.loads(raw)["state"] for user, raw in known.items()}
        legs = {user: f"{ref.rpartition('|')[0]}|{user}" for user in states}
        rings = {user for user, leg in legs.items() if leg in self.legs}
        opened = {user for user, state in states.items() if state == "RINGING"}
        assert opened == rings, f"{ref} knows that {opened} ring, {rings} do"
        undecided = sum(state in {"WAITING", "RINGING"} for state in states.values())
        assert int(call["open"]) == undecided, f"{call}, {states}"
        there = [json.loads(raw) for user in rings for raw in self.candidates.get(legs[user], {}).values()]
        inside = [one for one in there if one["state"] in IN]
        ringing = [one for one in inside if one["state"] == "RINGING"]
        pushed = [
            one
            for one in inside
            if (one["state"] == "PUSHED" and "pushedAt" in one)
            or (one.get("also") == "PUSHED" and one["state"] != "RINGING")
        ]
        counted = [int(call.get(name, 0)) for name in ("devices", "ringingDevices", "pushedDevices")]
        wanted = [len(inside), len(ringing), len(pushed)]
        assert counted == wanted, f"{ref} has counted {counted}, there are {wanted}"
        if call.get("strategy") != "sequential":
            assert call.get("begun") == call["members"], f"{ref}: {call.get('begun')} legs have begun"
