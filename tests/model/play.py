"""Plays one history on the model and on a server, and compares after each step."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import re2
from redis.asyncio import Redis

from invites.events.arguments import InviteArguments, InviteReturnArguments
from invites.events.operation import Operation
from invites.lookup.result import LookupResult
from invites.store.answers import Status
from invites.store.scripts import Scripts
from tests.support.candidates import candidates_in

from .core import order_kept
from .driver import Driver
from .histories import Advance, AdvanceToDue, Fire, History, Knows, Publish, Pushed, Repeat, Settle, Step
from .invariants import Invariants
from .model import Model
from .state import DAY, HOUR, Notification, Payload
from .stops_ahead import stop_ahead

LASTING = ("registry:", "holder:", "room-m", "user-state:")
"""Keys without a time to live."""


def matches(match: str, number: str) -> bool:
    return match == "*" or re2.fullmatch(match, number) is not None


class Play:
    """One history under way. `held`: delivered to workers and not settled, as are the push `jobs`."""

    def __init__(self, client: Redis, scripts: Scripts, history: History) -> None:
        self.history = history
        self.model = Model(history.settings, matches)
        self.driver = Driver(client, history.settings, scripts)
        self.model.ask = self.ask
        self.invariants = Invariants()
        self.events: dict[str, tuple[str, Payload]] = {}
        self.held: list[Operation] = []
        self.jobs: list[tuple[str, Notification]] = []
        self.settled: list[Operation] = []
        self.last_ms = 0

    def ask(self, callee: str) -> LookupResult:
        """The answer of sippo-server about a user at this moment."""
        return self.driver.sippo.answer(callee)

    async def run(self) -> None:
        await self.driver.start()
        for step in self.history.steps:
            await self.step(step)
            await self.compare_state()
        await self.finish()
        self.invariants.compare_measures(self.driver.committer.measured)

    async def step(self, step: Step) -> None:
        match step:
            case Publish():
                await self.publish(step)
            case Settle() if self.held:
                batch = [self.held[index] for index in {pick % len(self.held): 0 for pick in step.picks}]
                await self.settle(batch, look_up_only=step.look_up_only, doubled=step.doubled)
            case Repeat() if self.settled:
                await self.repeat(self.settled[step.pick % len(self.settled)])
            case Advance():
                if step.ms >= HOUR:
                    # No entry waits that long: other workers take up a worker's entries within seconds.
                    await self.settle_all()
                await self.driver.advance(self.driver.now + step.ms)
            case AdvanceToDue():
                due = min(self.model.timers.values(), default=self.driver.now)
                await self.driver.advance(max(self.driver.now, due + step.offset))
            case Fire():
                await self.fire()
            case Knows():
                self.driver.sippo.known[step.callee] = step.found
            case Pushed() if self.jobs:
                await self.push(step.pick % len(self.jobs), step.became)

    async def publish(self, step: Publish) -> None:
        self.last_ms = max(self.last_ms, self.driver.now + step.ahead)
        entry = f"{self.last_ms}-{len(self.events) + 1}"
        self.events[entry] = step.kind, step.payload
        operation = await self.driver.publish(step.kind, step.payload, entry)
        assert operation.event is not None, operation
        self.held.append(operation)
        if step.settle:
            await self.settle([operation])

    async def settle(
        self, batch: list[Operation], *, look_up_only: bool = False, doubled: bool = False
    ) -> None:
        """Commit a batch; operations that need a lookup are committed after it, or stay held with the result."""
        for _ in range(20):
            batch = batch * 2 if doubled else batch
            statuses, completed = await self.driver.settle(batch)
            published = [self.events[operation.entry] for operation in batch]
            expected: dict[str, list[Notification]] = {}
            unknown: dict[str, Operation] = {}
            for at, (old, status, new) in enumerate(zip(batch, statuses, completed, strict=True)):
                if old in self.held:
                    self.held.remove(old)
                if status is Status.NEEDS:
                    unknown[old.entry] = new
                    continue
                assert status is (Status.STALE if old.entry in expected else Status.DONE), (old, status)
                if status is Status.DONE:
                    kind, payload = published[at]
                    if self.driver.commits_together:
                        self.model.stop_ahead = stop_ahead(published[at], published[at + 1 :])
                    expected[old.entry] = self.model.apply(
                        kind, payload, old.entry, self.driver.now, found_for(old)
                    )
                    self.settled.append(old)
            await self.compare_told(expected)
            batch = [operation for entry, operation in unknown.items() if entry not in expected]
            self.held += batch
            if not batch or look_up_only:
                return
        raise AssertionError("looked up again and again")

    async def settle_all(self) -> None:
        while self.held:
            await self.settle([self.held[0]])
            await self.compare_state()

    async def repeat(self, operation: Operation) -> None:
        statuses, completed = await self.driver.settle([operation])
        if statuses == [Status.NEEDS]:
            # It finds another state now than when it was settled.
            statuses, _ = await self.driver.settle(completed)
        assert statuses == [Status.STALE]
        await self.compare_told({})

    async def fire(self) -> None:
        unsettled = [int(operation.entry.partition("-")[0]) for operation in self.held]
        expected = self.model.fire(self.driver.now, unsettled)
        await self.driver.fire()
        told = await self.driver.notifications()
        self.invariants.told(told)
        expected = await self.compare_jobs(expected, "timers")
        same([each for _, each in told], expected, "timers")

    async def push(self, pick: int, became: str) -> None:
        """Settle a push job; a cancel has no consequences."""
        entry, job = self.jobs.pop(pick)
        ref, (device,) = job.payload["ref"], job.peers
        invite = self.model.invites.get(ref)
        rings_leg = invite is not None and invite.pending and invite.is_leg
        if job.type == "push invitationCancel" or (became == "pushUnsure" and rings_leg):
            # A job is unsure only once its call, or its time, is over; then nobody is notified.
            became = "pushDropped"
        self.events[f"push{entry}"] = became, {"ref": ref, "device": device}
        await self.driver.push(became, entry, ref, device)
        expected = self.model.apply(became, {"ref": ref, "device": device}, entry, self.driver.now)
        await self.compare_told({f"push{entry}": expected})

    async def compare_jobs(self, expected: list[Notification], what: str) -> list[Notification]:
        """The new push jobs must be the model's; returns the other notifications."""
        new = await self.driver.jobs()
        self.jobs += new
        same([job for _, job in new], [each for each in expected if each.type.startswith("push ")], what)
        return [each for each in expected if not each.type.startswith("push ")]

    async def compare_told(self, expected: dict[str, list[Notification]]) -> None:
        """Each notification belongs to the event whose entry id its own id carries.

        Their order is not compared: one event's notifications go to different recipients.
        """
        by_entry: dict[str, list[tuple[str, Notification]]] = {}
        for name, each in await self.driver.notifications():
            shard, ms, sequence, _ = name.split("-")
            assert shard == "0", name
            by_entry.setdefault(f"{ms}-{sequence}", []).append((name, each))
        assert set(by_entry) <= set(expected), "told for an event that was not committed"
        events = [self.events[entry] for entry in expected]
        await self.compare_jobs(
            [each for wanted in expected.values() for each in wanted], f"jobs of {events}"
        )
        for entry, all_wanted in expected.items():
            wanted = [each for each in all_wanted if not each.type.startswith("push ")]
            told = by_entry.get(entry, [])
            self.invariants.told(told)
            self.invariants.settled(*self.events[entry])
            same([each for _, each in told], wanted, f"{self.events[entry]}")

    async def compare_state(self) -> None:
        contents = await self.driver.contents()
        real, model = arranged(contents), self.model.snapshot(self.driver.now)
        for timers in (real["timers"], model["timers"]):
            # A while after a loss its mark is gone: if its timer has not fired by then, a return leaves that.
            settings = self.history.settings
            lost = self.driver.now - order_kept(settings) + max(settings.caller_grace, settings.remove_after)
            old = [name for name, due in timers.items() if due <= lost]
            for name in old:
                if name.startswith(("caller|", "grace|")):
                    del timers[name]
        for part, wanted in model.items():
            assert real[part] == wanted, f"{part}:{differing(real[part], wanted)}"
        self.compare_expiry(contents)
        self.invariants.state(contents, self.driver.expiry)
        self.invariants.compare_registries(real["registry"])

    def compare_expiry(self, contents: dict[str, Any]) -> None:
        """Calls are kept for exactly as long as promised, and a lost device's grace can be read."""
        for ref, invite in self.model.invites.items():
            kept = invite.deadline + DAY
            if invite.ended_at is not None:
                kept = self.model.over_until(invite, invite.ended_at)
            names = ("invite", "legs")
            found = {name: self.driver.expiry.get(f"{name}:{ref}", kept) for name in names}
            assert found == dict.fromkeys(found, kept), f"{ref} is kept until {found}, not {kept}"
        graces = {
            f"grace:{name.rpartition('|')[2]}": due
            for name, due in self.model.timers.items()
            if name.startswith("grace|") and due > self.driver.now
        }
        found = {name: self.driver.expiry[name] for name in contents if name.startswith("grace:")}
        assert found == graces, f"graces:\n  scripts {found}\n  model   {graces}"

    async def finish(self) -> None:
        """Everything is settled and every deadline passes; then nothing may be left over."""
        await self.settle_all()
        while self.model.timers or self.jobs:
            while self.jobs:
                await self.push(0, "pushTaken")
                await self.compare_state()
            if self.model.timers:
                await self.driver.advance(max(self.driver.now, min(self.model.timers.values())))
                await self.fire()
                await self.compare_state()
        assert await self.driver.owed() == 0
        assert await self.driver.length(self.driver.keys.relay) == 0
        assert await self.driver.length(self.driver.keys.dead) == 0
        self.invariants.end()
        await self.driver.advance(self.model.order_until() + self.model.kept())
        await self.fire()
        left = [name for name in await self.driver.contents() if not name.startswith(LASTING)]
        assert set(left) <= {"trunks", "trunks-version", "layout"}, left


