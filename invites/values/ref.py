"""Refs: the name of an invite."""

from __future__ import annotations

from typing import NamedTuple, Self


def callee_of(ref: str) -> str:
    """The callee of a ref; of any other text its last part."""
    return ref.rpartition("|")[2]


class Ref(NamedTuple):
    """The name of an invite. As text it is `from|inviteId|to`; an id holds no `|`."""

    inviter: str
    invite_id: str
    callee: str

    def __str__(self) -> str:
        """The ref as it stands in keys, timers and push jobs."""
        return "|".join(self)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take a ref apart. Raises ValueError unless it has three parts, none of them empty."""
        inviter, invite_id, callee = text.split("|")
        if not (inviter and invite_id and callee):
            raise ValueError(f"{text} lacks a part of a ref")
        return cls(inviter, invite_id, callee)
