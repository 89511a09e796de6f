"""Plays a part of the suite on each Python and on each server of this machine, and prints what passed.

    make matrix                                       # all that is found
    make matrix MATRIX_ARGS=/opt/valkey-7.2/bin/valkey-server

Each Python from 3.11 to 3.14 plays it on Valkey. Each other server is played by one Python alone: a server does not
see which Python talks to it. Servers are those of the wheels, an installed `redis-server` and `valkey-server`, and the
programs that are named. Environments and logs stay in `.tools/matrix/`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.support.servers.binaries import REDIS, VALKEY

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT: Final = Path(__file__).resolve().parents[1]
_FOLDER: Final = Path(".tools/matrix")
_PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
_COMPUTING: Final = (
    "tests/lua",
    "tests/model",
    "tests/unit",
    # Tests of several shards give the same on each server, and take as long as all the rest.
    "--ignore=tests/lua/test_groups_apart.py",
    "--ignore=tests/model/test_several.py",
)
_PLAYING: Final = (
    "-m 'not chaos'",
    "tests/deploy/test_access.py",
    *(
        f"tests/integration/test_{name}.py"
        for name in (
            "cli_check",
            "cli_run",
            "cli_use",
            "dead_letters",
            "group_calls",
            "http",
            "http_api",
            "push",
            "relay",
            "reshard",
            "invite_queries",
            "wheel",
            "worker_stop",
            "worker_streams",
            "worker_timers",
        )
    ),
)
"""The tests that run in parallel, and those with processes and time that run alone, as in `make pytest`."""

_COUNT: Final = re.compile(r"(\d+) (passed|failed|error|skipped)")


class _Row(NamedTuple):
    python: Path
    server: Path

    def name(self) -> str:
        version = _said([self.python, "--version"])
        return f"{version:<15} {_kind(self.server)}"


def _said(command: list[str | Path]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def _kind(server: Path) -> str:
    """Name and version of a server program; "" if it does not run."""
    found = re.match(r"(\w+) server v=([\d.]+)", _said([server, "--version"]))
    return f"{found[1]} {found[2]}" if found else ""


def _python(version: str) -> Path | None:
    """An interpreter of this version that can make environments: from PATH, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    on_path = shutil.which(f"python{version}")
    for path in (on_path, *sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"), reverse=True)):
        if path is not None and _said([path, "-c", "import ensurepip, venv; print(True)"]):
            return Path(path)
    return None


def _servers(named: Sequence[str]) -> list[Path]:
    """One program for each kind and version, Valkey's from its wheel first."""
    installed = (shutil.which(name) for name in ("redis-server", "valkey-server"))
    found: dict[str, Path] = {}
    for path in (VALKEY, REDIS, *installed, *named):
        if path is not None and (kind := _kind(Path(path))):
            found.setdefault(kind, Path(path).absolute())
    return list(found.values())


def _play(row: _Row, number: int) -> tuple[bool, str]:
    """Whether all passed, and how many tests came to what."""
    log = _FOLDER / f"{number}.log"
    make = ["make", "pytest", f"VENV={_FOLDER / row.python.name}", f"PYTHON={row.python}"]
    parts = (f"--numprocesses auto {' '.join(_COMPUTING)}", " ".join(_PLAYING))
    environ = {**os.environ, "INVITES_SERVER": str(row.server)}
    passed, counts = True, Counter[str]()
    with log.open("w+") as file:
        for part in parts:
            command = [*make, f"PYTEST_ARGS=--quiet {part}"]
            done = subprocess.run(
                command, cwd=_ROOT, check=False, stdout=file, stderr=subprocess.STDOUT, env=environ
            )
            passed &= done.returncode == 0
        file.seek(0)
        for line in file:
            if re.search(r" in [\d.]+s", line):
                counts.update({outcome: int(count) for count, outcome in _COUNT.findall(line)})
    said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    return passed, said if passed else f"{said or 'nothing played'}: see {log}"


def _missing(pythons: Sequence[str], servers: Sequence[Path]) -> list[str]:
    wanted = ("Redis 7.0", "Redis 8", "Valkey")
    kinds = [_kind(server) for server in servers]
    missing = [f"Python {version}" for version in _PYTHONS if version not in pythons]
    return missing + [name for name in wanted if not any(kind.startswith(name) for kind in kinds)]


def main(named: Sequence[str]) -> int:
    """Print a line for each row once it is played; returns 1 if anything has failed."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    pythons = {version: python for version in _PYTHONS if (python := _python(version))}
    servers = _servers(named)
    rows = [_Row(python, servers[0]) for python in pythons.values()]
    rows += [_Row(rows[0].python, server) for server in servers[1:]]
    all_passed = True
    for number, row in enumerate(rows, 1):
        began = time.monotonic()
        passed, said = _play(row, number)
        all_passed &= passed
        took = f"{time.monotonic() - began:.0f} s"
        sys.stdout.write(f"{'ok' if passed else 'FAILED':<7} {row.name():<30} {took:>6}  {said}\n")
        sys.stdout.flush()
    if missing := _missing(list(pythons), servers):
        sys.stdout.write(f"not on this machine: {', '.join(missing)}\n")
    return 0 if all_passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
