"""Recently delivered notifications."""

from __future__ import annotations

from typing import Final

_MOST: Final = 10_000


class Repeats:
    """The last 10,000 notifications by identity and type.

    After a fail-over that lost a commit, another notification may have the id of a delivered one.
    """

    def __init__(self) -> None:
        self._delivered: dict[tuple[str, str], None] = {}

    def is_one(self, identity: str, kind: str) -> bool:
        """Whether it was delivered before. Remembers it."""
        known = (identity, kind) in self._delivered
        if not known:
            self._delivered[identity, kind] = None
            if len(self._delivered) > _MOST:
                del self._delivered[next(iter(self._delivered))]
        return known
