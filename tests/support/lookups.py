"""Runs a worker that looks up callees at a fake sippo-server, and reads the results of its calls."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from invites.config import Config, parse
from invites.keys import WORKERS_GROUP
from invites.sippo import ApiCall
from invites.sippo.answers import PushDevice
from tests.support import events as e
from tests.support.candidates import candidates_in, whole
from tests.support.shard import Notification, notification_of
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Json, is_settled, running
from workers.lab.fake_sippo import Directory, FakeSippo, GroupEntry
from workers.service import Service

LEGACY: Final = {"resolveGroups": True, "resolvePush": True}
REACHABILITY: Final = {"legacyUserGroupResolution": False}
PASSWORD: Final = "geheim-und-lang"
LOOK_UPS: Final = (ApiCall.GROUPS, ApiCall.PUSH_DEVICES, ApiCall.REACHABILITY)


def ios(*devices: str) -> list[PushDevice]:
    """Return iOS devices with these ids."""
    return [PushDevice(device, "ios") for device in devices]


def directory() -> Directory:
    """Return the users of the fake server: Bob with a phone, Carol with two, Dave with none; a group and a number."""
    return Directory(
        users={"alice": ios("alice-phone"), "bob": ios("bob-phone"), "carol": ios("c1", "c2"), "dave": []},
        groups={"sales": GroupEntry(["bob", "alice", "carol", "bob", "dave"], "Sales")},
        numbers={"+34600"},
    )


def settings(address: str, basic: Json | None = None, **invites: Any) -> Json:
    """Return the section `invites` for a sippo-server at this address; `wac` in `basic` adds to its settings."""
    basic = basic or {}
    wac = {"address": address, "username": "admin@quobis", "password": PASSWORD, "timeout": 3_000}
    wac |= basic.get("wac", {})
    limits = {"perPair": 0, "perCallee": 0}
    return {"claimAfter": 300, "limits": limits, "redial": "ring", "basic": {**basic, "wac": wac}, **invites}


def configured(address: str, basic: Json | None = None, **invites: Any) -> Config:
    """Return the whole configuration for it."""
    return parse({"invites": settings(address, basic, **invites)})


@dataclass
class LookupWorker:
    """A running worker, the fake sippo-server that it asks, and a client that publishes and reads."""

    fake_sippo: FakeSippo
    service: Service
    client: Any  # typed, every reply of redis-py is a union of all its shapes

    @property
    def asked(self) -> dict[str, int]:
        """How often the worker requested each lookup."""
        return {call.value: count for call in LOOK_UPS if (count := self.fake_sippo.requests[call])}

    async def publish(self, *events: e.Published) -> list[str]:
        """Publish events and return their entry ids."""
        async with self.client.pipeline(transaction=False) as pipe:
            for kind, payload in events:
                pipe.xadd(KEYS.events, {"type": kind, "payload": json.dumps(payload)})
            return [entry.decode() for entry in await pipe.execute()]

    async def heard(self, kind: str, count: int = 1, **wanted: Any) -> list[Notification]:
        """Wait for `count` notifications of a type, with these values in their payloads."""
        found: list[Notification] = []

        async def there() -> bool:
            nonlocal found
            found = [one for one in await self.told() if one.type == kind and _has(one.payload, wanted)]
            return len(found) >= count

        await wait_until(there, f"{count} notifications are of type {kind}")
        return found

    async def call(self, *events: e.Published, invite_id: str = "1") -> list[Notification]:
        """Publish events, the last of them an invite; return its notifications once it rings or is over."""
        await self.publish(*events)
        return await self.heard_of(invite_id)

    async def heard_of(self, invite_id: str = "1") -> list[Notification]:
        """Wait until an invite rings or is over, and return its notifications."""

        async def answered() -> bool:
            told = {one.type for one in await self.told(invite_id)}
            return bool(told & {"inviteProgress", "inviteRejected"})

        await wait_until(answered, f"the inviter has heard of {invite_id}")
        return await self.told(invite_id)

    async def told(self, invite_id: str | None = None) -> list[Notification]:
        """Return the notifications so far, of one invite or of all."""
        found = [notification_of(fields) for _, fields in await self.client.xrange(KEYS.notifications)]
        return [one for one in found if invite_id in {None, one.payload.get("inviteId")}]

    async def candidates(self, to: str = "bob", invite_id: str = "1", by: str = "alice") -> dict[str, str]:
        """Return the candidates of an invite: id -> type and address."""
        ref = f"{by}|{invite_id}|{to}"
        found = await self.client.hgetall(KEYS.invite(ref))
        candidates = candidates_in(whole(ref, {name.decode(): raw.decode() for name, raw in found.items()}))
        read = {name.removeprefix("|"): json.loads(raw) for name, raw in candidates.items()}
        return {name: f"{one['type']} {one['address']}" for name, one in read.items()}

    async def pending(self) -> int:
        """Return the number of events that are read but not settled."""
        return int((await self.client.xpending(KEYS.events, WORKERS_GROUP))["pending"])

    async def settled(self) -> None:
        """Wait until all events are settled."""
        await wait_until(lambda: is_settled(self.client, KEYS.events), "all events are settled")


@contextlib.asynccontextmanager
async def worker(
    url: str, basic: Json | None = None, *, known: Directory | None = None, **invites: Any
) -> AsyncIterator[LookupWorker]:
    """Run a worker with a fake sippo-server; at the end no connection between the two may be left."""
    async with FakeSippo(directory() if known is None else known, password=PASSWORD) as fake_sippo:
        config = configured(fake_sippo.address, basic, **invites)
        async with Redis.from_url(url) as client, running(config, url) as service:
            yield LookupWorker(fake_sippo, service, client)
        await wait_until(
            lambda: fake_sippo.open_connections == 0, "the fake sippo-server has no connection left"
        )


def rung(told: list[Notification]) -> set[str]:
    """Return the peers that got an invitation."""
    return {peer for one in told if one.type == "invitation" for peer in one.peers}


def rejected(told: list[Notification]) -> tuple[int, str]:
    """Return code and reason of the only rejection."""
    (one,) = [one for one in told if one.type == "inviteRejected"]
    return one.payload["code"], one.payload["reason"]


def counted(told: list[Notification]) -> Counter[str]:
    """Count the notifications of each type."""
    return Counter(one.type for one in told)


def _has(payload: Json, wanted: Json) -> bool:
    return all(payload.get(name) == value for name, value in wanted.items())
