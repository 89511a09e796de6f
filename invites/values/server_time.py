"""The server's time, as the project counts it."""

from __future__ import annotations


def in_ms(reply: tuple[int, int]) -> int:
    """A reply to TIME (seconds and microseconds since 1970), in ms since 1970."""
    seconds, microseconds = reply
    return seconds * 1_000 + microseconds // 1_000
