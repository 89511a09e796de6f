"""`invites check`: the connections of a worker with many shards."""

from __future__ import annotations

import resource

import pytest

from workers.cli.check.connections import check_connections


@pytest.mark.parametrize(
    ("shards", "servers", "maxclients", "files", "verdict", "words"),
    [
        (64, 1, 10_000, 1_024, "ok", "up to 640 connections"),
        (64, 1, 10_000, 256, "FAIL", "may open 256 files: raise `ulimit -n`"),
        (64, 1, 500, 1_024, "FAIL", "the server takes 500: raise `maxclients`"),
        (64, 3, 500, 1_024, "ok", ""),
        (65, 1, 10_000, resource.RLIM_INFINITY, "warn", "Up to 64 shards are measured"),
        (1_024, 1, 10_000, 20_000, "FAIL", "up to 10240 connections, but the server takes 10000"),
    ],
)
def test_connections_are_compared_with_what_is_allowed(
    shards: int, servers: int, maxclients: int, files: int, verdict: str, words: str
) -> None:
    found = check_connections(shards, [{"maxclients": maxclients}] * servers, files)
    assert found.verdict == verdict
    assert words in found.text


def test_a_server_that_does_not_say_how_many_it_takes() -> None:
    assert check_connections(2, [{}], 1_024).verdict == "ok"
