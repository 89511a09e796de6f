"""Running workers for tests: in this process, with events in and notifications out."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from invites.config import Config, Invites
from invites.keys import WORKERS_GROUP, Keys
from tests.support.waiting import wait_until
from workers.roles.settler import Settler
from workers.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from redis.asyncio import Redis

Json = dict[str, Any]

KEYS = Keys()


def configured(**invites: int) -> Config:
    """A configuration with these settings of `invites`, and a short hand-over time."""
    return Config(invites=msgspec.structs.replace(Invites(), **{"claim_after": 300, **invites}))


@contextlib.asynccontextmanager
async def worker(url: str, *, consumer: str | None = None, **invites: int) -> AsyncIterator[Service]:
    """A worker that has been started; it is stopped without a drain unless the test drains it."""
    service = Service(configured(**invites), url, consumer=consumer)
    try:
        await service.start()
        yield service
    finally:
        await service.aclose()


class Streams:
    """What stands around the workers: publishes events and looks at what came of them.

    Where any event will do it is a question for the invitations of a user, by its number: it has one effect, which
    can be counted, the answer.
    """

    def __init__(self, client: Redis) -> None:
        self.client: Any = client  # typed, every reply of redis-py is a union of all its shapes

    async def publish(self, kind: str, payload: Mapping[str, Any] | bytes) -> str:
        """Publish one event; its entry id."""
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        entry: bytes = await self.client.xadd(KEYS.events, {"type": kind, "payload": raw})
        return entry.decode()

    async def publish_when_full(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Publish although the server is out of memory: with a script that may."""
        script = "#!lua flags=allow-oom\nreturn redis.call('XADD', KEYS[1], '*', 'type', ARGV[1], 'payload', ARGV[2])"
        await self.client.eval(script, 1, KEYS.events, kind, json.dumps(payload))

    async def ask(self, first: int, count: int) -> list[str]:
        """Publish questions number `first` and following; their entry ids."""
        async with self.client.pipeline(transaction=False) as pipe:
            for number in range(first, first + count):
                payload = {"peer": {"id": f"p{number}", "user": f"u{number}"}, "transaction": number}
                pipe.xadd(KEYS.events, {"type": "getInvitations", "payload": json.dumps(payload)})
            return [entry.decode() for entry in await pipe.execute()]

    async def notifications(self) -> list[tuple[str, str, Json]]:
        """Id, type and payload of all notifications."""
        return [
            (fields[b"id"].decode(), fields[b"type"].decode(), json.loads(fields[b"payload"]))
            for _, fields in await self.client.xrange(KEYS.notifications)
        ]

    async def answers(self) -> list[int]:
        """The numbers of the questions in the order of their answers."""
        return [payload["transaction"] for _, kind, payload in await self.notifications() if kind == "answer"]

    async def pending(self) -> int:
        """How many entries are read and not acknowledged."""
        summary = await self.client.xpending(KEYS.events, WORKERS_GROUP)
        return int(summary["pending"])

    async def deliveries(self) -> dict[str, tuple[str, int]]:
        """Pending entries: id -> consumer and deliveries."""
        found = await self.client.xpending_range(KEYS.events, WORKERS_GROUP, "-", "+", 10_000)
        return {
            one["message_id"].decode(): (one["consumer"].decode(), one["times_delivered"]) for one in found
        }

    async def dead(self) -> list[dict[str, str]]:
        """The dead letters."""
        return [
            {name.decode(): value.decode() for name, value in fields.items()}
            for _, fields in await self.client.xrange(KEYS.dead)
        ]

    async def strand(self, count: int, consumer: str = "gone") -> list[str]:
        """Let a consumer read new entries and then die."""
        reply = await self.client.xreadgroup(WORKERS_GROUP, consumer, {KEYS.events: ">"}, count=count)
        return [entry.decode() for entry, _ in reply[0][1]]

    async def make_group(self) -> None:
        """Make the consumer group before any worker does."""
        await self.client.xgroup_create(KEYS.events, WORKERS_GROUP, "0", mkstream=True)

    async def told(self, count: int, pending: int = 0, timeout_s: float = 15.0) -> None:
        """Wait until there are so many notifications, and so many entries pending."""

        async def all_there() -> bool:
            return await self.client.xlen(KEYS.notifications) >= count and await self.pending() == pending

        await wait_until(all_there, f"{count} notifications are out, {pending} entries pending", timeout_s)

    async def heard(self, kind: str, count: int = 1) -> None:
        """Wait until there are so many notifications of one type."""

        async def there() -> bool:
            return Counter(told for _, told, _ in await self.notifications())[kind] >= count

        await wait_until(there, f"{count} notifications are of type {kind}")

    async def assert_answered(self, count: int, timeout_s: float = 15.0) -> None:
        """Wait for the answers to questions 0 to `count` - 1, and check that each was given once."""
        await self.told(count, timeout_s=timeout_s)
        assert sorted(await self.answers()) == list(range(count))
        identities = [identity for identity, _, _ in await self.notifications()]
        assert len(identities) == len(set(identities))


def settler_of(service: Service) -> Settler:
    """The settler of the events of a worker's first shard."""
    role = service._shards[0]._consumers[0]._role
    assert isinstance(role, Settler)
    return role
