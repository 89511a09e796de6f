"""Runs the real scripts as workers do, on a clock of its own, and reads back what they did."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Iterator, Sequence
from typing import Any, cast

from redis.asyncio import Redis

from invites.events.arguments import PushArguments
from invites.events.decoding import decode_event_entry, decode_relay_entry
from invites.events.entry import Entry
from invites.events.operation import Operation
from invites.keys import WORKERS_GROUP, Keys, Stream
from invites.lookup.other_shards import OtherShards
from invites.lookup.resolver import Resolver
from invites.lookup.result import LookupResult, Member
from invites.store.answers import Status
from invites.store.commit import SettleMode
from invites.store.scripts import Scripts
from invites.store.settings import Settings
from tests.support.candidates import whole
from tests.support.measured import MeasuringCommitter

from .state import Notification, Payload

START = 4_000_000_000_000
"""ms; far in the future, so that the server's own clock never expires keys that the driver's clock keeps."""
MAX_TRIES = 20
"""How often an operation may need a lookup again because the trunks changed; more is a fault."""


class SippoServer:
    """Stands for lookups: answers in the mode at hand what is `known`."""

    def __init__(self, look_up: str) -> None:
        self.look_up = look_up
        self.known: dict[str, LookupResult] = {}

    async def ask(self, callee: str, _inviter: str, *, may_be_group: bool) -> LookupResult:
        return self.answer(callee, may_be_group=may_be_group)

    def answer(self, callee: str, *, may_be_group: bool = False) -> LookupResult:
        found = self.known.get(callee, LookupResult())
        if self.look_up == "reachability":
            return LookupResult.decode(found.encode())
        if found.members is not None and not (may_be_group and self.look_up in {"groups", "all"}):
            return LookupResult()
        pushes = self.look_up in {"push", "all"}
        members = found.members and [
            Member(each.user, push=each.push if pushes else (), failed=each.failed) for each in found.members
        ]
        return LookupResult(
            known=found.known and (pushes or members is not None),
            failed=found.failed,
            push=found.push if pushes else (),
            members=members,
            sequential=found.sequential,
        )


class Driver:
    """One shard on one server. Use a server (or database) of its own: it looks at all keys."""

    commits_together = True
    """Whether events that are settled together are in one commit."""

    def __init__(self, client: Redis, settings: Settings, scripts: Scripts) -> None:
        self.client: Any = client  # redis-py leaves open whether it answers text or bytes
        self.keys = Keys()
        self.now = START
        self.committer = MeasuringCommitter(client, self.keys, settings, scripts, clock=lambda: self.now)
        other_shards = OtherShards(self.keys, lambda _: client)
        self.sippo = SippoServer(settings.look_up)
        self.resolver = Resolver(client, self.keys, other_shards, self.sippo)
        self.expiry: dict[str, int] = {}
        self.has_relays = settings.parallel_sip and settings.look_up in {"push", "all", "reachability"}
        self._caused: dict[str, str] = {}
        self.read_up_to = "-"

    async def start(self) -> None:
        await self.client.flushdb()
        await self.client.xgroup_create(self.keys.events, WORKERS_GROUP, id="0", mkstream=True)
        await self.client.xgroup_create(self.keys.push, "push", id="0", mkstream=True)
        await self.client.xgroup_create(self.keys.relay, "relay", id="0", mkstream=True)

    async def publish(self, kind: str, payload: Payload, entry_id: str) -> Operation:
        """Write the event with this id and deliver it to a worker, which has it pending from now on."""
        (operation,) = await self.publish_all([(kind, payload, entry_id)])
        return operation

    async def publish_all(
        self, events: Sequence[tuple[str, Payload, str]], first: Sequence[tuple[Any, ...]] = ()
    ) -> list[Operation]:
        """The same for several, after these commands."""
        async with self.client.pipeline(transaction=False) as pipe:
            for command in first:
                pipe.execute_command(*command)
            for kind, payload, entry_id in events:
                fields = {"type": kind, "payload": json.dumps(payload).encode()}
                pipe.xadd(self.keys.events, fields, id=entry_id)
            pipe.xreadgroup(WORKERS_GROUP, "w", {self.keys.events: ">"})
            *written, read = (await pipe.execute())[len(first) :]
        ((_, delivered),) = read.items() if isinstance(read, dict) else read
        assert [entry for entry, _ in delivered] == written
        return [
            decode_event_entry(Entry(entry.decode(), fields), max_deliveries=5) for entry, fields in delivered
        ]

    async def settle(self, operations: Sequence[Operation]) -> tuple[list[Status], list[Operation]]:
        """Commit once. Operations that need a lookup come back completed (`NEEDS`), to be settled again.

        Work that an event leaves to a later commit is done before the next event.
        """
        outcomes = []
        for batch in [[each] for each in operations] if self.has_relays else [operations]:
            outcomes += (await self.committer.commit(batch)).outcomes
            await self.carry(batch[-1].entry)
        completed = list(operations)
        for index, outcome in enumerate(outcomes):
            assert outcome.status in {Status.DONE, Status.STALE, Status.NEEDS}, outcome
            if outcome.status is Status.NEEDS:
                completed[index] = await self.resolver.complete(operations[index], outcome)
        return [outcome.status for outcome in outcomes], completed

    async def carry(self, cause: str) -> None:
        """Do the work that a commit has left; its notifications count as those of its `cause`."""
        if not self.has_relays:
            return
        read = await cast("Awaitable[Any]", self.client.xreadgroup("relay", "w", {self.keys.relay: ">"}))
        for _, entries in read.items() if isinstance(read, dict) else read:
            for name, fields in entries:
                entry = name.decode()
                self._caused[f"relay{entry}"] = cause
                operation = decode_relay_entry(Entry(entry, fields), max_deliveries=5)
                mode = SettleMode(Stream.RELAY)
                (outcome,) = (await self.committer.commit([operation], mode)).outcomes
                if outcome.status is Status.NEEDS:
                    operation = await self.resolver.complete(operation, outcome)
                    (outcome,) = (await self.committer.commit([operation], mode)).outcomes
                assert outcome.status is Status.DONE, outcome
                await self.client.xdel(self.keys.relay, entry)

    async def jobs(self) -> list[tuple[str, Notification]]:
        """The push jobs since the last call, each with its entry."""
        return await jobs_of(self.client, self.keys)

    async def push(self, became: str, entry: str, ref: str, device: str) -> None:
        """Settle a push job."""
        settled = await self.committer.commit(
            [Operation(became, entry, PushArguments(ref, device))], SettleMode(Stream.PUSH)
        )
        assert settled.outcomes[0].status is Status.DONE, settled
        await self.carry(f"push{entry}")

    async def fire(self) -> None:
        """Fire until nothing is due."""
        for _ in range(MAX_TRIES * (10 if self.has_relays else 1)):
            fired = await self.committer.fire(limit=1 if self.has_relays else 100)
            await self.carry("timers")
            if fired.next_due is None or fired.next_due > self.now:
                return
        raise AssertionError("firing never ends")

    async def advance(self, now: int) -> None:
        """Set the clock, and drop expired keys."""
        self.now = now
        names = await self.client.keys("*")
        async with self.client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.pexpiretime(name)
            expiries = await pipe.execute()
        gone = [name for name, at in zip(names, expiries, strict=True) if 0 <= at <= now]
        if gone:
            await self.client.delete(*gone)

    async def notifications(self) -> list[tuple[str, Notification]]:
        """The notifications since the last call, each with its id."""
        found = await self.client.xrange(self.keys.notifications, min=self.read_up_to)
        if found:
            self.read_up_to = f"({found[-1][0].decode()}"
        return [
            (
                self._told_for(fields[b"id"].decode()),
                Notification(
                    fields[b"type"].decode(),
                    tuple(json.loads(fields[b"peers"])),
                    tuple(json.loads(fields[b"users"])),
                    json.loads(fields[b"payload"]),
                ),
            )
            for _, fields in found
        ]

    def _told_for(self, name: str) -> str:
        """The id of a notification as if its cause had told it itself."""
        shard, _, rest = name.partition("-")
        origin, _, number = rest.rpartition("-")
        own = origin.replace("-", ".") + "." + number  # so that it has as many parts as any other
        return f"{shard}-{self._caused[origin]}-{own}" if origin in self._caused else name

    async def contents(self) -> dict[str, Any]:
        """All keys but the streams: name without the shard's part -> content, by type.

        `expiry` tells afterwards when each expires, in ms since 1970 (-1: never).
        """
        values, expiry = await contents_of(self.client)
        assert all(name.startswith(self.keys.base) for name in values), "a key outside the shard's tag"
        self.expiry = {name.removeprefix(self.keys.base): at for name, at in expiry.items()}
        return {name.removeprefix(self.keys.base): value for name, value in values.items()}

    async def length(self, stream: str) -> int:
        return int(await self.client.xlen(stream))

    async def owed(self) -> int:
        """How many entries the workers still have pending."""
        summary = await cast("Awaitable[Any]", self.client.xpending(self.keys.events, WORKERS_GROUP))
        return int(summary["pending"])


async def jobs_of(client: Any, keys: Keys) -> list[tuple[str, Notification]]:
    """A shard's push jobs since the last call, each with its entry, as notifications of a type of their own."""
    read = await cast("Awaitable[Any]", client.xreadgroup("push", "w", {keys.push: ">"}))
    found = []
    for _, entries in read.items() if isinstance(read, dict) else read:
        for entry, fields in entries:
            job = {name.decode(): value.decode() for name, value in fields.items()}
            payload = {
                "ref": job["ref"], "deadline": int(job["deadline"]), "payload": json.loads(job["payload"])
            }  # fmt: skip
            kind = f"push {job['type']}"
            found.append((entry.decode(), Notification(kind, (job["device"],), (job["user"],), payload)))
    return found


