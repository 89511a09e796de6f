"""URLs that a client refuses before it connects, and how it packs commands."""

import pytest
from redis.exceptions import DataError

from invites.connection.clients import BLOCK_MS, Clients, connect, find_server
from invites.keys import Keys

CLUSTER = "redis+cluster://127.0.0.1:1"
UNIX = "unix:///tmp/none.sock"


@pytest.mark.parametrize("block_ms", [-1, BLOCK_MS + 1])
def test_a_read_may_not_wait_longer_than_connections_last(block_ms: int) -> None:
    with pytest.raises(ValueError, match=rf"block_ms must be from 0 to {BLOCK_MS}, not {block_ms}"):
        connect("redis://127.0.0.1:1/0", "test", block_ms=block_ms)


def test_a_client_for_a_cluster_must_know_its_shard() -> None:
    with pytest.raises(ValueError, match="needs the keys of its shard"):
        connect(CLUSTER, "test")


async def test_shards_share_a_client_unless_they_are_on_a_cluster() -> None:
    first, second = Keys(shard=0, shards=2), Keys(shard=1, shards=2)
    for url, shared in (("redis://127.0.0.1:1/0", True), (UNIX, True), (CLUSTER, False)):
        async with Clients(url, "test") as clients:
            assert clients.of(first) is clients.of(first)
            assert (clients.of(first) is clients.of(second)) == shared


async def test_a_socket_needs_no_search() -> None:
    assert (await find_server(UNIX, Keys())).reveal() == UNIX


async def test_a_command_of_two_words_is_two_arguments_and_only_values_go_over_the_wire() -> None:
    async with connect(UNIX, "test") as client:
        connection = client.connection_pool.make_connection()
        assert connection.pack_command("CONFIG GET", "save") == [
            b"*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$4\r\nsave\r\n"
        ]
        assert connection.pack_command(b"SET", "a b", 5) == [b"*3\r\n$3\r\nSET\r\n$3\r\na b\r\n$1\r\n5\r\n"]
        with pytest.raises(DataError):
            connection.pack_command("SET", "a", None)
