"""Servers for the tests: fakeredis for the fast inner loop, real Valkey and, where it is installed, Redis 7.0."""

import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import fakeredis
import pytest
import redis
from redis.asyncio import Redis

from invites.connection.clients import Clients
from invites.store.settings import Settings
from tests.support.leaks import assert_nothing_leaks
from tests.support.servers.cluster import Cluster
from tests.support.shard import MakeShard, Server, Shard
from tests.support.shards import Growing, Shards
from tests.support.waiting import wait_until_sync
from workers.lab.embedded import EmbeddedValkey

REDIS_SERVER = shutil.which("redis-server")


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[str]:
    """URL of an embedded Valkey 9.1 that lives as long as the tests."""
    with EmbeddedValkey() as server:
        yield server.url


@pytest.fixture(scope="session")
def redis7_server() -> Iterator[str]:
    """URL of a Redis 7.0, where Debian's package is installed."""
    if REDIS_SERVER is None:
        pytest.skip("redis-server is not installed")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "redis.sock")
        process = subprocess.Popen(
            [REDIS_SERVER, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        try:
            url = f"unix://{path}"
            _wait_for(url)
            yield url
        finally:
            process.kill()
            process.wait()


def _wait_for(url: str) -> None:
    def answers() -> bool:
        try:
            with redis.Redis.from_url(url) as probe:
                return bool(probe.ping())
        except redis.ConnectionError:
            return False

    wait_until_sync(answers, f"{url} answers")


@pytest.fixture(scope="session")
def three_nodes() -> Iterator[Cluster]:
    """A cluster of three primaries that lives as long as the tests."""
    with Cluster(replicas=False) as cluster:
        yield cluster


@pytest.fixture
async def valkey_url(valkey_server: str) -> str:
    """URL of the Valkey, emptied for this test."""
    async with Redis.from_url(valkey_server) as client:
        await client.flushall()
        await client.script_flush()
    return valkey_server


@pytest.fixture
async def client(valkey_url: str) -> AsyncIterator[Redis]:
    """A client of the Valkey that answers bytes."""
    async with Redis.from_url(valkey_url) as found:
        yield found


ONE_SHARD = ("fakeredis", "valkey", "redis7")
ON_CLUSTER = "cluster-7-shards"
SEVEN_SHARDS = ("valkey-7-shards", ON_CLUSTER)
GROWING = ("valkey-growing",)
SAMPLED = ("fakeredis", *GROWING)
"""What takes long and shows little that the others do not."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what makes shards on each kind of server.

    Unless it is about one shard alone, it has to go the same way with several, and while there become more of them.
    """
    if "server" in metafunc.fixturenames:
        several = "make_shard" in metafunc.fixturenames and not metafunc.definition.get_closest_marker(
            "one_shard"
        )
        metafunc.parametrize("server", ONE_SHARD + (SEVEN_SHARDS + GROWING) * several, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the rules on some kinds of server play every fourth test, the same ones; INVITES_SERVERS=all plays all."""
    if os.environ.get("INVITES_SERVERS") == "all":
        return
    left_out = {item for item in items if _is_sampled(item) and zlib.crc32(item.name.encode()) % 4}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def _is_sampled(item: pytest.Item) -> bool:
    if not (isinstance(item, pytest.Function) and hasattr(item, "callspec")):
        return False
    return item.callspec.params.get("server") in SAMPLED


@pytest.fixture
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """Each kind of server in turn."""
    if request.param == "fakeredis":
        async with fakeredis.FakeAsyncRedis() as fake:
            yield Server(lambda _: fake, flags=False)
        return
    if request.param == ON_CLUSTER:
        cluster: Cluster = request.getfixturevalue("three_nodes")
        for node in cluster.nodes:
            node.command("FLUSHALL")
        async with Clients(cluster.url, "tests") as clients:
            yield Server(clients.of, flags=True, shards=7)
        return
    url: str = request.getfixturevalue("redis7_server" if request.param == "redis7" else "valkey_server")
    async with Redis.from_url(url) as found:
        await found.flushall()
        shards = 7 if request.param in SEVEN_SHARDS else 1
        yield Server(lambda _: found, flags=True, shards=shards, grows=request.param in GROWING, url=url)


@pytest.fixture
async def make_shard(server: Server, request: pytest.FixtureRequest) -> AsyncIterator[MakeShard]:
    """Make what each kind of server has; afterwards nothing may be left that cannot end by itself."""
    made: list[Shard] = []

    async def make(settings: Settings | None = None) -> Shard:
        if server.grows:
            growing = await Growing.make_several(server.client_of, settings, 1)
            growing.grow_by(Clients(server.url, "moving"), seed=zlib.crc32(request.node.name.encode()))
            made.append(growing)
        elif server.shards == 1:
            made.append(await Shard.make(server.client, settings, flags=server.flags))
        else:
            made.append(await Shards.make_several(server.client_of, settings, server.shards))
        return made[-1]

    yield make
    for shard in made:
        if isinstance(shard, Growing):
            await shard.close()
        for keys in shard.all_keys:
            await assert_nothing_leaks(shard.client_of(keys), keys)


@pytest.fixture
async def shard(make_shard: MakeShard) -> Shard:
    """One shard with the settings of an installation that changed nothing."""
    return await make_shard()
