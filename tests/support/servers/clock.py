"""A clock that steps, for a server process alone.

It takes libfaketime (Debian package `libfaketime`), which is loaded before the server and reads an offset from a file.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

_PLACES: Final = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/lib64/faketime")

MISSING: Final = "no clock can step without libfaketime (Debian package `libfaketime`)"


def library() -> Path | None:
    """Where libfaketime is; None if it is not installed."""
    found = (path for place in _PLACES for path in Path("/").glob(f"{place[1:]}/libfaketime.so.1"))
    return next(found, None)


class Clock:
    """A clock that is the system's until it steps.

    A server that is started with `environment` uses it. Monotonic time does not step, as on real machines.
    """

    def __init__(self) -> None:
        """Raises FileNotFoundError without libfaketime."""
        found = library()
        if found is None:
            raise FileNotFoundError(MISSING)
        self._directory = tempfile.TemporaryDirectory(prefix="invites-clock-")
        self._file = Path(self._directory.name) / "offset"
        self._ahead_s = 0.0
        self.step(0)
        self.environment: Final = {
            **os.environ,
            "LD_PRELOAD": str(found),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, seconds: float) -> None:
        """Step ahead, or back if `seconds` is negative."""
        self._ahead_s += seconds
        new = self._file.with_suffix(".new")
        new.write_text(f"{self._ahead_s:+.3f}\n")
        new.replace(self._file)  # nobody reads half of it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._directory.cleanup()
