"""An invite as the rules store it, and the candidates among its fields."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from invites.keys import CANDIDATE
from invites.values.stored_invite import read_candidate, whole_invite

if TYPE_CHECKING:
    from collections.abc import Mapping


def whole(ref: str, stored: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of an invite, also those that follow from others."""
    found = whole_invite(ref, {name.encode(): value.encode() for name, value in stored.items()})
    return {name.decode(): value.decode() for name, value in found.items()}


def candidates_in(invite: Mapping[str, str]) -> dict[str, str]:
    """Return candidate id -> JSON."""
    return {
        name.removeprefix(CANDIDATE): json.dumps(read_candidate(raw.encode(), invite["to"]))
        for name, raw in invite.items()
        if name.startswith(CANDIDATE)
    }
