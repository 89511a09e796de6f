"""The `traceparent` of a W3C trace context: which trace an event belongs to.

https://www.w3.org/TR/trace-context/#traceparent-header
"""

from __future__ import annotations

import re
from typing import Final

FIELD: Final = "traceparent"
"""The name of the field of an entry, and of a header."""

_KNOWN: Final = 55  # characters of version 00
_FORMAT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII
)


def traceparent_of(value: bytes | str | None) -> str:
    """The value as version 00 has it; "" for none, and for a malformed one, which counts as none.

    A later version may be longer. What version 00 knows of it is passed on, as version 00.
    """
    if not value:
        return ""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    known, rest = text[:_KNOWN], text[_KNOWN:]
    if not _FORMAT.fullmatch(known) or (rest and (known.startswith("00") or rest[0] != "-")):
        return ""
    return f"00{known[2:]}"


def trace_of(traceparent: str) -> str:
    """The id of the trace, 32 hexadecimal digits; "" for none."""
    return traceparent[3:35]
