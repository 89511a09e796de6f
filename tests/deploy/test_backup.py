"""The backup of deploy/README.md, as its user `admin` makes it, brings the calls back."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.deploy import installations
from tests.support.servers import binaries
from tests.support.waiting import wait_until_sync

INVITE, EVENTS = "invites:{0}:invite:alice|i1|bob", "invites:{0}:events"


@contextmanager
def _started(kind: str, port: int, secrets: Path, folder: Path) -> Iterator[None]:
    with installations.start_server(kind, port, secrets / "users.acl", folder) as server:
        wait_until_sync(lambda: "Ready to accept connections" in server.output(), "the server is up")
        yield


def _shown() -> list[list[str]]:
    """The commands of the section, in their order, without their comments."""
    page = (installations.DEPLOY / "README.md").read_text("utf-8")
    (section,) = re.findall(r"## Backup and restore\n.*?```sh\n(.*?)```", page, re.DOTALL)
    return [shlex.split(line, comments=True)[2:] for line in section.splitlines()]


@pytest.mark.parametrize("kind", binaries.KINDS)
def test_a_backup_brings_calls_back(kind: str, tmp_path: Path, unused_tcp_port: int) -> None:
    secrets = installations.make_secrets(tmp_path, f"127.0.0.1:{unused_tcp_port}")
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    urls = [(secrets / f"{user}.url").read_text() for user in ("worker", "admin")]
    with (
        redis.Redis.from_url(urls[0], driver_info=None, decode_responses=True) as worker,
        redis.Redis.from_url(urls[1], driver_info=None, decode_responses=True) as admin,
    ):
        with _started(kind, unused_tcp_port, secrets, first):
            # A commit is a transaction in the append-only file. Redis 7.0 loads it with the rights of `default`.
            with worker.pipeline(transaction=True) as commit:
                commit.hset(INVITE, "state", "PENDING")
                commit.xgroup_create(EVENTS, "workers", "0", mkstream=True)
                commit.execute()
            for command, *words in _shown():
                if command == "cp":
                    assert words == ["valkey:/data/appendonlydir", "backup"]
                    shutil.copytree(first / "appendonlydir", second / "appendonlydir")
                elif words[2:4] == ["INFO", "persistence"]:
                    found = admin.info("persistence")
                    assert (found["aof_rewrite_in_progress"], found["aof_rewrite_scheduled"]) == (0, 0)
                else:
                    assert admin.execute_command(*words[2:])
            worker.hset(INVITE, "state", "ACCEPTED")
        with next((second / "appendonlydir").glob("*.incr.aof")).open("ab") as cut:
            cut.write(b"*3\r\n$3\r\nSET\r\n$7\r\ninv")
        with _started(kind, unused_tcp_port, secrets, second):
            assert worker.hget(INVITE, "state") == "PENDING"
            assert [group["name"] for group in worker.xinfo_groups(EVENTS)] == ["workers"]
