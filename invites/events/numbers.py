"""Finds numbers in opaque JSON that no double holds. Readers would take them for infinity, or refuse the message."""

import json
import math
import re
from typing import Final

LARGEST: Final = "1.7976931348623157e308"
"""The largest double."""

# Every number that is too large has one of these. So do some texts, which the closer look accepts.
_SUSPICIOUS: Final = re.compile(rb"[eE]\+?[0-9]{3}|[0-9]{200}")
_FEWEST: Final = 3  # digits of the shortest, 1e309
_NO_DIGITS: Final = bytes(byte for byte in range(256) if byte not in b"0123456789")


class _TooLargeError(Exception):
    """Ends the search; the text is the number."""


def too_large(raw: bytes) -> str | None:
    """The first number in valid JSON that is beyond any double, as it stands there."""
    if len(raw.translate(None, _NO_DIGITS)) >= _FEWEST and _SUSPICIOUS.search(raw):
        try:
            json.loads(raw, parse_float=_held, parse_int=_held)
        except _TooLargeError as error:
            return str(error)
    return None


def _held(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _TooLargeError(digits)
    return value
