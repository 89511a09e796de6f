"""Plays a history on several shards whose messages arrive at once: then they follow the model, as one shard does.

With one exception: while its legs are in other shards, the inviter of a group call gets progress more often.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from redis.asyncio import Redis

from invites.events.arguments import InviteArguments, PushArguments
from invites.events.entry import Entry
from invites.events.operation import Operation
from invites.events.protocol import Invite, decode_event
from invites.events.routing import routing_key
from invites.keys import Stream, shard_of
from invites.lookup.resolver import INVITATIONS, REQUEST, Resolver
from invites.lookup.result import LookupResult
from invites.store.answers import Outcome, Status
from invites.store.commit import SettleMode
from invites.store.scripts import Scripts
from invites.store.settings import Settings
from tests.support.candidates import candidates_in
from tests.support.shard import Shard, make_groups
from tests.support.shards import Shards

from . import state
from .author import TAKERS
from .driver import MAX_TRIES, Driver, SippoServer, contents_of, jobs_of
from .histories import History, Publish
from .model import Model
from .play import Play, matches, same
from .state import Id, Notification, Payload

TRYING = 100
Told = list[tuple[str, Notification]]


class AtOnce(Shards):
    """Several shards on one server; the messages of one reach the others before anything else happens."""

    def __init__(self, client: Redis, settings: Settings, scripts: Scripts, shards: int) -> None:
        super().__init__(lambda _: client, settings, scripts, shards)
        self.sippo = SippoServer(settings.look_up)
        for part in self.parts:
            part.resolver = Resolver(client, part.keys, part.other_shards, self.sippo)

    def part_of(self, name: str) -> Shard:
        """The shard of a name."""
        return self.parts[self.routed.home(name).shard]

    async def commit(
        self, part: Shard, operation: Operation, source: Stream = Stream.EVENTS
    ) -> tuple[Outcome, Operation]:
        """Settle an operation. Other shards' data are looked up at once, other lookups come back completed."""
        self._sync()
        for _ in range(MAX_TRIES):
            (ready,) = await part.other_shards.see_rooms([await self._see_who_is_there(part, operation)])
            (outcome,) = (await part.committer.commit([ready], SettleMode(source))).outcomes
            await self._hear(part)
            await self._carry_all()
            if outcome.status is not Status.NEEDS:
                return outcome, operation
            operation = await part.resolver.complete(ready, outcome)
            if outcome.detail not in {REQUEST, INVITATIONS}:
                return outcome, operation
        raise AssertionError("looked up again and again")

    async def fire_one(self, part: Shard) -> None:
        """Fire the timer of the shard that is due first. It waits for no event: the others would not."""
        self._sync()
        await part.committer.fire(limit=1, patience=0)
        await self._hear(part)
        await self._carry_all()

    def mix(self, carried: list[tuple[Shard, Entry]]) -> None:
        """A leg that begins because a trunk is gone must not overtake that: a worker keeps this order."""
        super().mix(carried)
        carried.sort(key=lambda each: each[1].fields[b"kind"] not in {b"trunk_registered", b"trunk_ended"})

    @staticmethod
    async def _see_who_is_there(part: Shard, operation: Operation) -> Operation:
        """What an earlier lookup found, with who is in the room by now."""
        event, answer = operation.event, operation.arguments
        if (
            not isinstance(event, Invite)
            or not isinstance(answer, InviteArguments)
            or not answer.lookup_result
        ):
            return operation
        found = LookupResult.decode(answer.lookup_result)
        there = await part.other_shards.present(event, [member.user for member in found.members or ()])
        for member in found.members or ():
            member.present = member.user in there
        return operation.having(lookup_result=found.encode())


