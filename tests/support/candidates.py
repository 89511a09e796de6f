"""The candidates among the fields of an invite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invites.keys import CANDIDATE

if TYPE_CHECKING:
    from collections.abc import Mapping


def candidates_in(invite: Mapping[str, str]) -> dict[str, str]:
    """Return candidate id -> JSON."""
    return {name.removeprefix(CANDIDATE): raw for name, raw in invite.items() if name.startswith(CANDIDATE)}
