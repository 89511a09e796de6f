"""Workers that push, and the stand-in that they push to."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec

from invites.config import Config, parse
from invites.keys import Stream
from invites.sippo.answers import PushDevice
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Streams
from workers.lab.fake_sippo import Directory, StandIn
from workers.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def directory() -> Directory:
    """Bob has a phone and a tablet that can be woken, and 300 others have a phone each."""
    devices = {"bob": [PushDevice("phone", "ios"), PushDevice("tablet", "android")]}
    devices |= {f"m{number}": [PushDevice(f"m{number}-phone", "ios")] for number in range(300)}
    return Directory(users=devices)


def configured(wac: dict[str, Any] | None, **invites: int) -> Config:
    """A configuration with a short hand-over time; `wac` as it stands in the file."""
    basic = {} if wac is None else {"wac": {"timeout": 500, "breakFor": 300, **wac}}
    return parse({"invites": {"claimAfter": 300, "basic": basic, **invites}})


@contextlib.asynccontextmanager
async def pusher(
    url: str, wac: dict[str, Any] | None, *, consumer: str | None = None, **invites: int
) -> AsyncIterator[Service]:
    """A worker that has been started; it is stopped without a drain unless the test drains it."""
    service = Service(configured(wac, **invites), url, consumer=consumer)
    try:
        await service.start()
        yield service
    finally:
        await service.aclose()


async def pushed(fake_sippo: StandIn) -> list[tuple[str, str]]:
    """Type and device of all pushes that were taken, in their order."""
    return [(push.job.type, push.job.device) for push in fake_sippo.pushes]


class Jobs:
    """What a test looks at in the push stream."""

    def __init__(self, streams: Streams) -> None:
        self._client = streams.client

    async def settled(self, timeout_s: float = 15.0) -> None:
        """Wait until nothing is left in it."""

        async def empty() -> bool:
            (group,) = await self._client.xinfo_groups(KEYS.push)
            return bool(group["pending"] == 0 and group["lag"] == 0)

        await wait_until(empty, "all push jobs are settled", timeout_s)

    async def deliveries(self) -> dict[str, int]:
        """Pending jobs: the worker that has it -> how often it was delivered."""
        found = await self._client.xpending_range(KEYS.push, Stream.PUSH.group, "-", "+", 1000)
        return {one["consumer"].decode(): one["times_delivered"] for one in found}

    async def strand(self, consumer: str = "gone") -> None:
        """Let a consumer read all jobs and then die."""
        await self._client.xreadgroup(Stream.PUSH.group, consumer, {KEYS.push: ">"})

    async def add(self, **fields: Any) -> str:
        """Write a job as the commit does; its entry id."""
        now = (await self._client.time())[0] * 1000
        job: dict[str, Any] = {
            "type": "invitation",
            "ref": "alice|1|bob",
            "user": "bob",
            "device": "phone",
            "deadline": str(now + 60_000),
            "payload": msgspec.json.encode({"inviteId": "1", "from": "alice", "to": "bob"}),
        }
        job |= fields
        written = {name: value for name, value in job.items() if value is not None}
        entry: bytes = await self._client.xadd(KEYS.push, written)
        return entry.decode()