class DriverAtOnce(Driver):
    """Several shards on one server, with the face of the driver of one.

    `told_by` has the notifications of each event and push job since the last look, by entry.
    """

    commits_together = False

    def __init__(self, client: Redis, settings: Settings, scripts: Scripts, shards: int) -> None:
        super().__init__(client, settings, scripts)
        self.shards = AtOnce(client, settings, scripts, shards)
        self.committer = self.shards.committer
        self.sippo = self.shards.sippo
        self.told_by: dict[str, Told] = {}
        self._at: dict[str, Shard] = {}

    async def start(self) -> None:
        await self.client.flushdb()
        await make_groups(self.client, *self.shards.all_keys)

    async def publish(self, kind: str, payload: Payload, entry_id: str) -> Operation:
        raw = msgspec.json.encode(payload)
        part = self.shards.part_of(routing_key(decode_event(kind, raw)))
        self._at[entry_id] = part
        return await part.publish(kind, raw, entry_id)

    async def settle(self, operations: Sequence[Operation]) -> tuple[list[Status], list[Operation]]:
        statuses, completed = [], []
        for operation in operations:
            self.shards.now = self.now
            outcome, ready = await self.shards.commit(self._at[operation.entry], operation)
            self.told_by.setdefault(operation.entry, []).extend(await self.notifications())
            statuses.append(outcome.status)
            completed.append(ready)
        return statuses, completed

    async def jobs(self) -> Told:
        return [job for part in self.shards.parts for job in await jobs_of(self.client, part.keys)]

    async def push(self, became: str, entry: str, ref: str, device: str) -> None:
        self.shards.now = self.now
        part = self.shards.part_of(ref.rpartition("|")[2])
        outcome, _ = await self.shards.commit(
            part, Operation(became, entry, PushArguments(ref, device)), Stream.PUSH
        )
        assert outcome.status is Status.DONE, outcome
        self.told_by[f"push{entry}"] = await self.notifications()

    async def fire(self) -> None:
        """Fire until nothing is due, in the order of all shards' deadlines."""
        self.shards.now = self.now
        while firsts := [
            (at, name, part)
            for part in self.shards.parts
            for name, at in await self.client.zrange(part.keys.timers, 0, 0, withscores=True)
            if at <= self.now
        ]:
            _, _, part = min(firsts, key=lambda first: first[:2])
            await self.shards.fire_one(part)

    async def notifications(self) -> Told:
        return [
            (each.id, Notification(each.type, tuple(each.peers), tuple(each.users), each.payload))
            for each in await self.shards.told()
        ]

    async def contents(self) -> dict[str, Any]:
        """The keys of all shards as if they were one's. What each of them has must be the same everywhere."""
        values, expiry = await contents_of(self.client)
        merged: dict[str, Any] = {}
        self.expiry = {}
        for name, value in values.items():
            rest = name.partition("}:")[2]
            if rest.startswith("taken:"):
                continue
            self.expiry[rest] = min(expiry[name], self.expiry.get(rest, expiry[name]))
            if rest == "timers":
                merged[rest] = list({**dict(merged.get(rest, [])), **dict(value)}.items())
            elif rest.startswith("pending:"):
                merged[rest] = sorted({*merged.get(rest, []), *value})
            elif rest.startswith("invite:") and value.get("group") not in {None, value["to"]}:
                merged[rest] = {**value, "caller": ""}  # the caller of a leg when it began, as its shard knew
            else:
                merged[rest] = value
        away = {
            f"grace|{each.get('user') or each['address']}|{peer}"
            for name, invite in merged.items()
            if name.startswith("invite:")
            for peer, raw in candidates_in(invite).items()
            if (each := json.loads(raw))["state"] == "AWAY"
        }
        if "timers" in merged:
            merged["timers"] = [
                each for each in merged["timers"] if counts(each[0], lost_callers(merged) | away)
            ]
        peers_away = {f"grace:{name.rpartition('|')[2]}" for name in away}
        return {
            name: value
            for name, value in merged.items()
            if not name.startswith("grace:") or name in peers_away
        }

    async def length(self, stream: str) -> int:
        kind = stream.removeprefix(self.keys.base)
        if kind == "relay":
            return await self._pending(Stream.RELAY)
        return sum([int(await self.client.xlen(f"{part.keys.base}{kind}")) for part in self.shards.parts])

    async def owed(self) -> int:
        return await self._pending(Stream.EVENTS)

    async def _pending(self, source: Stream) -> int:
        summaries = [
            await self.client.xpending(source.key(part.keys), source.group) for part in self.shards.parts
        ]
        return sum(int(summary["pending"]) for summary in summaries)


def lost_callers(contents: dict[str, Any]) -> set[str]:
    """The timers of the peers that are gone since they have made a call."""
    found = set()
    for name, calls in contents.items():
        user = name.removeprefix("calls:")
        for call in calls.values() if user != name else ():
            peer, *entries = call.split("|")
            mark = json.loads(contents.get(f"gone:{user}|{peer}", "{}"))
            if "lost" in mark and state.order(mark["lost"]) > state.order(entries[-1]):
                found.add(f"caller|{user}|{peer}")
    return found


