"""Runs workers that push to a fake sippo-server, and reads the push stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from invites.config import Config, parse
from invites.keys import Stream
from invites.sippo.answers import PushDevice
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Streams, is_settled, running
from workers.lab.fake_sippo import Directory, FakeSippo

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from workers.service import Service


def directory() -> Directory:
    """Return the users of the fake server: Bob with a phone and a tablet, `m0` to `m299` with a phone each."""
    devices = {"bob": [PushDevice("phone", "ios"), PushDevice("tablet", "android")]}
    devices |= {f"m{number}": [PushDevice(f"m{number}-phone", "ios")] for number in range(300)}
    return Directory(users=devices)


def configured(wac: dict[str, Any] | None, **invites: int) -> Config:
    """Return a configuration with a short `claimAfter`; `wac` as it stands in the file.

    By default a push is not given up, and so sent twice, because the machine is busy.
    """
    basic = {} if wac is None else {"wac": {"timeout": 3_000, "breakFor": 300, **wac}}
    return parse({"invites": {"claimAfter": 300, "basic": basic, **invites}})


def worker(
    url: str, wac: dict[str, Any] | None, *, consumer: str | None = None, **invites: int
) -> AbstractAsyncContextManager[Service]:
    """Run a worker that pushes to the sippo-server of `wac`; it finishes its work only if the test drains it."""
    return running(configured(wac, **invites), url, consumer=consumer)


async def pushed(fake_sippo: FakeSippo) -> list[tuple[str, str]]:
    """Return type and device of all accepted pushes, in their order."""
    return [(push.job.type, push.job.device) for push in fake_sippo.pushes]


class Jobs:
    """The push stream and its jobs."""

    def __init__(self, streams: Streams) -> None:
        self._client = streams.client

    async def settled(self, timeout_s: float = 15.0) -> None:
        """Wait until all jobs are settled."""
        await wait_until(lambda: is_settled(self._client, KEYS.push), "all push jobs are settled", timeout_s)

    async def deliveries(self) -> dict[str, int]:
        """Return how often the pending jobs were delivered, by the worker that has them."""
        found = await self._client.xpending_range(KEYS.push, Stream.PUSH.group, "-", "+", 1000)
        return {one["consumer"].decode(): one["times_delivered"] for one in found}

    async def strand(self, consumer: str = "gone") -> None:
        """Read all jobs as a consumer that dies before it settles them."""
        await self._client.xreadgroup(Stream.PUSH.group, consumer, {KEYS.push: ">"})

    async def add(self, **fields: Any) -> str:
        """Write a job as the commit does; return its entry id."""
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
