"""Deadlines with real workers: in time, once, and after a time in which workers were frozen."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from invites.config import Config, Invites
from invites.config.sections import Limits
from invites.keys import WORKERS_GROUP
from invites.store.answers import FireResult
from invites.store.commit import Committer
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Streams, process, running, worker
from workers.roles.timers import Timers

UNLIMITED = Config(invites=Invites(claim_after=300, redial="ring", limits=Limits(per_callee=0, per_pair=0)))

BOB = {"registry": {"id": "b1", "user": "bob"}}


def invite(number: int, expires: int) -> dict[str, object]:
    return {
        "peer": {"id": "a1", "user": "alice"},
        "to": "bob",
        "inviteId": f"call-{number}",
        "room": "r1",
        "expires": expires,
    }


async def records(streams: Streams) -> list[dict[str, Any]]:
    return await streams.payloads("INVITE_COMPLETED")


async def test_a_deadline_that_a_commit_has_set_is_kept(
    streams: Streams, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker knows the deadline from its own commit, and asks for none."""
    monkeypatch.setattr("workers.roles.timers._LONGEST_S", 600.0)
    monkeypatch.setattr(Timers, "seen", lambda *_: None)
    async with worker(valkey_url):
        await streams.publish("registered", BOB)
        entry = await streams.publish("invite", invite(1, 150))
        await streams.heard("INVITE_COMPLETED")
    record = (await records(streams))[0]
    assert record["error"] == 408
    assert record["endedAt"] >= int(entry.split("-")[0]) + 150


async def test_a_deadline_of_another_worker_is_kept(streams: Streams, valkey_url: str) -> None:
    async with worker(valkey_url) as first, worker(valkey_url):
        await streams.publish("registered", BOB)
        await streams.publish("invite", invite(1, 400))
        await streams.heard("invitation")
        await first.drain()
        await streams.heard("INVITE_COMPLETED")


async def test_many_deadlines_at_once_are_each_kept_once(
    streams: Streams, client: Redis, valkey_url: str
) -> None:
    first, second, third = (running(UNLIMITED, valkey_url) for _ in range(3))
    async with first, second, third:
        await streams.publish("registered", BOB)
        await wait_until(lambda: _exists(client, KEYS.registry("bob")), "bob is registered")
        for number in range(1_000):
            await streams.publish("invite", invite(number, 2_000))
        await streams.heard("INVITE_COMPLETED", 1_000)
    ends = Counter((record["inviteId"], record["error"]) for record in await records(streams))
    assert ends == {(f"call-{number}", 408): 1 for number in range(1_000)}


async def _exists(client: Redis, key: str) -> bool:
    return bool(await client.exists(key))


async def test_what_was_said_in_time_counts_after_a_time_without_workers(
    streams: Streams, valkey_url: str
) -> None:
    async with running(UNLIMITED, valkey_url) as first:
        await streams.publish("registered", BOB)
        for number in range(CALLS):
            await streams.publish("invite", invite(number, 3_000))
        deadline = (await streams.client.time())[0] * 1000 + 4_000
        await streams.heard("invitation", CALLS)
        await first.drain()
    await _accept_in_time(streams)
    await _pass(streams.client, deadline)
    assert await records(streams) == []
    async with running(UNLIMITED, valkey_url):
        await streams.heard("INVITE_COMPLETED", CALLS)
    assert {record["error"] for record in await records(streams)} == {200}


CALLS = 8


async def _ring(streams: Streams, expires: int) -> int:
    """Let calls to Bob ring for `expires` ms, once a worker is there, and return the first deadline."""
    await streams.publish("registered", BOB)
    await wait_until(lambda: _exists(streams.client, KEYS.registry("bob")), "bob is registered")
    entries = [await streams.publish("invite", invite(number, expires)) for number in range(CALLS)]
    await streams.heard("invitation", CALLS)
    return int(entries[0].split("-")[0]) + expires


async def _accept_in_time(streams: Streams) -> None:
    """Accept as if right behind the last invite: the entry's id decides, not when the test comes to it."""
    last: bytes = (await streams.client.xinfo_stream(KEYS.events))["last-generated-id"]
    for number in range(CALLS):
        accept = {"peer": {"id": "b1", "user": "bob"}, "from": "alice", "inviteId": f"call-{number}"}
        fields = {"type": "accept", "payload": json.dumps(accept)}
        await streams.client.xadd(KEYS.events, fields, id=f"{last.decode().partition('-')[0]}-*")


async def _all_accepted(streams: Streams) -> None:
    await streams.heard("INVITE_COMPLETED", CALLS)
    assert [record["error"] for record in await records(streams)] == [200] * CALLS


async def _pass(client: Any, deadline: int) -> None:
    async def over() -> bool:
        seconds, micros = await client.time()
        return bool(int(seconds) * 1000 + int(micros) // 1000 > deadline)

    await wait_until(over, "the deadline has passed")


async def test_an_accept_in_time_counts_while_the_only_worker_is_stopped(
    streams: Streams, valkey_url: str, tmp_path: Path
) -> None:
    async with process(valkey_url, tmp_path, {"redial": "ring"}) as only:
        deadline = await _ring(streams, 1_500)
        only.send_signal(signal.SIGSTOP)
        await _accept_in_time(streams)
        await _pass(streams.client, deadline)
        only.send_signal(signal.SIGCONT)
        await _all_accepted(streams)


async def test_an_accept_in_time_counts_when_the_worker_that_has_read_it_is_stopped(
    streams: Streams, valkey_url: str, tmp_path: Path
) -> None:
    async with process(valkey_url, tmp_path, {"redial": "ring"}) as stopped:
        await _ring(streams, 1_500)
        stopped.send_signal(signal.SIGSTOP)
        await _accept_in_time(streams)
        assert await streams.pending() > 0
        async with worker(valkey_url, claim_after=2_000):
            await _all_accepted(streams)


async def test_an_accept_in_time_counts_while_the_workers_network_is_cut(
    streams: Streams, proxy: Proxy
) -> None:
    async with worker(proxy.url):
        deadline = await _ring(streams, 1_500)
        await proxy.down()
        await _accept_in_time(streams)
        await _pass(streams.client, deadline)
        await proxy.up()
        await _all_accepted(streams)


async def test_while_a_timer_waits_commits_do_not_make_the_worker_look_more_often(
    streams: Streams, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    fire = Committer.fire

    async def counted(committer: Committer, limit: int, patience: int) -> FireResult:
        looks.append(patience)
        return await fire(committer, limit, patience)

    monkeypatch.setattr(Committer, "fire", counted)
    await streams.make_group()
    await streams.ask(0, 1)
    (unsettled,) = await streams.strand(1)
    async with worker(valkey_url, claim_after=600_000):
        await _pass(streams.client, await _ring(streams, 500))
        looks.clear()
        started = time.monotonic()
        for number in range(1, 101):
            await streams.ask(number, 1)
            await streams.heard("answer", number)
        every_50_ms = (time.monotonic() - started) / 0.05
        assert len(looks) <= every_50_ms + 2
        assert await records(streams) == []
        await streams.client.xack(KEYS.events, WORKERS_GROUP, unsettled)
        await streams.heard("INVITE_COMPLETED", CALLS)
    assert {record["error"] for record in await records(streams)} == {408}


async def test_events_are_committed_in_the_order_of_the_stream(streams: Streams, valkey_url: str) -> None:
    await streams.make_group()
    await streams.ask(0, 3_000)
    async with worker(valkey_url):
        await streams.told(3_000)
    assert await streams.answers() == list(range(3_000))
