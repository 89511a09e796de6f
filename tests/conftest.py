"""Servers for the tests: fakeredis for the fast inner loop, a real Valkey and a real Redis."""

import contextlib
import os
import zlib
from collections.abc import AsyncIterator, Iterator

import fakeredis
import pytest
from redis.asyncio import Redis

from invites.connection.clients import Clients
from invites.keys import Keys
from invites.store.settings import Settings
from tests.support.leaks import assert_nothing_leaks
from tests.support.servers import binaries
from tests.support.servers.cluster import Cluster
from tests.support.servers.node import Node
from tests.support.shard import MakeShard, Server, Shard
from tests.support.shards import Growing, Shards
from workers.lab.embedded import EmbeddedValkey


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[str]:
    """URL of an embedded Valkey (or what INVITES_SERVER names) that lives as long as the tests."""
    with EmbeddedValkey(binary=binaries.SERVER) as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """URL of a Redis that lives as long as the tests."""
    with EmbeddedValkey(binary=binaries.program("redis")) as server:
        yield server.url


@pytest.fixture(scope="session")
def three_nodes() -> Iterator[Cluster]:
    """A cluster of three primaries that lives as long as the tests, and keeps nothing on disk."""
    with Cluster(replicas=False, lasting=False) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def owners(three_nodes: Cluster) -> list[Node]:
    """The node of the cluster that has each of seven shards."""
    return [three_nodes.owner(Keys(shard=number, shards=7).base) for number in range(7)]


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


ONE_SHARD = ("fakeredis", "valkey", "redis")
ON_CLUSTER = "cluster-7-shards"
SEVEN_SHARDS = ("valkey-7-shards", ON_CLUSTER)
GROWING = ("valkey-growing",)
SAMPLED = {"fakeredis": 16, "redis": 8, "valkey-7-shards": 8, "valkey-growing": 16} | (
    {ON_CLUSTER: 4} if binaries.NAMED else {}
)
"""Slow servers that show little that the others do not: one test in this many runs."""

ONE_AFTER_THE_OTHER = {"browser", "chaos"}
"""Folders whose tests need the whole machine, or share a program that takes long to start."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that make shards on each kind of server.

    Unless a test is about one shard alone, it must give the same results with several, and while shards are added.
    """
    if "server" in metafunc.fixturenames:
        several = "make_shard" in metafunc.fixturenames and not metafunc.definition.get_closest_marker(
            "one_shard"
        )
        metafunc.parametrize("server", ONE_SHARD + (SEVEN_SHARDS + GROWING) * several, indirect=True)


@pytest.hookimpl(tryfirst=True)  # pytest-xdist looks for groups after that
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests that the environment does not ask for, and group those that must not run in parallel.

    On some kinds of server (`SAMPLED`) a fixed part of the rules' tests runs; INVITES_SERVERS=all runs all. With
    INVITES_SERVER they run on that server, alone and as a cluster.
    """
    left_out = {item for item in items if _is_elsewhere(item) or _is_sampled(item)}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]
    for item in items:
        folder = item.path.relative_to(config.rootpath / "tests").parts[0]
        if folder in ONE_AFTER_THE_OTHER:
            item.add_marker(pytest.mark.xdist_group(folder))


def _is_elsewhere(item: pytest.Item) -> bool:
    if binaries.NAMED is None or not isinstance(item, pytest.Function):
        return False
    if "redis_server" in item.fixturenames:
        return True
    if not hasattr(item, "callspec"):
        return False
    elsewhere = {"fakeredis", "redis"}.intersection(item.callspec.id.split("-"))
    return bool(elsewhere) or item.callspec.params.get("server", ON_CLUSTER) not in ("valkey", ON_CLUSTER)


def _is_sampled(item: pytest.Item) -> bool:
    if os.environ.get("INVITES_SERVERS") == "all" or not hasattr(item, "callspec"):
        return False
    one_in = SAMPLED.get(item.callspec.params.get("server"), 1)
    return zlib.crc32(item.name.encode()) % one_in != 0


@pytest.fixture
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """Each kind of server in turn."""
    if request.param == "fakeredis":
        async with fakeredis.FakeAsyncRedis() as fake:
            yield Server(lambda _: fake, flags=False)
        return
    if request.param == ON_CLUSTER:
        owners: list[Node] = request.getfixturevalue("owners")
        async with contextlib.AsyncExitStack() as stack:
            clients = {
                node: await stack.enter_async_context(Redis.from_url(node.url)) for node in set(owners)
            }
            for each in clients.values():
                await each.flushall()
            yield Server(lambda keys: clients[owners[keys.shard]], flags=True, shards=7)
        return
    url: str = request.getfixturevalue("redis_server" if request.param == "redis" else "valkey_server")
    async with Redis.from_url(url) as found:
        await found.flushall()
        shards = 7 if request.param in SEVEN_SHARDS else 1
        yield Server(lambda _: found, flags=True, shards=shards, grows=request.param in GROWING, url=url)


@pytest.fixture
async def make_shard(server: Server, request: pytest.FixtureRequest) -> AsyncIterator[MakeShard]:
    """Make the shards of each kind of server; afterwards nothing may be left that cannot expire."""
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
    """One shard with the default settings."""
    return await make_shard()
