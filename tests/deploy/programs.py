"""Node programs that use the package of deploy/node as an application does: packed, and installed into a project."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.deploy.installations import DEPLOY

CLIENT: Final = DEPLOY / "node"
_PROGRAMS: Final = Path(__file__).parent / "node"
_INSTALLED: Final = CLIENT / "node_modules"
_PACKED: Final = ("package.json", "tsconfig.json", "README.md", "src")
_TIMEOUT_S: Final = 30.0


def require_node() -> None:
    """Skip the test where Node or the packages are missing."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    if not _INSTALLED.is_dir():
        pytest.skip("the packages of deploy/node are not installed: make node")


def install(folder: Path) -> Path:
    """Pack the client in a copy of its folder and install it into an empty project; returns the project's folder."""
    require_node()
    source, project = folder / "source", folder / "project"
    source.mkdir()
    for name in _PACKED:
        copy = shutil.copytree if (CLIENT / name).is_dir() else shutil.copy
        copy(CLIENT / name, source / name)
    (source / "node_modules").symlink_to(_INSTALLED)
    _npm(source, "pack", "--silent")
    (tarball,) = source.glob("*.tgz")
    project.mkdir()
    (project / "package.json").write_text('{"private": true, "type": "module"}')
    _npm(project, "install", "--offline", "--ignore-scripts", "--legacy-peer-deps", str(tarball))
    # What the project installs itself. The tests do without the registry.
    for name in ("ioredis", "@types", "@asyncapi"):
        (project / "node_modules" / name).symlink_to(_INSTALLED / name)
    for program in _PROGRAMS.iterdir():
        shutil.copy(program, project)
    return project


def _npm(folder: Path, *arguments: str) -> None:
    environment = {
        **os.environ,
        "npm_config_cache": str(folder / ".npm"),
        "npm_config_update_notifier": "false",
    }
    done = subprocess.run(
        ["npm", *arguments, "--no-audit", "--no-fund"],
        cwd=folder, env=environment, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def run(project: Path, program: str, text: str) -> Any:
    """What a program prints, as JSON, with a text on its standard input."""
    done = subprocess.run(
        ["node", program],
        cwd=project,
        input=text,
        check=False,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Program:
    """A running program. It tells what happens in lines of JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.told: list[dict[str, Any]] = []
        self._unseen: list[dict[str, Any]] = []

    async def say(self, *command: Any) -> None:
        """Give it a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._process.stdin.drain()

    async def tells(self, name: str, value: Any = None) -> dict[str, Any]:
        """The first line with this name, and with this value if one is given, that has not been asked for before."""
        async with asyncio.timeout(_TIMEOUT_S):
            while True:
                for line in self._unseen:
                    if name in line and value in (None, line[name]):
                        self._unseen.remove(line)
                        return line
                assert await self.line() is not None, f"it ended before it told {name} {value}: {self.told}"

    async def line(self) -> dict[str, Any] | None:
        """The next line; None at the end."""
        assert self._process.stdout is not None
        raw = await self._process.stdout.readline()
        if not raw:
            return None
        found: dict[str, Any] = json.loads(raw)
        self.told.append(found)
        self._unseen.append(found)
        return found

    def heard(self, kind: str) -> list[str]:
        """The invites that it was told of with this type of notification."""
        return [line["payload"]["inviteId"] for line in self.told if line.get("heard") == kind]

    async def close(self) -> None:
        """Let it close what it has; it must then end by itself."""
        await self.say("close")
        async with asyncio.timeout(_TIMEOUT_S):
            while await self.line() is not None:
                pass
            assert await self._process.wait() == 0

    async def kill(self) -> None:
        """SIGKILL."""
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()


@contextlib.asynccontextmanager
async def running(project: Path, settings: Mapping[str, Any]) -> AsyncIterator[Program]:
    """Run `program.mjs`; at the end kill it if it still runs."""
    process = await asyncio.create_subprocess_exec(
        "node", "program.mjs", json.dumps(settings),
        cwd=project, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**20,
    )  # fmt: skip
    try:
        program = Program(process)
        if "reading" in settings:
            await program.tells("reads")
        yield program
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
