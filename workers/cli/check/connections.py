"""Whether a worker may open the connections that its shards need."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any, Final

from workers.cli.check.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PER_SHARD: Final = 10
"""Connections of a worker for each shard at its start: `python -m tests.idle` shows 9, and pushes need one more."""

_MEASURED: Final = 64  # shards


def check_connections(shards: int, infos: Sequence[Mapping[str, Any]], files: int | None = None) -> Finding:
    """Compare the connections of one worker with what it may open. `infos` are the INFO of the servers that own shards.

    `files` is how many files this process may open (default: the system's limit); a worker's limit is the same.
    """
    if files is None:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = shards * _PER_SHARD
    # A server with 10,000 connections and the shards spread over three of them has a third of these to take.
    each = -(-needed // max(1, len(infos)))
    allowed = min((info["maxclients"] for info in infos if "maxclients" in info), default=None)
    opens = f"A worker with {shards} shards opens up to {needed} connections"
    if files != resource.RLIM_INFINITY and needed > files:
        return Finding(
            "FAIL", "connections", f"{opens}, but a process may open {files} files: raise `ulimit -n`."
        )
    if allowed is not None and each > allowed:
        return Finding("FAIL", "connections", f"{opens}, but the server takes {allowed}: raise `maxclients`.")
    if shards > _MEASURED:
        return Finding(
            "warn",
            "connections",
            f"{opens}, and takes some 0.3 % of a core for each shard without any calls. Up to {_MEASURED} shards are "
            "measured: use no more than the servers need.",
        )
    return Finding("ok", "connections", f"{opens}.")
