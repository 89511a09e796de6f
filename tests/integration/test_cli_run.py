"""`invites run`: a worker as a process, with its log and its HTTP server."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from invites import SERVICE
from tests.support.commands import Commands, Running
from tests.support.seeds import ALICE, KEYS, event
from tests.support.waiting import wait_until_sync


class Worker(Running):
    """`invites run`, which may open `files` files. The shell command `before` runs first."""

    def __init__(self, *arguments: str, files: int = 1024, before: str = ":") -> None:
        super().__init__("run", *arguments, most_files=files, before=before)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in the log."""

        def found() -> re.Match[str] | None:
            return next(filter(None, (re.search(pattern, line) for line in self.log)), None)

        wait_until_sync(lambda: found() is not None, f"the log shows {pattern}")
        match = found()
        assert match is not None
        return match

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        """Ask its HTTP server: status and JSON."""
        port = self.wait_for(r"HTTP on 127\.0\.0\.1 port (\d+)")[1]
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=15)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, json.load(answer)


@pytest.fixture
def configured(tmp_path: Path, commands: Commands) -> Callable[..., list[str]]:
    """Makes a configuration; returns the arguments that use it."""

    def make(**sections: object) -> list[str]:
        file = tmp_path / "config.json"
        url = commands.url.replace("redis://", "redis://:redis-secret@")
        file.write_text(json.dumps({"http": {"port": 0}, "redis": {"url": url}, **sections}), "utf-8")
        file.chmod(0o600)
        return ["--config", str(file)]

    return make


@pytest.fixture
def password(database: redis.Redis) -> Iterator[None]:
    """The server asks for a password."""
    database.execute_command("ACL", "SETUSER", "default", ">redis-secret", "resetpass", ">redis-secret")
    database.connection_pool.connection_kwargs["password"] = "redis-secret"
    yield
    database.execute_command("ACL", "SETUSER", "default", "nopass")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_works_until_a_signal(
    commands: Commands, database: redis.Redis, configured: Callable[..., list[str]], number: int
) -> None:
    event(database, "registered", {"registry": {"id": "b1", "user": "bob"}})
    invite = {"peer": ALICE, "to": "bob", "inviteId": "i1", "room": "r1", "context": {"s": "\u2028\x85\x1b/"}}
    event(database, "invite", invite)
    with Worker(
        "--log-format", "json", "--log-level", "debug", "--redis-url", commands.url, *configured()
    ) as worker:
        wait_until_sync(lambda: database.xlen(KEYS.notifications) == 2, "bob is rung and alice told")
        wait_until_sync(lambda: worker.get("/readyz")[0] == 200, "the worker is ready")
        assert worker.get("/healthz") == (200, {"alive": True})
        status, found = worker.get("/v1/users/bob/invitations")
        assert (status, [one["inviteId"] for one in found["invitations"]]) == (200, ["i1"])
        worker.wait_for("invite peerId")
        assert worker.end(number) == 0
    lines = [json.loads(line) for line in worker.log]
    assert {line["service"] for line in lines} == {SERVICE}
    messages = [line["message"] for line in lines]
    assert r'invite peerId(a1), to(bob), inviteId(i1), context({"s":"\u2028\u0085\u001b/"})' in messages
    assert "Trying to get candidates for bob" in messages


def test_a_worker_without_a_terminal_goes_on_after_sighup(
    commands: Commands, database: redis.Redis, configured: Callable[..., list[str]]
) -> None:
    """As `nohup` starts it, with standard files that are closed: what it opens must not take their numbers."""
    without = "trap '' HUP; exec </dev/null >&- 2>&-"
    with Worker("--redis-url", commands.url, *configured(), before=without) as worker:
        for number in (1, 2, 3):  # a worker that is stopping may still have read the second
            event(database, "getInvitations", {"peer": {"id": "b1", "user": "bob"}, "transaction": number})
            wait_until_sync(
                functools.partial(_has_notifications, database, number), f"answer {number} is there"
            )
            if number == 1:
                worker.send(signal.SIGHUP)
        assert worker.end(signal.SIGTERM) == 0


def _can_be_first() -> bool:
    tried = ["unshare", "--pid", "--fork", "true"]
    return (
        bool(shutil.which(tried[0]))
        and not subprocess.run(tried, check=False, stderr=subprocess.PIPE).returncode
    )


