"""Times that people name on the command line."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

_UNITS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_AGO: Final = re.compile(r"(\d{1,9})([smhd])")
_CLOCK: Final = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?")

FORMS: Final = "90s, 10m, 2h or 1d ago, 14:03, 2026-11-26T14:03 or ms since 1970"


def parse_moment(said: str, now: int) -> int:
    """A time in ms since 1970, in one of FORMS. `now` is ms since 1970. Raises ValueError.

    A time of day is the last one before now, a time without a zone is local.
    """
    if found := _AGO.fullmatch(said):
        return now - int(found[1]) * _UNITS[found[2]]
    if said.isascii() and said.isdigit():
        return int(said)
    if found := _CLOCK.fullmatch(said):
        today = datetime.fromtimestamp(now / 1_000).astimezone()
        at = today.replace(hour=int(found[1]), minute=int(found[2]), second=int(found[3] or 0), microsecond=0)
        return _ms(at if at <= today else at - timedelta(days=1))
    return _ms(datetime.fromisoformat(said))


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000)