def counts(timer: str, awaited: set[str]) -> bool:
    """Whether a timer may have an effect: that of a caller or a candidate only while it is lost.

    A call that is held while another shard is asked has a caller and candidates, even if it rings nobody in the end.
    """
    return not timer.startswith(("caller|", "grace|")) or timer in awaited


def comparable(told: Sequence[Notification]) -> list[Notification]:
    """The notifications of several shards, as one shard would write them.

    Whether the inviter's device is there under another peer id is known in its shard: that it is being called is told
    before.
    """
    return [
        replace(each, peers=()) if each.type == "inviteProgress" and each.payload["code"] == TRYING else each
        for each in told
        if each.type != "inviteProgress" or each.payload["to"] != "team"
    ]


class ModelAtOnce(Model):
    """An id that the shard of an inviter or a room has received from another one is not from the future there."""

    shards = 1

    def snapshot(self, now_ms: int) -> dict[str, Any]:
        away = {
            f"grace|{each.user}|{each.peer}"
            for invite in self.pending()
            for each in invite.inside()
            if each.state == "AWAY"
        }
        self.timers = {
            name: due for name, due in self.timers.items() if not name.startswith("grace|") or name in away
        }
        whole = super().snapshot(now_ms)
        callers = {
            f"caller|{each.sender}|{each.caller}"
            for each in self.pending()
            if not each.is_leg and each.heard < (self.presence.lost_at(each.sender, each.caller) or (0, 0, 0))
        }
        timers = {name: due for name, due in whole["timers"].items() if counts(name, callers | away)}
        legs = {each.ref: {"caller": None} for each in self.invites.values() if each.is_leg}
        invites = {ref: {**view, **legs.get(ref, {})} for ref, view in whole["invites"].items()}
        return {**whole, "invites": invites, "timers": timers}

    def turned_away(self, invite: state.Invite, event: Payload) -> bool:
        """Other shards are asked only for a user that has a trunk."""
        user = event["peer"]["user"]
        is_home = shard_of(user, self.shards) == shard_of(invite.to, self.shards)
        is_asked = is_home or any(each.trunk for each in self.presence.of(user))
        return not is_asked or super().turned_away(invite, event)

    def lost_there(self, invite: state.Invite, loss: state.Loss) -> int:
        is_home = shard_of(invite.sender, self.shards) == shard_of(invite.to, self.shards)
        return loss.at[0] if is_home else loss.at[0] - state.TOLERANCE

    def heard(self, name: str, to: str, entry: Id) -> Id:
        is_home = shard_of(name, self.shards) == shard_of(to, self.shards)
        return entry if is_home or entry[0] <= self.now else (self.now, 0, 0)


class PlayAtOnce(Play):
    """One history under way on several shards."""

    def __init__(self, client: Redis, scripts: Scripts, history: History, shards: int) -> None:
        super().__init__(client, scripts, history)
        self.model: ModelAtOnce = ModelAtOnce(history.settings, matches)
        self.model.shards = shards
        self.model.ask = self.ask
        self.driver: DriverAtOnce = DriverAtOnce(client, history.settings, scripts, shards)

    async def publish(self, step: Publish) -> None:
        """A late registration rings until the peer id's shard has answered that it is another user's."""
        registry = step.payload.get("registry", {})
        await super().publish(replace(step, settle=step.settle or registry.get("id") in TAKERS))

    async def fire(self) -> None:
        expected = self.model.fire(self.driver.now)
        await self.driver.fire()
        told = await self.driver.notifications()
        self.invariants.told(told)
        expected = await self.compare_jobs(expected, "timers")
        same(comparable([each for _, each in told]), comparable(expected), "timers")

    async def compare_told(self, expected: dict[str, list[Notification]]) -> None:
        told_by, self.driver.told_by = self.driver.told_by, {}
        assert {entry for entry, told in told_by.items() if told} <= set(expected)
        wanted = [each for all_wanted in expected.values() for each in all_wanted]
        await self.compare_jobs(wanted, f"jobs of {[self.events[entry] for entry in expected]}")
        for entry, all_wanted in expected.items():
            told = told_by.get(entry, [])
            self.invariants.told(told)
            self.invariants.settled(*self.events[entry])
            without_jobs = [each for each in all_wanted if not each.type.startswith("push ")]
            same(comparable([each for _, each in told]), comparable(without_jobs), f"{self.events[entry]}")
