"""How much of its memory a server uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

_NEARLY: Final = 0.9


class Memory(Struct, rename="camel", frozen=True):
    """`used_bytes` of at most `max_bytes`; 0 if there is no limit. `policy` is the server's `maxmemory-policy`."""

    used_bytes: int
    max_bytes: int
    policy: str = ""

    @property
    def is_evicting(self) -> bool:
        """Whether the server deletes keys when it is full, and so loses calls."""
        return self.max_bytes > 0 and self.policy not in {"", "noeviction"}

    @property
    def is_full(self) -> bool:
        """Whether the server refuses writes that need memory."""
        return 0 < self.max_bytes < self.used_bytes

    @property
    def is_nearly_full(self) -> bool:
        """Whether more than nine tenths are in use."""
        return self.used_bytes > _NEARLY * self.max_bytes > 0


def memory_of(info: Mapping[str, Any]) -> Memory:
    """The memory in a reply to INFO. It omits memory that the server does not count towards its limit."""
    used = info.get("used_memory", 0) - info.get("mem_not_counted_for_evict", 0)
    return Memory(max(0, used), info.get("maxmemory", 0), info.get("maxmemory_policy", ""))
