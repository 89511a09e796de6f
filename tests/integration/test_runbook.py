"""Each command of the runbook works exactly as printed."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.seeds import KEYS, dead_letter
from tests.support.servers.node import free_port
from tests.support.waiting import wait_until_sync
from workers.lab.worker_process import start_worker

if TYPE_CHECKING:
    import redis

    from tests.support.commands import Commands

RUNBOOK = (Path(__file__).resolve().parents[2] / "deploy" / "runbook.md").read_text("utf-8")
LETTER, GROUP, PORT = "1795600283207-0", "gateway-2", "8080"
WAC = {"address": "http://127.0.0.1:1", "username": "u", "password": "p", "timeout": 100, "deadline": 200}


def _commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", RUNBOOK, re.MULTILINE | re.DOTALL)
    return list(dict.fromkeys(line for block in blocks for line in block.splitlines()))


@pytest.mark.leaks  # dead letters and groups are made by hand
def test_each_command_of_the_runbook_works(
    commands: Commands, database: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("INVITES_REDIS_URL", commands.url)
    basic = {"resolvePush": True, "wac": WAC}
    configuration = {"http": {"port": port}, "invites": {"basic": basic}}
    with start_worker(commands.url, configuration) as running:
        called = '{"peer":{"id":"a1","user":"alice"},"to":"bob","inviteId":"i1","room":"r1"}'
        assert commands.run("publish", "invite", called).status == 0
        wait_until_sync(
            lambda: (not running.running()) or database.xlen(KEYS.notifications) > 0, "the call has ended"
        )
        assert running.running(), running.output()
        for line in _commands():
            if line.startswith("invites "):
                if GROUP in line or line == "invites gateways list":
                    database.xgroup_create(KEYS.notifications, GROUP, "0", mkstream=True)
                letter = dead_letter(database, type="roomClosed", payload='{"roomId":"r9"}')
                ended = commands.run(*shlex.split(line.replace(LETTER, letter))[1:])
                status, said = ended.status, ended.out + ended.err
            elif shutil.which("curl") is None:
                pytest.skip("curl is not installed: nobody runs those commands of the runbook")
            else:
                shell = subprocess.run(
                    ["sh", "-c", line.replace(f":{PORT}/", f":{port}/")],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                status, said = shell.returncode, shell.stdout + shell.stderr
            assert status == 0 or (line == "invites check" and status == 1), f"{line}\n{said}"
            assert said, line
            database.xgroup_destroy(KEYS.notifications, GROUP)
