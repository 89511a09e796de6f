"""The candidates among the fields of an invite."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from invites.keys import CANDIDATE
from invites.values.stored_invite import read_candidate

if TYPE_CHECKING:
    from collections.abc import Mapping


def candidates_in(invite: Mapping[str, str]) -> dict[str, str]:
    """Return candidate id -> JSON."""
    return {
        name.removeprefix(CANDIDATE): json.dumps(read_candidate(raw.encode(), invite["to"]))
        for name, raw in invite.items()
        if name.startswith(CANDIDATE)
    }
