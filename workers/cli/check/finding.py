"""The result of one check."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Finding(Struct, frozen=True):
    """One line of `invites check`. The text contains a remedy unless the verdict is ok or `-` (not needed)."""

    verdict: Literal["ok", "warn", "FAIL", "-"]
    name: str
    text: str