@pytest.mark.skipif(not _can_be_first(), reason="this user may not start a first process")
def test_a_command_that_is_the_first_process_of_a_container_ends_when_it_is_told_to() -> None:
    """The kernel drops SIGTERM there, unless the process has a handler."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        first = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "workers"]
        with subprocess.Popen([*first, "list", "--redis-url", url], stderr=subprocess.PIPE) as outside:
            connection, _ = silent.accept()
            with connection:  # the command waits for an answer
                children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text()
                os.kill(int(children), signal.SIGTERM)
                assert outside.wait(20) == 128 + signal.SIGTERM


def _has_notifications(database: redis.Redis, count: int) -> bool:
    return int(database.xlen(KEYS.notifications)) == count


def test_idle_connections_do_not_make_a_worker_deaf(
    commands: Commands, database: redis.Redis, configured: Callable[..., list[str]]
) -> None:
    event(database, "registered", {"registry": {"id": "b1", "user": "bob"}})
    with contextlib.ExitStack() as stack:
        worker = stack.enter_context(Worker("--redis-url", commands.url, *configured(), files=256))
        wait_until_sync(lambda: worker.get("/readyz")[0] == 200, "the worker is ready")
        address = "127.0.0.1", int(worker.wait_for(r"HTTP on 127\.0\.0\.1 port (\d+)")[1])
        for _ in range(400):
            stack.enter_context(socket.create_connection(address, timeout=15))
        assert worker.get("/healthz") == (200, {"alive": True})
        database.client_kill_filter(_type="normal", skipme=True)
        event(database, "invite", {"peer": ALICE, "to": "bob", "inviteId": "i1", "room": "r1"})
        wait_until_sync(lambda: database.xlen(KEYS.notifications) == 2, "bob is rung and alice told")
        wait_until_sync(lambda: worker.get("/readyz")[0] == 200, "the worker is ready again")
        assert worker.get("/v1/users/bob/invitations")[1]["invitations"][0]["inviteId"] == "i1"
        assert worker.end(signal.SIGTERM) == 0
    assert not any("Traceback" in line for line in worker.log)


@pytest.mark.usefixtures("password")
def test_no_secret_is_logged_or_told(configured: Callable[..., list[str]], database: redis.Redis) -> None:
    arguments = configured(http={"port": 0, "token": "http-secret"})
    with Worker("--log-level", "debug", *arguments) as worker:
        wait_until_sync(lambda: worker.get("/readyz")[0] == 200, "the worker is ready")
        assert worker.get("/v1/users/bob/invitations")[0] == 401
        assert worker.get("/v1/users/bob/invitations", Authorization="Bearer http-secret")[0] == 200
        database.execute_command("ACL", "SETUSER", "default", "resetpass", ">another")
        database.client_kill_filter(_type="normal", skipme=True)
        wait_until_sync(lambda: worker.get("/readyz")[0] == 503, "the worker is not ready")
        assert "secret" not in json.dumps(worker.get("/readyz")[1])
        assert worker.end(signal.SIGTERM) == 0
    assert "secret" not in "\n".join(worker.log)


@pytest.mark.usefixtures("database")
def test_a_port_in_use_ends_it_with_a_sentence(
    commands: Commands, configured: Callable[..., list[str]]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = configured(http={"port": taken.getsockname()[1]})
        with Worker(*arguments, "--redis-url", commands.url) as worker:
            assert worker.wait() == 1
    assert worker.log[-1].startswith("invites: The HTTP server cannot listen on 127.0.0.1 port ")


@pytest.mark.usefixtures("database")
def test_lookups_that_cannot_be_made_are_refused(
    commands: Commands, configured: Callable[..., list[str]]
) -> None:
    arguments = configured(invites={"basic": {"resolvePush": True}})
    with Worker(*arguments, "--redis-url", commands.url) as worker:
        assert worker.wait() == 2
    assert worker.log[-1].startswith(
        "invites: invites.basic.resolvePush needs sippo-server, but invites.basic.wac.address, "
    )


def test_embedded_brings_a_server_and_takes_it_away(configured: Callable[..., list[str]]) -> None:
    with Worker("--embedded", *configured(redis={})) as worker:
        url = worker.wait_for(r"embedded server listens on (redis://\S+)\.$")[1]
        wait_until_sync(lambda: worker.get("/readyz")[0] == 200, "the worker is ready")
        with redis.Redis.from_url(url) as database:
            assert database.ping()
        assert worker.end(signal.SIGTERM) == 0
    with redis.Redis.from_url(url) as database, pytest.raises(redis.ConnectionError):
        database.ping()
