"""Plays a history on several shards whose messages come late and in any order.

The notifications depend on what overtakes what, so they are not compared with the model. Instead the invariants are
checked and, once all messages have arrived, whether the shards agree.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from invites.events.arguments import PushArguments
from invites.events.decoding import decode_relay_entry
from invites.events.entry import Entry
from invites.events.operation import Operation
from invites.events.protocol import decode_event
from invites.events.routing import routing_key
from invites.keys import Stream, shard_of
from invites.lookup.resolver import Resolver
from invites.store.answers import Outcome, Status
from invites.store.commit import SettleMode
from invites.store.scripts import Scripts
from invites.store.settings import Settings
from tests.support.shard import Shard, make_groups
from tests.support.shards import Shards

from .agreement import Agreement, Contents
from .core import order_kept
from .driver import START, SippoServer, contents_of
from .histories import (
    Advance,
    AdvanceToDue,
    Carry,
    Fire,
    History,
    Knows,
    Publish,
    Pushed,
    Repeat,
    Settle,
    Step,
)
from .invariants import Invariants, Ref, ref_of
from .state import HOUR, Notification, Payload

ANSWERED = frozenset({"accept", "decline", "silence", "stopInvite", "getInvitations"})
"""The sender of one of these gets one answer."""
PERMANENT = ("registry:", "holder:", "room-members:", "user-state:", "trunks", "layout", "taken:")
MOST_TURNS = 100
"""How often due timers may be fired at the end; more means an endless loop."""


@dataclass(frozen=True)
class Job:
    """A push job that some worker holds."""

    part: Shard
    entry: str
    ref: str
    device: str
    type: str


class Apart(Shards):
    """Several shards on one server, between which messages arrive on request.

    Of a hundred events `astray` are published to any shard, the others to their own.
    """

    def __init__(self, client: Redis, settings: Settings, scripts: Scripts, shards: int, astray: int) -> None:
        super().__init__(lambda _: client, settings, scripts, shards)
        self.sippo = SippoServer(settings.look_up)
        for part in self.parts:
            part.resolver = Resolver(client, part.keys, part.other_shards, self.sippo)
        self.server: Any = client  # redis-py leaves open whether it answers text or bytes
        self.now = START
        self.astray = astray
        self.where: dict[str, Shard] = {}
        self.on_the_way: list[tuple[Shard, Entry]] = []
        self.arrived: list[tuple[Shard, Operation]] = []
        self.expiry: dict[str, int] = {}

    async def start(self) -> None:
        await self.server.flushall()
        await make_groups(self.server, *self.all_keys)
        await self._ask_all(lambda pipe, part: pipe.set(part.keys.layout, str(len(self.parts))))

    async def deliver(self, kind: str, payload: Payload, entry: str) -> Operation:
        """Publish an event and have it pending with a worker."""
        raw = json.dumps(payload).encode()
        chance = zlib.crc32(raw)  # so a shortened history takes the same ways
        if chance % 100 < self.astray:
            part = self.parts[chance % len(self.parts)]
        else:
            part = self.parts[shard_of(routing_key(decode_event(kind, raw)), len(self.parts))]
        self.where[entry] = part
        # So some messages arrive together, and others one by one.
        return await part.publish(kind, raw, entry, traced=bool(chance & 128))

    async def commit(self, operation: Operation) -> tuple[Outcome, Operation]:
        """Settle an event, or find out what it needs: then it comes back completed."""
        self._sync()
        part = self.where[operation.entry]
        (ready,) = await part.other_shards.see_rooms([operation])
        (outcome,) = (await part.committer.commit([ready])).outcomes
        if outcome.status is Status.NEEDS:
            ready = await part.resolver.complete(ready, outcome)
        return outcome, ready

    async def carry(self, pick: int) -> Operation | None:
        """Carry one of the messages that are on their way, twice; None when there is none."""
        self._sync()
        self.on_the_way += await self._relayed()
        if not self.on_the_way:
            return None
        part, entry = self.on_the_way.pop(pick % len(self.on_the_way))
        await self._carry(part, entry)
        operation = decode_relay_entry(entry, max_deliveries=5, keys=part.keys)
        if operation.shard is not None:
            self.arrived.append((part, operation))
        return operation

    async def carry_again(self, pick: int) -> None:
        """A worker that was frozen carries messages that arrived long ago."""
        part, operation = self.arrived[pick % len(self.arrived)]
        assert operation.shard is not None
        outcome = await self._take(self.parts[operation.shard], part.keys.shard, "0-0", operation)
        assert outcome.status is Status.STALE, outcome

    async def _carry_all(self) -> None:
        """Nothing is carried until requested."""

    async def fire_all(self) -> None:
        """Fire the due timers of each shard."""
        self._sync()
        for part in self.parts:
            while (await part.committer.fire()).count:
                pass

    async def push(self, job: Job, became: str) -> None:
        """Settle a push job. A cancel has no consequences, and no job is unsure while its call rings."""
        self._sync()
        rings = await self.server.hget(job.part.keys.invite(job.ref), "state") == b"PENDING"
        if job.type == "invitationCancel" or (became == "pushUnsure" and rings):
            became = "pushDropped"
        operation = Operation(became, job.entry, PushArguments(job.ref, job.device))
        settled = await job.part.committer.commit([operation], SettleMode(Stream.PUSH))
        assert settled.outcomes[0].status is Status.DONE, settled

    async def jobs(self) -> list[Job]:
        """The push jobs since the last call."""
        found = []
        for part in self.parts:
            read = await part.client.xreadgroup(Stream.PUSH.group, "w", {part.keys.push: ">"})
            for _, entries in read.items() if isinstance(read, dict) else read:
                for entry, fields in entries:
                    job = (fields[name].decode() for name in (b"ref", b"device", b"type"))
                    found.append(Job(part, entry.decode(), *job))
        return found

    async def advance(self, now: int) -> None:
        """Set the clock, and drop expired keys."""
        self.now = now
        _, expiry = await contents_of(self.server)
        for name, at in expiry.items():
            if 0 <= at <= now:
                await self.server.delete(name)

    async def next_due(self) -> int | None:
        """When the next timer of any shard is due."""
        firsts = [await part.client.zrange(part.keys.timers, 0, 0, withscores=True) for part in self.parts]
        return min((int(at) for first in firsts for _, at in first), default=None)

    async def news(self) -> list[tuple[str, Notification]]:
        """The notifications since the last call, each with its id."""
        return [
            (each.id, Notification(each.type, tuple(each.peers), tuple(each.users), each.payload))
            for each in await self.told()
        ]

    async def contents(self) -> dict[int, Contents]:
        """All keys of each shard but the streams."""
        found: dict[int, Contents] = {part.keys.shard: {} for part in self.parts}
        values, expiry = await contents_of(self.server)
        self.expiry = {name.partition("}:")[2]: at for name, at in expiry.items()}
        for name, value in values.items():
            shard, _, rest = name.partition("{")[2].partition("}:")
            found[int(shard)][rest] = value
        return found


class Watch(Invariants):
    """Each request is answered, besides; `answers` are counted by transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: Counter[str] = Counter()
        self.accepted: set[tuple[Ref, str, str]] = set()

    def told(self, notifications: list[tuple[str, Notification]]) -> None:
        super().told(notifications)
        for _, each in notifications:
            if each.type == "answer" and each.payload["request"] in ANSWERED:
                self.answers[each.payload["transaction"]] += 1
            if each.type == "invitation":
                ref = ref_of(each.payload)
                self.accepted -= {(ref, peer, user) for peer in each.peers for user in each.users}
            elif each.type == "answer" and each.payload["request"] == "accept":
                self.check_accept((ref_of(each.payload), each.peers[0], each.users[0]), each.payload["code"])

    def check_accept(self, asked: tuple[Ref, str, str], code: int) -> None:
        """A device that has been told that it has the call is told so again."""
        assert code == 200 or asked not in self.accepted, f"{asked} heard 200, then {code}"
        if code == 200:
            self.accepted.add(asked)

    def everywhere(self, shards: dict[int, Contents], expiry: dict[str, int]) -> None:
        """The keys of all shards, whatever is on its way between them."""
        merged: Contents = {}
        registries: dict[str, dict[str, Any]] = {}
        for shard, contents in shards.items():
            for field, raw in contents.get("trunks", {}).items():
                user, _, peer = field.partition("|")
                registries.setdefault(f"trunks of {user} in {shard}", {})[peer] = raw
            for name, value in contents.items():
                if name.startswith(("invite:", "legs:")):
                    assert name not in merged, f"{name} is in two shards"
                    merged[name] = value
                elif name.startswith("registry:"):
                    registries[name] = value
        self.state(merged, expiry)
        self.compare_registries(registries)