CONTENTS = """
local found, how = {}, {
  hash = { 'HGETALL' }, set = { 'SMEMBERS' }, string = { 'GET' }, zset = { 'ZRANGE', 0, -1, 'WITHSCORES' },
}
for _, name in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', name).ok
  local command = how[kind]
  if command then
    local value = redis.call(command[1], name, unpack(command, 2))
    found[#found + 1] = { name, kind, redis.call('PEXPIRETIME', name), value }
  end
end
return found
"""


async def contents_of(client: Any) -> tuple[dict[str, Any], dict[str, int]]:
    """All keys but the streams with what they hold, and when each expires, in ms since 1970 (-1: never)."""
    values: dict[str, Any] = {}
    expiry: dict[str, int] = {}
    for raw, kind, expires_at, value in sorted(await client.eval(CONTENTS, 0)):
        name = raw.decode()
        expiry[name] = expires_at
        if kind == b"hash":
            values[name] = dict(_pairs(value))
            _, is_invite, ref = name.partition("}:invite:")
            if is_invite:
                values[name] = whole(ref, values[name])
        elif kind == b"zset":
            values[name] = [(member, float(score)) for member, score in _pairs(value)]
        else:
            values[name] = sorted(each.decode() for each in value) if kind == b"set" else value.decode()
    return values, expiry


def _pairs(flat: list[bytes]) -> Iterator[tuple[str, str]]:
    texts = [each.decode() for each in flat]
    return zip(texts[::2], texts[1::2], strict=True)
