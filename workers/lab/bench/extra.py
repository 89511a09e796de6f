"""The packages of the extra `[bench]`, which a worker does not need."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from workers.lab.bench.target import BenchError


def require(packages: Iterable[str]) -> None:
    """Raise `BenchError` if one of the packages is not installed."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise BenchError(
            f"Not installed: {', '.join(missing)}. Install it with: pip install 'invites-worker[bench]'"
        )
