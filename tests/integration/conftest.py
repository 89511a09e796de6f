"""Clients, the command line, a proxy and a fake sippo-server: the surroundings of the workers of these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis
from redis.asyncio import Redis

from invites.connection.clients import connect
from invites.keys import Keys
from tests.support import pushes
from tests.support.commands import Commands
from tests.support.leaks import assert_nothing_leaks
from tests.support.proxy import Proxy
from tests.support.servers.cluster import Cluster
from tests.support.site import TOKEN, Open, Site, config, sites
from tests.support.worker import Streams
from workers.lab.fake_sippo import FakeSippo


@pytest.fixture(autouse=True)
async def _nothing_leaks(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """After a test on the emptied Valkey look for leaks in each shard, unless the test is marked with `leaks`."""
    yield
    if "valkey_url" not in request.fixturenames or request.node.get_closest_marker("leaks"):
        return
    async with Redis.from_url(request.getfixturevalue("valkey_server")) as client:
        for number in range(7):
            await assert_nothing_leaks(client, Keys(shard=number, shards=7))


@pytest.fixture
def database(valkey_server: str) -> Iterator[redis.Redis]:
    """A client of the emptied Valkey for tests without a loop of their own."""
    with redis.Redis.from_url(valkey_server) as found:
        found.flushall()
        yield found


@pytest.fixture
def commands(
    capsys: pytest.CaptureFixture[str], valkey_server: str, monkeypatch: pytest.MonkeyPatch
) -> Commands:
    """The command line, with nothing in the environment."""
    for name in ("INVITES_REDIS_URL", "INVITES_WAC_PASSWORD", "INVITES_HTTP_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    return Commands(capsys, valkey_server)


@pytest.fixture
async def site_for(valkey_url: str) -> AsyncIterator[Open]:
    """Starts HTTP servers of workers."""
    async with sites(valkey_url) as start:
        yield start


@pytest.fixture
async def site(site_for: Open) -> Site:
    return await site_for(config(token=TOKEN))


@pytest.fixture
async def command_client(valkey_url: str) -> AsyncIterator[Any]:
    """A client of the emptied Valkey like that of the commands."""
    async with connect(valkey_url, "tests") as found:
        yield found


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster of three primaries for all tests of a file."""
    with Cluster(replicas=False) as found:
        yield found


@pytest.fixture
def streams(client: Redis) -> Streams:
    """The streams of the emptied Valkey: events in, notifications out."""
    return Streams(client)


@pytest.fixture
def jobs(streams: Streams) -> pushes.Jobs:
    """Its push stream."""
    return pushes.Jobs(streams)


@pytest.fixture
def in_good_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker reads its first job in good time, however long it takes to start."""
    monkeypatch.setattr("invites.lookup.pushes.AT_MOST_MS", 60_000)


@pytest.fixture
async def proxy(valkey_url: str) -> AsyncIterator[Proxy]:
    """A proxy in front of the emptied Valkey."""
    async with Proxy(int(valkey_url.rpartition(":")[2].partition("/")[0])) as found:
        yield found


@pytest.fixture
async def fake_sippo() -> AsyncIterator[FakeSippo]:
    """A fake sippo-server that knows devices to push to."""
    async with FakeSippo(pushes.directory()) as found:
        yield found
