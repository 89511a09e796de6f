"""Connects the client of sippo-server to a fake server, with a clock that the test controls."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import pytest
from tenacity import wait_exponential
from tenacity.wait import wait_base

from invites.config import Wac, parse
from invites.sippo import ApiCall, CallOutcome, NoAnswer, PushJob, SippoServer, Timing
from invites.sippo.answers import PushDevice
from tests.support.waiting import wait_until
from workers.lab.fake_sippo import Directory, FakeSippo, GroupEntry

PASSWORD: Final = "geheim-und-lang"

LOOK_UPS: Final = (ApiCall.GROUPS, ApiCall.PUSH_DEVICES, ApiCall.REACHABILITY)


def directory() -> Directory:
    """Return the users of the fake server: Alice with a phone and a browser, Bob with none; two groups and a number."""
    return Directory(
        users={"alice": [PushDevice("alice-phone", "ios"), PushDevice("alice-web", "web")], "bob": []},
        groups={
            "sales": GroupEntry(["alice", "bob"], "Sales"),
            "night": GroupEntry(["bob", "alice", "bob"], ringing_strategy="sequential"),
        },
        numbers={"+34600000000"},
    )


def job(device: str = "alice-phone", *, ttl: int = 30, user: str = "alice") -> PushJob:
    """Return a push of an invitation."""
    payload = msgspec.Raw(b'{"inviteId":"1","context":{"a":[]}}')
    return PushJob(user, device, "invitation", ttl, "bob|1|alice", payload)


@dataclass
class RecordingWatch:
    """A Watch that records its calls."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    changes: list[tuple[str, bool]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def requested(self, call: str, outcome: str, seconds: float) -> None:
        self.requests[call, outcome] += 1
        self.seconds.append(seconds)

    def called(self, call: str, outcome: str, seconds: float) -> None:
        self.calls[call, outcome] += 1
        self.seconds.append(seconds)

    def broken(self, call: str, broken: bool) -> None:
        self.changes.append((call, broken))


class FakeClock:
    """A clock (s) that only `sleep` or the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def timing(self, backoff: wait_base | None = None) -> Timing:
        """Return a Timing whose clocks are both this one. By default each pause has its full length."""
        return Timing(
            clock=lambda: self.now,
            wall=lambda: self.now,
            sleep=self.sleep,
            backoff=backoff or wait_exponential(multiplier=0.1, max=1),
        )


@dataclass
class Pair:
    """A client, the fake server that it asks, and the record of its requests."""

    fake_sippo: FakeSippo
    client: SippoServer
    watch: RecordingWatch

    def look_up(self, call: ApiCall, name: str = "alice") -> Awaitable[Any]:
        """Start a lookup of one kind."""
        lookups = {
            ApiCall.GROUPS: self.client.group,
            ApiCall.PUSH_DEVICES: self.client.push_devices,
            ApiCall.REACHABILITY: self.client.reachability,
        }
        return lookups[call](name)


def wac_of(address: str, **settings: Any) -> Wac:
    """Return the section `wac` for this address; settings by their names in the file."""
    wac = {"address": address, "username": "admin@quobis", "password": PASSWORD, **settings}
    return parse({"invites": {"basic": {"wac": wac}}}).invites.basic.wac


@contextlib.asynccontextmanager
async def pair(
    *, timing: Timing | None = None, token_lifetime: float = 3600.0, password: str = PASSWORD, **settings: Any
) -> AsyncIterator[Pair]:
    """Connect a client to a fake server; at the end neither may leave a task or a connection.

    Without limits of its own a test has generous ones, because a hundred calls at once may take seconds.
    """
    before = asyncio.all_tasks()
    if timing is None and not {"timeout", "deadline"} & settings.keys():
        settings |= {"timeout": 20_000, "deadline": 60_000}
    async with FakeSippo(directory(), password=password, token_lifetime=token_lifetime) as fake_sippo:
        watch = RecordingWatch()
        async with SippoServer(wac_of(fake_sippo.address, **settings), watch=watch, timing=timing) as client:
            yield Pair(fake_sippo, client, watch)
        assert {task for task in asyncio.all_tasks() - before if "sippo" in task.get_name()} == set()
        await wait_until(
            lambda: fake_sippo.open_connections == 0, "the fake sippo-server has no connection left"
        )
    assert asyncio.all_tasks() - before == set()


async def fails(call: Awaitable[object], *reasons: CallOutcome) -> NoAnswer:
    """Await a call that must end without an answer for one of these reasons; return the error."""
    with pytest.raises(NoAnswer) as caught:
        await call
    assert caught.value.reason in reasons, caught.value
    return caught.value


async def outcomes(calls: list[Awaitable[object]]) -> Counter[str]:
    """Make calls concurrently and count their results: reason of a NoAnswer, or type of the result."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    return Counter(
        result.reason if isinstance(result, NoAnswer) else type(result).__name__ for result in results
    )
