"""`invites probe` against workers in this process: what it measures, what it leaves, and how it fails."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from invites.config import Config, Invites, Redis
from invites.keys import PROBE_GROUPS, Keys, shard_of
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Streams, running, worker
from workers.cli.probe import line_of, status_of
from workers.probe import Measured, Place, measure

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commands import Commands
    from tests.support.proxy import Proxy

SHARDS = 3


def place(url: str, shard: int = 0, shards: int = 1) -> Place:
    return Place(url, "invites", shard, shards, "probed")


class Ended(NamedTuple):
    status: int
    out: str
    err: str


async def start(url: str, *options: str) -> asyncio.subprocess.Process:
    command = ("-m", "workers", "probe", "--redis-url", url, *options)
    return await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def end(process: asyncio.subprocess.Process) -> Ended:
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def test_each_shard_is_measured_and_nothing_is_left(
    client: Any, valkey_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"redis": {"shards": SHARDS}}))
    for number in range(SHARDS):  # unread notifications stay
        await client.xgroup_create(f"invites:{{{number}}}:notifications", "services", "0", mkstream=True)
    async with running(Config(redis=Redis(shards=SHARDS)), valkey_url):
        ended = await end(await start(valkey_url, "--config", str(file), "--json", "--slo", "60000"))
        assert (ended.status, ended.err) == (0, "")
        found = json.loads(ended.out)
        assert (found["status"], found["slo"]) == (0, 60_000)
        for number, shard in enumerate(found["shards"]):
            assert (shard["shard"], shard["error"]) == (number, None)
            assert 0 < shard["ringMs"] < 60_000
            assert 0 < shard["stopMs"] < 60_000
        for number in range(SHARDS):
            keys = Keys(shard=number, shards=SHARDS)
            await wait_until(partial(_none, client, f"{keys.base}registry:*"), "they are unregistered")
            told = [fields[b"type"] for _, fields in await client.xrange(keys.notifications)]
            assert b"invitation" in told
            assert b"INVITE_COMPLETED" not in told
            groups = await client.xinfo_groups(keys.notifications)
            assert [one for one in groups if one["name"].startswith(PROBE_GROUPS.encode())] == []


async def _none(client: Any, pattern: str) -> bool:
    return not [key async for key in client.scan_iter(match=pattern)]


async def test_beyond_the_objective_the_status_is_1(valkey_url: str, proxy: Proxy) -> None:
    proxy.delay_s = 0.03
    async with worker(valkey_url):
        found = [await measure(place(proxy.url), 15)]
    assert status_of(found, 20) == 1
    assert line_of(found, 20).startswith("LATE, beyond 20 ms: shard 0: ring ")


@pytest.mark.parametrize(
    ("ring", "stop", "error", "status", "line"),
    [
        (3.0, 99.5, None, 0, "OK: 2 shards, ring 3 ms and stop 99.5 ms at most"),
        (3.0, 100.5, None, 1, "LATE, beyond 100 ms: shard 1: ring 3 ms, stop 100.5 ms"),
        (101.0, None, "no cancel", 2, "FAILED: shard 1: no cancel"),
    ],
)
def test_the_worst_shard_decides(
    ring: float, stop: float | None, error: str | None, status: int, line: str
) -> None:
    found = [Measured(0, 2.0, 1.0, None), Measured(1, ring, stop, error)]
    assert (status_of(found, 100), line_of(found, 100)) == (status, line)


@pytest.mark.leaks  # the layout is written by hand
def test_a_part_of_the_shards_is_not_probed(commands: Commands, database: Any) -> None:
    database.set(KEYS.layout, "3")
    ended = commands.on_server("probe")
    assert (ended.status, ended.out) == (2, "")
    assert "set redis.shards to 3" in ended.err
    assert database.keys() == [KEYS.layout.encode()]


@pytest.mark.leaks
def test_a_probe_that_may_not_read_the_number_of_shards_calls(commands: Commands, database: Any) -> None:
    database.set(KEYS.layout, "3")
    database.execute_command("ACL", "SETUSER", "probe", "reset", "on", "nopass", "~*", "+@all", "-get")
    url = commands.url.replace("redis://", "redis://probe:x@")
    ended = commands.run("probe", "--redis-url", url, "--timeout", "0.1")
    database.execute_command("ACL", "DELUSER", "probe")
    assert (ended.status, ended.out) == (2, "FAILED: shard 0: no worker has answered within 0.1 s\n")
    assert ended.err.count(f"The server's user may not GET {KEYS.layout}") == 1


@pytest.mark.leaks
async def test_without_a_worker_the_status_is_2_and_the_devices_are_unregistered(streams: Streams) -> None:
    measured = await measure(place("redis://" + _address(streams)), 0.3)
    assert measured == Measured(0, None, None, "no worker has answered within 0.3 s")
    published = await _published(streams)
    assert [kind for kind, _ in published] == ["registered"] * 2 + ["getInvitations"] + ["unregistered"] * 2
    assert all(payload["registry"]["expires"] == 60_000 for _, payload in published[:2])


@pytest.mark.leaks
async def test_interrupted_it_unregisters_its_devices(streams: Streams, valkey_url: str) -> None:
    process = await start(valkey_url)
    await wait_until(lambda: _is_published(streams, "getInvitations"), "the probe waits for a worker")
    process.send_signal(signal.SIGTERM)
    ended = await end(process)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == "invites: The probe was interrupted.\n"
    assert [kind for kind, _ in await _published(streams)][-2:] == ["unregistered"] * 2


async def _is_published(streams: Streams, kind: str) -> bool:
    return kind in [each for each, _ in await _published(streams)]


async def _published(streams: Streams) -> list[tuple[str, Any]]:
    return [
        (fields[b"type"].decode(), json.loads(fields[b"payload"]))
        for _, fields in await streams.client.xrange(KEYS.events)
    ]


def _address(streams: Streams) -> str:
    options = streams.client.connection_pool.connection_kwargs
    return f"{options['host']}:{options['port']}"


async def test_several_at_once_do_not_disturb_each_other(valkey_url: str, streams: Streams) -> None:
    async with running(Config(invites=Invites(when_busy="reject")), valkey_url):
        found = await asyncio.gather(*(measure(place(valkey_url), 15) for _ in range(5)))
    assert [each.error for each in found] == [None] * 5
    assert len(await streams.payloads("inviteAccepted")) == 5
    assert "userBusy" not in [kind for _, kind, _ in await streams.notifications()]


@pytest.mark.leaks
async def test_one_shard_that_settles_no_call_is_found(client: Any, valkey_url: str) -> None:
    await client.set("invites:{1}:timers", "no sorted set")
    async with running(Config(redis=Redis(shards=SHARDS)), valkey_url):
        found = await asyncio.gather(
            *(measure(place(valkey_url, shard, SHARDS), 15 if shard != 1 else 1.5) for shard in range(SHARDS))
        )
    assert [each.error for each in found] == [None, "no invitation within 1.5 s", None]


@pytest.mark.leaks
async def test_a_call_that_is_rejected_is_no_measurement(client: Any, valkey_url: str) -> None:
    """One that rings until then is stopped at the end."""
    async with worker(valkey_url, max_ring_timeout=1, ring_timeout=1):
        measured = await measure(place(valkey_url), 15)
        for _ in range(20):
            if measured.error is None:  # the accept has come before the timer
                measured = await measure(place(valkey_url), 15)
    assert measured.stop_ms is None
    assert measured.error is not None
    assert " 408 timeout" in measured.error or measured.error.startswith("the accept was answered 410")
    assert await client.xlen(KEYS.dead) == 0


@pytest.mark.parametrize("shard", [0, 41, 63])
def test_its_names_lie_in_the_shard(shard: int) -> None:
    assert shard_of(place("", shard, 64).draw("x"), 64) == shard
