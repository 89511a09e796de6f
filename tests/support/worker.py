"""Runs workers in this process, publishes events to them and reads their notifications."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec
from redis.exceptions import ResponseError

from invites.config import Config, Invites
from invites.config.sections import Limits
from invites.keys import WORKERS_GROUP, Keys
from tests.support.waiting import wait_until
from workers.roles.settler import Settler
from workers.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from redis.asyncio import Redis

    from workers.telemetry.spans import Spans

Json = dict[str, Any]

KEYS = Keys()


NO_LIMITS: Final = Limits(devices_per_user=0, per_callee=0, per_caller=0, per_pair=0)


def configured(**invites: int) -> Config:
    """Return a configuration with these settings of `invites`, a short `claim_after`, and no limits.

    Calls of one device to one callee ring beside each other.
    """
    given = {"claim_after": 300, **invites}
    return Config(invites=msgspec.structs.replace(Invites(limits=NO_LIMITS, redial="ring"), **given))


@contextlib.asynccontextmanager
async def running(
    config: Config, url: str, *, consumer: str | None = None, spans: Spans | None = None
) -> AsyncIterator[Service]:
    """Start a worker; at the end stop it. Only a test that drains it sees it finish its work."""
    service = Service(config, url, consumer=consumer, spans=spans)
    try:
        await service.start()
        yield service
    finally:
        await service.aclose()


def worker(
    url: str, *, consumer: str | None = None, **invites: int
) -> contextlib.AbstractAsyncContextManager[Service]:
    """Run a worker with these settings of `invites`."""
    return running(configured(**invites), url, consumer=consumer)


@contextlib.asynccontextmanager
async def process(
    url: str, folder: Path, settings: Mapping[str, Any]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a worker process as an operator does, with these settings of `invites`; at the end kill it."""
    file = folder / "config.json"
    file.write_text(json.dumps({"http": {"port": 0}, "invites": settings}))
    command = ("-m", "workers", "run", "--config", str(file), "--redis-url", url)
    running = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


async def is_settled(client: Any, *streams: str) -> bool:
    """Whether each stream has its consumer group, and no group has an entry left to read or to settle."""
    groups: list[dict[str, Any]] = []
    for stream in streams:
        with contextlib.suppress(ResponseError):  # no worker has made it yet
            groups += await client.xinfo_groups(stream)
    return len(groups) == len(streams) and all(one["pending"] == 0 and one["lag"] == 0 for one in groups)


async def is_renewed(client: Any, stream: str, group: str) -> None:
    """Wait until the worker that has the only pending entry has renewed it: its idle time (ms) falls."""
    idle = 0

    async def falls() -> bool:
        nonlocal idle
        (found,) = await client.xpending_range(stream, group, "-", "+", 2)
        before, idle = idle, int(found["time_since_delivered"])
        return idle < before

    await wait_until(falls, f"the pending entry of {stream} is renewed")


class Streams:
    """Publishes events as gateways do, and reads the workers' notifications.

    Tests that need any event use `ask`: it publishes numbered questions (`getInvitations`), and each must be answered
    exactly once.
    """

    def __init__(self, client: Redis) -> None:
        self.client: Any = client  # typed, every reply of redis-py is a union of all its shapes

    async def publish(self, kind: str, payload: Mapping[str, Any] | bytes) -> str:
        """Publish one event and return its entry id."""
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        entry: bytes = await self.client.xadd(KEYS.events, {"type": kind, "payload": raw})
        return entry.decode()

    async def publish_when_full(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Publish although the server is out of memory, by a script with the flag `allow-oom`."""
        script = "#!lua flags=allow-oom\nreturn redis.call('XADD', KEYS[1], '*', 'type', ARGV[1], 'payload', ARGV[2])"
        await self.client.eval(script, 1, KEYS.events, kind, json.dumps(payload))

    async def ask(self, first: int, count: int) -> list[str]:
        """Publish `count` questions numbered from `first`; return their entry ids."""
        async with self.client.pipeline(transaction=False) as pipe:
            for number in range(first, first + count):
                payload = {"peer": {"id": f"p{number}", "user": f"u{number}"}, "transaction": number}
                pipe.xadd(KEYS.events, {"type": "getInvitations", "payload": json.dumps(payload)})
            return [entry.decode() for entry in await pipe.execute()]

    async def notifications(self) -> list[tuple[str, str, Json]]:
        """Return id, type and payload of all notifications."""
        return [
            (fields[b"id"].decode(), fields[b"type"].decode(), json.loads(fields[b"payload"]))
            for _, fields in await self.client.xrange(KEYS.notifications)
        ]

    async def payloads(self, kind: str) -> list[Json]:
        """Return the payloads of all notifications of a type."""
        return [payload for _, told, payload in await self.notifications() if told == kind]

    async def answers(self) -> list[int]:
        """Return the numbers of the questions in the order of their answers."""
        return [payload["transaction"] for payload in await self.payloads("answer")]

    async def pending(self) -> int:
        """Return the number of events that are read but not acknowledged."""
        summary = await self.client.xpending(KEYS.events, WORKERS_GROUP)
        return int(summary["pending"])

    async def deliveries(self) -> dict[str, tuple[str, int]]:
        """Return the pending events: id -> consumer and number of deliveries."""
        found = await self.client.xpending_range(KEYS.events, WORKERS_GROUP, "-", "+", 10_000)
        return {
            one["message_id"].decode(): (one["consumer"].decode(), one["times_delivered"]) for one in found
        }

    async def dead(self) -> list[dict[str, str]]:
        """Return the dead letters."""
        return [
            {name.decode(): value.decode(errors="backslashreplace") for name, value in fields.items()}
            for _, fields in await self.client.xrange(KEYS.dead)
        ]

    async def has_dead_letter(self) -> bool:
        """Whether there is a dead letter."""
        return bool(await self.client.xlen(KEYS.dead))

    async def strand(self, count: int, consumer: str = "gone") -> list[str]:
        """Read new events as a consumer that dies before it settles them; return their ids."""
        reply = await self.client.xreadgroup(WORKERS_GROUP, consumer, {KEYS.events: ">"}, count=count)
        return [entry.decode() for entry, _ in reply[0][1]]

    async def make_group(self) -> None:
        """Create the consumer group before any worker does."""
        await self.client.xgroup_create(KEYS.events, WORKERS_GROUP, "0", mkstream=True)

    async def told(self, count: int, pending: int = 0, timeout_s: float = 15.0) -> None:
        """Wait for at least `count` notifications and exactly `pending` pending events."""

        async def all_there() -> bool:
            return await self.client.xlen(KEYS.notifications) >= count and await self.pending() == pending

        await wait_until(all_there, f"{count} notifications are out, {pending} entries pending", timeout_s)

    async def heard(self, kind: str, count: int = 1) -> None:
        """Wait for at least `count` notifications of a type."""

        async def there() -> bool:
            return len(await self.payloads(kind)) >= count

        await wait_until(there, f"{count} notifications are of type {kind}")

    async def assert_answered(self, count: int, timeout_s: float = 15.0) -> None:
        """Wait for the answers to questions 0 to `count` - 1, and check that each is answered once."""
        await self.told(count, timeout_s=timeout_s)
        assert sorted(await self.answers()) == list(range(count))
        identities = [identity for identity, _, _ in await self.notifications()]
        assert len(identities) == len(set(identities))


def settler_of(service: Service) -> Settler:
    """The settler of the events of a worker's first shard."""
    role = service._shards[0]._consumers[0]._role
    assert isinstance(role, Settler)
    return role
