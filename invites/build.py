"""The commit that this was built from. `invites --version`, `invites_info` and the JSON log lines name it."""

from __future__ import annotations

from pathlib import Path
from typing import Final


def _commit() -> str:
    try:
        return Path(__file__).with_name("_commit").read_text("ascii").strip()
    except OSError:
        return "unknown"


COMMIT: Final = _commit()
"""With `-dirty` at its end if files had changed since. "unknown" in a checkout: only a build writes it down."""
