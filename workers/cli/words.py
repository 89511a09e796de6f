"""Words that several commands use."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from invites.queries.gateways import GatewayGroup
    from invites.queries.memory import Memory

_MIB: Final = 1_048_576


def waiting_for(group: GatewayGroup) -> str:
    """The backlog of a gateway's group, its age, and when the group last read."""
    waiting = f"{group.lag} unread, {group.pending} pending"
    if group.oldest_ms:
        waiting += f", the oldest for {duration(group.oldest_ms)}"
    asked = "has no reader" if group.idle_ms is None else f"asked {duration(group.idle_ms)} ago"
    return f"{waiting}, {asked}"


def in_words(memory: Memory) -> str:
    """How much of a server's memory is in use."""
    used = f"{memory.used_bytes / _MIB:.1f} MiB"
    if not memory.max_bytes:
        return f"{used} in use, without maxmemory"
    share = 100 * memory.used_bytes / memory.max_bytes
    return f"{used} of {memory.max_bytes / _MIB:.1f} MiB in use, {share:.0f} % of maxmemory"


def moment(ms: int) -> str:
    """A time in ms since 1970 for people: local, to the second."""
    return datetime.fromtimestamp(ms / 1_000).astimezone().isoformat(timespec="seconds")


def duration(ms: int) -> str:
    """A time for people."""
    return f"{ms} ms" if ms < 1_000 else f"{ms / 1_000:.1f} s"  # noqa: PLR2004 - ms in a second
