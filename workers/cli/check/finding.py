"""What one check has found."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Finding(Struct, frozen=True):
    """One line of `invites check`; the text says what to do unless all is well. `-`: not needed."""

    verdict: Literal["ok", "warn", "FAIL", "-"]
    name: str
    text: str
