"""Writes the commit into what is built, as the file `invites/_commit`: see `invites/build.py`.

The variable INVITES_COMMIT names it, for a build without the repository, as in deploy/Dockerfile; else git does. An
sdist carries the file, so what is built from it has it too.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FILE = "invites/_commit"


class CommitHook(BuildHookInterface[Any]):
    """Adds the file, if the commit is known. An editable installation gets none: its commit would soon be wrong."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Find the commit before the build."""
        if version == "editable":
            return
        commit = os.environ.get("INVITES_COMMIT") or _of_repository(Path(self.root))
        if not commit:
            return
        with tempfile.NamedTemporaryFile("w", delete=False) as file:
            file.write(commit + "\n")
        self._written = Path(file.name)
        self._written.chmod(0o644)
        build_data["force_include"][file.name] = _FILE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the file after the build."""
        if hasattr(self, "_written"):
            self._written.unlink()


def _of_repository(root: Path) -> str:
    """The commit, with `-dirty` after it if files have changed since; "" if this is no repository."""
    if not (root / ".git").exists():
        return ""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""