class PlayApart:
    """One history under way. `held`: delivered to workers and not settled, as are the push `jobs`."""

    def __init__(
        self, client: Redis, scripts: Scripts, history: History, shards: int = 7, *, astray: int = 25
    ) -> None:
        self.history = history
        self.driver = Apart(client, history.settings, scripts, shards, astray)
        self.watch = Watch()
        self.events: dict[str, tuple[str, Payload]] = {}
        self.held: list[Operation] = []
        self.settled: list[Operation] = []
        self.jobs: list[Job] = []
        self.asked: list[str] = []

    async def run(self) -> None:
        await self.driver.start()
        for step in self.history.steps:
            await self.step(step)
            await self.look()
        await self.finish()

    async def step(self, step: Step) -> None:  # noqa: C901 - one branch for each kind
        match step:
            case Publish():
                await self.publish(step)
            case Settle() if self.held:
                batch = [self.held[at] for at in {pick % len(self.held): 0 for pick in step.picks}]
                for operation in batch:
                    await self.settle(operation, look_up_only=step.look_up_only)
            case Repeat():
                await self.repeat(step.pick)
            case Carry():
                await self.carry(step.pick)
            case Advance():
                if step.ms >= HOUR:
                    # Nothing waits that long: other workers take up a worker's entries within seconds.
                    await self.all_arrive()
                await self.driver.advance(self.driver.now + step.ms)
            case AdvanceToDue():
                due = await self.driver.next_due() or self.driver.now
                await self.driver.advance(max(self.driver.now, due + step.offset))
            case Fire():
                await self.driver.fire_all()
            case Knows():
                self.driver.sippo.known[step.callee] = step.found
            case Pushed() if self.jobs:
                await self.driver.push(self.jobs.pop(step.pick % len(self.jobs)), step.became)

    async def publish(self, step: Publish) -> None:
        entry, payload = f"{self.driver.now}-{len(self.events) + 1}", step.payload
        if step.kind in ANSWERED and "peer" in payload:
            payload = {**payload, "transaction": entry}
            self.asked.append(entry)
        self.events[entry] = step.kind, payload
        operation = await self.driver.deliver(step.kind, payload, entry)
        self.held.append(operation)
        if step.settle:
            await self.settle(operation)

    async def settle(self, operation: Operation, *, look_up_only: bool = False) -> None:
        self.held.remove(operation)
        for _ in range(20):
            outcome, operation = await self.driver.commit(operation)
            if outcome.status is Status.DONE:
                self.settled.append(operation)
                await self.listen(operation.entry if operation.rule != "misrouted" else None)
                return
            assert outcome.status is Status.NEEDS, (outcome, operation)
            if look_up_only:
                self.held.append(operation)
                return
        raise AssertionError("looked up again and again")

    async def repeat(self, pick: int) -> None:
        """Settled entries and arrived messages come to another worker again."""
        if self.settled:
            outcome, _ = await self.driver.commit(self.settled[pick % len(self.settled)])
            assert outcome.status is Status.STALE, outcome
        if self.driver.arrived:
            await self.driver.carry_again(pick)

    async def carry(self, pick: int) -> bool:
        operation = await self.driver.carry(pick)
        if operation is not None:
            first = operation.arguments.flat()[0] if operation.rule == "relayedEvent" else None
            await self.listen(first if isinstance(first, str) else None)
        return operation is not None

    async def listen(self, entry: str | None = None) -> None:
        """Take in the notifications of the event of this entry, or of none."""
        self.watch.told(await self.driver.news())
        if entry is not None:
            self.watch.settled(*self.events[entry])
        self.jobs += await self.driver.jobs()

    async def look(self) -> dict[int, Contents]:
        await self.listen()
        shards = await self.driver.contents()
        self.watch.everywhere(shards, self.driver.expiry)
        return shards

    async def all_arrive(self) -> None:
        """Everything is settled and carried; then the shards agree."""
        while self.held:
            await self.settle(self.held[0])
            await self.look()
        while await self.carry(0):
            await self.look()
        Agreement(await self.look(), self.driver.now).check()

    async def finish(self) -> None:
        """Everything arrives and every deadline passes; then nothing may be left over."""
        await self.all_arrive()
        for _ in range(MOST_TURNS):
            due = await self.driver.next_due()
            if due is None and not self.jobs:
                break
            await self.driver.advance(max(self.driver.now, due or 0))
            await self.driver.fire_all()
            while self.jobs:
                await self.driver.push(self.jobs.pop(), "pushTaken")
                await self.look()
            await self.all_arrive()
        else:
            raise AssertionError("there is always something due")
        await self.check_that_all_is_settled()
        self.watch.end()
        self.watch.compare_measures(self.driver.measured())
        settings = self.history.settings
        await self.driver.advance(self.driver.now + order_kept(settings) + max(settings.retain_after, HOUR))
        for shard, contents in (await self.driver.contents()).items():
            left = [name for name in contents if not name.startswith(PERMANENT)]
            assert not left, f"left in shard {shard}: {left}"

    async def check_that_all_is_settled(self) -> None:
        assert await self.driver.dead() == []
        for part in self.driver.parts:
            for source in Stream:
                summary = await part.client.xpending(source.key(part.keys), source.group)
                assert summary["pending"] == 0, f"{source} of shard {part.keys.shard}: {summary}"
        for entry in self.asked:
            answered = self.watch.answers[entry]
            assert answered == 1, f"{self.events[entry]} was answered {answered} times"
