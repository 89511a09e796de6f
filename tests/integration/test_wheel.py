"""The wheel contains everything that runs, including the Lua, and works from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from invites import __version__

ROOT = Path(__file__).resolve().parents[2]

# Imports the installed package, and composes the scripts from its Lua.
COMPOSE = """
import invites, workers
from invites.store.scripts import Scripts
print(invites.__file__, workers.__file__, len(Scripts().refused_when_full.text), sep="\\n")
"""


COMMIT = "0123456789ab"


def run(command: Sequence[str | Path], folder: Path, packages: Path | None = None) -> str:
    """Run a command in `folder`, with `packages` before the installed ones; returns its output."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environ["INVITES_COMMIT"] = COMMIT
    if packages is not None:
        environ["PYTHONPATH"] = str(packages)
    done = subprocess.run(command, cwd=folder, env=environ, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder))
    run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `pip install` makes of the wheel alone; what it needs is installed for the tests."""
    folder = tmp_path_factory.mktemp("installed")
    options = ("--quiet", "--no-deps", "--no-index", "--target", str(folder))
    run([sys.executable, "-m", "pip", "install", *options, str(wheel)], folder)
    return folder


def test_wheel_holds_every_source_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    python = {
        path.relative_to(ROOT)
        for package in ("invites", "workers")
        for path in (ROOT / package).rglob("*.py")
    }
    lua = {Path("invites") / path.relative_to(ROOT) for path in (ROOT / "lua").rglob("*.lua")}
    assert lua
    pages = ("lab/page/static", "http/console", "http/look")
    static = {path.relative_to(ROOT) for page in pages for path in (ROOT / "workers" / page).glob("*.*")}
    assert {Path("workers") / page for page in pages} == {path.parent for path in static}
    rest = {"invites/py.typed", "workers/py.typed", "invites/_commit"}
    assert {path.as_posix() for path in python | lua | static} | rest <= held
    assert {Path(name).parts[0] for name in held} == {"invites", "workers"}


def test_wheel_composes_its_own_scripts(installed: Path, tmp_path: Path) -> None:
    invites, workers, length = run([sys.executable, "-c", COMPOSE], tmp_path, installed).splitlines()
    assert Path(invites) == installed / "invites/__init__.py"
    assert Path(workers) == installed / "workers/__init__.py"
    assert int(length) > 0


def test_command_explains_itself_from_any_folder(installed: Path, tmp_path: Path) -> None:
    assert "run" in run([installed / "bin/invites", "--help"], tmp_path, installed)


def test_command_names_version_and_commit(installed: Path, tmp_path: Path) -> None:
    version = run([installed / "bin/invites", "--version"], tmp_path, installed)
    assert version == f"invites {__version__} (commit {COMMIT})\n"
