"""Makes variants of an input: hypothesis draws the pieces, since drawing each variant would take far longer."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any, Final

from tests.fuzz.shapes import Configuration, Entry, Input, Reply, Request

_OTHER: Final[tuple[Any, ...]] = (
    None, True, 0, -1, 2**53, 10**400, 1.5, "", "a b", "bob", "i1", "x" * 300, "a|b|c", "\x1b[31m", "{0}", [], ["a"],
    {}, {"id": "a", "user": "b"},
)  # fmt: skip
_PIECES: Final = (
    b"",
    b"\0",
    b"\xff",
    b'"',
    b"}",
    b"[",
    b"\r\n",
    b"9" * 20,
    "\N{RIGHT-TO-LEFT OVERRIDE}".encode(),
)


def variant(one: Input, random: Random) -> Input:
    """The same with one thing changed."""
    match one:
        case Entry():
            fields = dict(one.fields)
            name = random.choice(sorted(fields)) if fields else b"type"
            if random.random() < 0.1:
                fields.pop(name, None)
            else:
                fields[name] = _changed(fields.get(name, b""), random)
            return replace(one, fields=fields or {b"x": b""})
        case Reply():
            return replace(one, body=_changed(one.body, random))
        case Request():
            return replace(one, raw=_torn(one.raw, random))
        case Configuration():
            return replace(one, raw=_replaced(json.loads(json.dumps(one.raw)), random))


def _changed(whole: bytes, random: Random) -> bytes:
    if random.random() < 0.7:
        try:
            return json.dumps(_replaced(json.loads(whole), random)).encode()
        except (ValueError, RecursionError):
            pass
    return _torn(whole, random)


def _torn(whole: bytes, random: Random) -> bytes:
    start = random.randrange(len(whole) + 1)
    end = min(len(whole), start + random.choice((0, 1, 1, 8)))
    return whole[:start] + random.choice(_PIECES) + whole[end:]


def _replaced(value: Any, random: Random) -> Any:
    """The value with another one somewhere inside."""
    if not value or not isinstance(value, (dict, list)) or random.random() < 0.1:
        return random.choice(_OTHER)
    name = random.choice(sorted(value)) if isinstance(value, dict) else random.randrange(len(value))
    if random.random() < 0.2:
        del value[name]
    else:
        value[name] = _replaced(value[name], random)
    return value
