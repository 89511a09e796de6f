"""What `invites check` and other commands tell operators about sentinels, clusters and replicas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from invites.keys import Keys
from tests.support.commands import Commands, Ended
from tests.support.servers.cluster import Cluster
from tests.support.servers.node import HOST
from tests.support.servers.replicated import Replicated
from tests.support.waiting import wait_until_sync

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = Keys()


@pytest.fixture(scope="module")
def replicated() -> Iterator[Replicated]:
    with Replicated() as found:
        yield found


def lines(ended: Ended) -> dict[str, tuple[str, str]]:
    """Name of the check -> verdict and text."""
    assert ended.err == ""
    return {line[6:20].strip(): (line[:4].strip(), line[20:]) for line in ended.out.splitlines()}


def test_sentinels_that_agree(replicated: Replicated, capsys: pytest.CaptureFixture[str]) -> None:
    ended = Commands(capsys, replicated.url).on_server("check")
    found = lines(ended)
    assert ended.status == 0
    primary = f"{HOST}:{replicated.primary.port}"
    assert found["sentinels"] == ("ok", f"All 3 name {primary} as the primary of 'calls'.")
    assert found["replicas"] == ("ok", "1 can take over.")


def test_a_service_that_no_sentinel_knows(replicated: Replicated, capsys: pytest.CaptureFixture[str]) -> None:
    ended = Commands(capsys, replicated.url.replace("/calls", "/cals")).on_server("check")
    assert ended.status == 1
    verdict, text = lines(ended)["sentinels"]
    assert verdict == "FAIL"
    assert text.startswith("No sentinel names the primary of 'cals'")
    assert text.count("does not know 'cals'") == 3


def test_a_server_that_is_no_sentinel(replicated: Replicated, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"redis+sentinel://{HOST}:{replicated.primary.port}/calls"
    ended = Commands(capsys, url).on_server("check")
    assert ended.status == 1
    assert "unknown command 'SENTINEL'" in lines(ended)["sentinels"][1]


def test_sentinels_that_want_a_password_of_their_own(
    replicated: Replicated, capsys: pytest.CaptureFixture[str]
) -> None:
    """The password of the URL is not theirs: both lines, and other commands, name the options that are."""
    with Redis(host=HOST, port=replicated.primary.port) as server:
        server.config_set("requirepass", "secret")
    url = f"redis+sentinel://:secret@{HOST}:{replicated.primary.port}/calls"
    ended = Commands(capsys, url).on_server("check")
    asked = Commands(capsys, url).on_server("status")
    with Redis(host=HOST, port=replicated.primary.port, password="secret") as server:
        server.config_set("requirepass", "")
    found = lines(ended)
    advice = "): check sentinel_username and sentinel_password in redis.url."
    assert (ended.status, asked.status) == (1, 1)
    assert found["sentinels"][1].endswith(advice)
    assert found["redis"][1].endswith(advice)
    assert asked.err.strip().endswith(advice)


def test_a_sentinel_and_a_replica_that_are_gone(
    replicated: Replicated, capsys: pytest.CaptureFixture[str]
) -> None:
    commands, gone = Commands(capsys, replicated.url), replicated.sentinels[2]
    primary, replica = replicated.primary, replicated.replica
    gone.kill()
    replica.kill()
    try:
        wait_until_sync(
            lambda: lines(commands.on_server("check"))["replicas"][0] == "warn", "the loss has been noticed"
        )
        ended = commands.on_server("check")
        verdict, text = lines(ended)["sentinels"]
        assert (ended.status, verdict) == (0, "warn")
        assert text.startswith(f"Only 2 of 3 name {HOST}:{primary.port} as the primary of 'calls'")
        assert f"{HOST}:{gone.port}" in text
        assert "No replica can take over" in lines(ended)["replicas"][1]
    finally:
        gone.start()
        replica.start()


def test_a_cluster_with_and_without_all_slots(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    commands, owner = Commands(capsys, cluster.url), cluster.owner(KEYS.events)
    found = lines(commands.on_server("check"))
    assert found["cluster"] == ("ok", "State ok, all 16384 slots on 3 primaries.")
    verdict, text = found["shard 0"]
    assert verdict == "warn"
    assert text.startswith(f"All keys are in slot 13907 on {HOST}:{owner.port} without a replica")

    for node in cluster.nodes:
        node.command("CLUSTER", "DELSLOTS", 0)
    try:
        ended = commands.on_server("check")
        verdict, text = lines(ended)["cluster"]
        assert (ended.status, verdict) == (1, "FAIL")
        assert "no node serves 1 of 16384 slots" in text
    finally:
        cluster.nodes[0].command("CLUSTER", "ADDSLOTS", 0)
    wait_until_sync(
        lambda: lines(commands.on_server("check"))["cluster"][0] == "ok", "all slots are served again"
    )


def test_a_node_of_a_cluster_is_no_single_server(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    owner = cluster.owner(KEYS.events)
    there = lines(Commands(capsys, owner.url).on_server("check"))
    assert there["cluster"][0] == "warn"
    assert "use `redis+cluster://` in `redis.url`" in there["cluster"][1]

    commands = Commands(capsys, cluster.other_primary(owner).url)
    assert commands.on_server("check").status == 1
    status = commands.on_server("status")
    assert (status.status, "For a cluster, use `redis+cluster://`" in status.err) == (1, True)
    config = tmp_path / "config.json"
    config.write_text('{"http": {"port": 0}}')
    running = commands.on_server("run", "--config", str(config))
    assert running.status == 1
    assert "use `redis+cluster://` in `redis.url`" in running.err


def test_a_command_while_the_shard_moves_says_so(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = Commands(capsys, cluster.url)
    source, target = cluster.begin_move(KEYS.events)
    ended = commands.on_server("publish", "roomClosed", '{"roomId": "r"}')
    assert ended.status == 1
    assert "is moving the shard to another node" in ended.err
    assert "try again in a moment" in ended.err
    cluster.finish_move(KEYS.events, source, target)
    assert commands.on_server("publish", "roomClosed", '{"roomId": "r"}').status == 0
    assert cluster.owner(KEYS.events) is target
