"""What must be true of every history, independently of the model."""

from __future__ import annotations

from collections import Counter
from typing import Any

from invites.store.measures import ENDS, Ended, Measure, Took
from tests.support.candidates import candidates_in

from .state import Notification, Payload

Ref = tuple[str, str, str]


def ref_of(payload: Payload) -> Ref:
    return payload["from"], payload["inviteId"], payload["to"]


class Invariants:
    """Follows a history by its events, its notifications and the keys."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.ringing: set[tuple[Ref, str]] = set()
        self.lives: Counter[Ref] = Counter()
        """Calls that must have a record: all but probes."""
        self.records: Counter[Ref] = Counter()
        self.ends: Counter[tuple[str, str]] = Counter()
        self.winners: Counter[Ref] = Counter()
        self.missed: Counter[Ref] = Counter()
        self.taken: Counter[Ref] = Counter()
        self.unnamed = 0
        self.states: dict[str, str] = {}
        self.registries: dict[str, dict[str, Any]] = {}
        self.devices: dict[str, tuple[str, str]] = {}

    def settled(self, kind: str, payload: Payload) -> None:
        """A device that is reported gone, or has another peer id, no longer rings (and cannot be told)."""
        speaker = payload.get("peer", {})
        if kind in {"disconnected", "unregistered"}:
            self.excuse(speaker["id"])
        elif "device" in speaker:
            self.is_there(speaker["id"], (speaker["user"], speaker["device"]))
        elif kind == "registered" and "device" in payload["registry"]:
            registry = payload["registry"]
            self.is_there(registry["id"], (registry["user"], registry["device"]))

    def is_there(self, peer: str, device: tuple[str, str]) -> None:
        """The other peers of the device are itself."""
        for other in [name for name, known in self.devices.items() if known == device and name != peer]:
            self.excuse(other)
        self.devices[peer] = device

    def excuse(self, peer: str) -> None:
        self.ringing = {each for each in self.ringing if each[1] != peer}

    def compare_registries(self, registries: dict[str, dict[str, Any]]) -> None:
        """A peer that is no longer registered (lapsed, replaced) no longer rings."""
        for user, peers in self.registries.items():
            for peer in peers.keys() - registries.get(user, {}).keys():
                self.excuse(peer)
        self.registries = registries

    def told(self, notifications: list[tuple[str, Notification]]) -> None:
        for name, each in notifications:
            assert name not in self.ids, f"the id {name} was used twice"
            self.ids.add(name)
            payload = each.payload
            match each.type:
                case "invitation":
                    self.ringing |= {(ref_of(payload), peer) for peer in each.peers}
                case "invitationCancel":
                    self.ringing -= {(ref_of(payload), peer) for peer in each.peers}
                case "INVITE_COMPLETED":
                    self.records[ref_of(payload)] += 1
                    kind = (
                        "group" if payload["group"] else "request" if payload["inviteRequest"] else "direct"
                    )
                    self.ends[kind, payload["state"]] += 1
                    winners = [one for one in payload["candidates"] if one["endReason"] == 200]
                    most = len(payload["candidates"]) if payload["group"] else 1
                    is_accepted = payload["state"] == "ACCEPTED"
                    self.taken[ref_of(payload)] += is_accepted
                    assert len(winners) <= is_accepted * most, payload
                    self.unnamed -= is_accepted - bool(winners)
                    assert self.unnamed >= 0, payload
                case "callMissed":
                    assert (each.peers, each.users) == ((), (payload["to"],)), each
                    self.missed[ref_of(payload)] += 1
                case "inviteAccepted" if payload["peer"] is None:
                    self.unnamed += 1
                case "inviteAccepted":
                    call = payload["from"], payload["inviteId"]
                    won = {
                        each for each in self.ringing if each[0][:2] == call and each[1] == payload["peer"]
                    }
                    self.ringing -= won
                case "answer" if (
                    payload["request"] in {"accept", "decline", "silence"} and payload["code"] == 200
                ):
                    self.ringing -= {(ref_of(payload), peer) for peer in each.peers}
                case _:
                    pass

    def state(self, contents: dict[str, Any], expiry: dict[str, int]) -> None:
        kinds = ("invite:", "pending:", "room-invites:", "calls:", "ended:", "gone:", "legs:")
        forever = [name for name, at in expiry.items() if at < 0 and name.startswith(kinds)]
        assert not forever, f"without a time to live: {forever}"
        states = {name: value["state"] for name, value in contents.items() if name.startswith("invite:")}
        for name, state in states.items():
            before = self.states.get(name)
            call = contents[name]
            leg = call.get("group") not in {None, call["to"]}
            if before is None and not leg and "probe" not in call:
                self.lives[tuple(name.removeprefix("invite:").split("|"))] += 1  # type: ignore[index]
            assert before in {None, "PENDING", state}, f"{name} ended twice: {before}, {state}"
            won = [value for value in candidates_in(call).values() if '"ACCEPTED"' in value]
            wins = (
                state == "ACCEPTED"
                and "acceptedBy" in call
                and (not call.get("group") or (leg and call["whoAccepted"] == call["to"]))
            )
            assert len(won) == wins, f"{name} has {len(won)} winners"
        self.states = states

    def compare_measures(self, measured: list[Measure]) -> None:
        """Each record is measured once, with an end that the contract knows, and no time is negative."""
        ended = [each for each in measured if isinstance(each, Ended)]
        assert Counter((each.kind, each.state) for each in ended) == self.ends
        assert {(each.state, each.reason) for each in ended} <= set(ENDS)
        answers = Counter(each.what for each in measured if isinstance(each, Took))["answered"]
        merged = sum(each.reason == "merged" for each in ended)
        assert answers == sum(each.state == "ACCEPTED" for each in ended) - merged

    def end(self) -> None:
        """All is settled and every deadline has passed."""
        assert self.records == self.lives, f"records {self.records}, calls {self.lives}"
        for (inviter, invite_id, to), count in self.missed.items():
            # A member of a group has no record of its own, and may have been called by itself, too.
            records = {ref: many for ref, many in self.records.items() if ref[:2] == (inviter, invite_id)}
            most = records.pop((inviter, invite_id, to), 0) - self.taken[inviter, invite_id, to]
            assert count <= most + sum(records.values()), f"{to} has missed {inviter}'s {invite_id} too often"
        assert not self.ringing, f"still ringing: {self.ringing}"
        pending = [name for name, state in self.states.items() if state == "PENDING"]
        assert not pending, pending
