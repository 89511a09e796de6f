"""How a dead letter keeps the fields of its entry, and how they are read back."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

KEPT: Final = 4096
"""Bytes of each value, and of each name, that a letter keeps."""

_MOST: Final = 16 * KEPT  # bytes of all fields together
_MOST_FIELDS: Final = 64
_OWN: Final = (b"type", b"payload")  # fields of an event whose names the letter has too
_FORMER: Final = b"traceparent"  # releases before 0.2.0 kept no other field
_FIELD: Final = b"field:"
_CUT: Final = b"cut:"
_MORE: Final = b"more"


def kept_fields(fields: Mapping[bytes, bytes], stream: str = "") -> tuple[bytes, ...]:
    """The fields of an entry as a letter keeps them, names and values alternating.

    An event (`stream` is "") keeps the names `type` and `payload`. Every other field, and each one of the stream
    `stream`, is `field:<name>`. A field that is cut has a second one, `cut:<name>`, with its length and SHA-256. Fields
    beyond 64, or beyond 64 KiB, are left out, and `more` has its length and SHA-256.
    """
    own = () if stream else _OWN
    flat: list[bytes] = [b"type", stream.encode()] if stream else []
    left_out: list[bytes] = []
    size = count = 0
    for name, value in sorted(fields.items(), key=lambda field: field[0] not in own):
        short, begin = name[:KEPT], value[:KEPT]
        size += len(short) + len(begin)
        count += 1
        if size > _MOST or count > _MOST_FIELDS:
            left_out += (name, value)
            continue
        flat += (short if short in own else _FIELD + short, begin)
        if (short, begin) != (name, value):
            flat += (_CUT + short, _described(value))
    if left_out:
        flat += (_MORE, b"%d fields, %s" % (len(left_out) // 2, _described(b"".join(left_out))))
    return tuple(flat)


def fields_of(letter: Mapping[bytes, bytes], *, is_event: bool) -> dict[bytes, bytes]:
    """The fields of the entry that a letter was made of, as far as it keeps them."""
    own = (*_OWN, _FORMER) if is_event else ()
    kept = {name: letter[name] for name in own if name in letter}
    named = {name: value for name, value in letter.items() if name.startswith(_FIELD)}
    return kept | {name.removeprefix(_FIELD): value for name, value in named.items()}


def others(letter: Mapping[bytes, bytes]) -> dict[str, str]:
    """The fields of the entry that have no name of the letter's own, as texts."""
    return _texts(letter, _FIELD)


def cuts(letter: Mapping[bytes, bytes]) -> dict[str, str]:
    """The fields that a letter has cut: name -> their length and SHA-256, as text."""
    more = {"(more)": letter[_MORE].decode(errors="replace")} if _MORE in letter else {}
    return _texts(letter, _CUT) | more


def _texts(letter: Mapping[bytes, bytes], prefix: bytes) -> dict[str, str]:
    return {
        name.removeprefix(prefix).decode(errors="replace"): value.decode(errors="replace")
        for name, value in letter.items()
        if name.startswith(prefix)
    }


def _described(value: bytes) -> bytes:
    return b"%d bytes, SHA-256 %s" % (len(value), hashlib.sha256(value).hexdigest().encode())
