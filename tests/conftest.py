"""Servers for the tests: fakeredis for the fast inner loop, real Valkey and, where it is installed, Redis 7.0."""

import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import fakeredis
import pytest
import redis
from redis.asyncio import Redis

from invites.commit import Settings
from invites.embedded import EmbeddedValkey
from tests.driving import Shard
from tests.leaks import assert_nothing_leaks
from tests.waiting import wait_until_sync

MakeShard = Callable[..., Awaitable[Shard]]

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


@pytest.fixture(params=["fakeredis", "valkey", "redis7"])
async def any_client(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Redis, bool]]:
    """A client of each kind of server in turn, emptied, and whether the server knows the line `#!lua`."""
    if request.param == "fakeredis":
        async with fakeredis.FakeAsyncRedis() as fake:
            yield fake, False
        return
    url: str = request.getfixturevalue("valkey_server" if request.param == "valkey" else "redis7_server")
    async with Redis.from_url(url) as found:
        await found.flushall()
        yield found, True


@pytest.fixture
async def make_shard(any_client: tuple[Redis, bool]) -> AsyncIterator[MakeShard]:
    """Make shards (usually one) on each kind of server; afterwards nothing may be left that cannot end by itself."""
    found, flags = any_client
    made: list[Shard] = []

    async def make(settings: Settings | None = None) -> Shard:
        made.append(await Shard.make(found, settings, flags=flags))
        return made[-1]

    yield make
    for shard in made:
        await assert_nothing_leaks(shard.client, shard.keys)


@pytest.fixture
async def shard(make_shard: MakeShard) -> Shard:
    """One shard with the settings of an installation that changed nothing."""
    return await make_shard()
