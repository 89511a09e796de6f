"""Words that several commands use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invites.queries.gateways import GatewayGroup


def waiting_for(group: GatewayGroup) -> str:
    """What waits for a group of a gateway, for how long, and when the group last read."""
    waiting = f"{group.lag} unread, {group.pending} pending"
    if group.oldest_ms:
        waiting += f", the oldest for {duration(group.oldest_ms)}"
    asked = "has no reader" if group.idle_ms is None else f"asked {duration(group.idle_ms)} ago"
    return f"{waiting}, {asked}"


def duration(ms: int) -> str:
    """A time for people."""
    return f"{ms} ms" if ms < 1_000 else f"{ms / 1_000:.1f} s"  # noqa: PLR2004 - ms in a second
