"""Entries of a stream, as the server returns them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec


class Entry(msgspec.Struct, frozen=True):
    """One entry: its id, its fields, and how often it was delivered.

    `fields` is empty when the entry was trimmed while it was pending.
    """

    id: str
    fields: Mapping[bytes, bytes]
    deliveries: int = 1

    @property
    def at(self) -> int:
        """When the entry was added, in ms since 1970."""
        return order(self.id)[0]

    @property
    def size(self) -> int:
        """The bytes of its fields, names included."""
        return sum(map(len, chain.from_iterable(self.fields.items())))

    def text(self, name: bytes) -> str:
        """A field as text; "" when it is missing."""
        return self.fields.get(name, b"").decode(errors="replace")


def entries_of(reply: Sequence[Any] | None) -> list[Entry]:
    """The entries in a raw reply `[[id, [field, value, …]], …]` (XRANGE, XREADGROUP, XAUTOCLAIM).

    The server replies nil instead of the fields of an entry that was trimmed while it was pending.
    """
    return [
        Entry(entry.decode(), dict(zip(pairs := iter(flat), pairs, strict=True)) if flat else {})
        for entry, flat in reply or ()
    ]


def order(entry: str) -> tuple[int, int]:
    """The two numbers of an entry id. They order the entries of a stream."""
    ms, _, sequence = entry.partition("-")
    return int(ms), int(sequence or 0)