def found_for(operation: Operation) -> LookupResult | None:
    """What a lookup has found for an invite."""
    arguments = operation.arguments
    if isinstance(arguments, InviteArguments | InviteReturnArguments) and arguments.lookup_result:
        return LookupResult.decode(arguments.lookup_result)
    return None


def same(told: list[Notification], wanted: list[Notification], what: str) -> None:
    """Fail with only the difference."""
    left = Counter(each.canonical() for each in told)
    right = Counter(each.canonical() for each in wanted)
    missing, extra = "\n  ".join(right - left), "\n  ".join(left - right)
    assert left == right, f"{what}\n model only:\n  {missing}\n scripts only:\n  {extra}"


def differing(real: dict[str, Any], wanted: dict[str, Any]) -> str:
    """The entries that are not the same, and of those the fields that are not."""
    lines = []
    for name in sorted(real.keys() | wanted.keys()):
        left, right = real.get(name), wanted.get(name)
        if isinstance(left, dict) and isinstance(right, dict):
            lines += [f"{name}: {inner}" for inner in differing(left, right).splitlines()[1:]]
        elif left != right:
            lines.append(f"{name}: scripts {left}, model {right}")
    return "".join(f"\n{line}" for line in lines)


def arranged(contents: dict[str, Any]) -> dict[str, Any]:
    """What the keys hold, in the shape of the model's snapshot."""

    def part(name: str) -> dict[str, Any]:
        return {key.removeprefix(name): value for key, value in contents.items() if key.startswith(name)}

    registry = {
        user: {peer: _picked(value, "device", "session") for peer, value in peers.items()}
        for user, peers in part("registry:").items()
    }
    for field, value in contents.get("trunks", {}).items():
        user, _, peer = field.partition("|")
        registry.setdefault(user, {})[peer] = _picked(value, "device", "session")
    return {
        "invites": {ref: _invite(fields) for ref, fields in part("invite:").items()},
        "legs": {
            ref: {
                user: _picked(raw, "state", "endReason", "peer")
                for user, raw in legs.items()
                if "|" not in user
            }
            for ref, legs in part("legs:").items()
        },
        "registry": registry,
        "pending": part("pending:"),
        "room-invites": {
            room: sorted(ref for ref, _ in refs) for room, refs in part("room-invites:").items()
        },
        "room-members": {room: sorted(members) for room, members in part("room-members:").items()},
        "timers": {name: int(score) for name, score in contents.get("timers", [])},
    }


def _picked(raw: str, *names: str) -> dict[str, Any]:
    value = json.loads(raw)
    return {name: value.get(name) for name in names}


def _invite(fields: dict[str, str]) -> dict[str, Any]:
    numbers = ("code", "createdAt", "expiresAt", "endedAt")
    plain = (
        "state",
        "reason",
        "from",
        "to",
        "inviteId",
        "room",
        "caller",
        "whoAccepted",
        "acceptedBy",
        "group",
    )
    seen = ("address", "type", "state", "endReason", "device", "silenced")
    return {
        **{name: int(fields[name]) if fields.get(name) else None for name in numbers},
        **{name: fields.get(name) or None for name in plain},
        **{name: json.dumps(json.loads(fields.get(name) or "null")) for name in ("mediatypes", "context")},
        "inviteRequest": fields["inviteRequest"] == "1",
        "candidates": {peer: _picked(raw, *seen) for peer, raw in candidates_in(fields).items()},
    }
