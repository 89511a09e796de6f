"""The commit of this build. `invites --version`, `invites_info` and the JSON log lines name it."""

from __future__ import annotations

from pathlib import Path
from typing import Final


def _commit() -> str:
    try:
        return Path(__file__).with_name("_commit").read_text("ascii").strip()
    except OSError:
        return "unknown"


COMMIT: Final = _commit()
"""Ends in `-dirty` if files had changed since. "unknown" in a checkout: only a build records it."""
