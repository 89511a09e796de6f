"""Makes text from callers safe for one line of a log or a terminal."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any, Final

# Characters that end a line, control a terminal, reorder text or have no shape of their own: Unicode's categories Cc,
# Cf, Zl and Zp, lone surrogates, and what a font may leave out (Default_Ignorable_Code_Point: fillers, variation
# selectors, tags). The joiners of emoji are among them: two ids that differ must look different.
_INVISIBLE: Final = (
    "\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_UNSAFE: Final = re.compile(f"[\x00-\x1f{_INVISIBLE}]")
_UNSAFE_IN_JSON: Final = re.compile(f"[{_INVISIBLE}]")
_LARGEST_INDEX: Final = 2**32 - 2  # of a JavaScript array
_INDEX_DIGITS: Final = 10
_EXACT: Final = 2**53  # a double holds every whole number up to here
_MOST_DIGITS: Final = 21  # before the point; a larger number gets an exponent
_MOST_ZEROS: Final = 6  # after the point; a smaller number gets an exponent


def escape(text: str) -> str:
    r"""The text with control, invisible and reordering characters, line ends and lone surrogates as `\uXXXX`.

    A character beyond U+FFFF becomes two of them, as in JSON.
    """
    return text if _UNSAFE.search(text) is None else _UNSAFE.sub(_escaped, text)


def escape_json(text: str) -> str:
    """The same for JSON, which stays the same JSON: line ends between its values are kept."""
    return text if _UNSAFE_IN_JSON.search(text) is None else _UNSAFE_IN_JSON.sub(_escaped, text)


def escape_invisible(text: str) -> str:
    """The text with every unprintable character escaped as in JSON. Stricter than `escape`; for error messages."""
    return escape("".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text))


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1] if match[0] >= " " else f"\\u{ord(match[0]):04x}"


def stringify(text: str) -> str:
    r"""JSON as `JSON.stringify(JSON.parse(text))` prints it, on one line.

    The output is compact, without needless escapes, and numbers look as in JavaScript (1.0 is 1). What `escape`
    escapes is escaped as well. Text that is not JSON is only escaped.
    """
    try:
        return escape(_encode(_DECODER.decode(text)))
    except (ValueError, RecursionError):
        return escape(text)


def _constant(text: str) -> None:
    raise ValueError(text)  # NaN and Infinity are not JSON


_DECODER: Final = json.JSONDecoder(parse_float=float, parse_int=float, parse_constant=_constant)


def _encode(value: Any) -> str:  # noqa: ANN401 - decoded JSON
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, dict):
        return (
            "{"
            + ",".join(f"{encode_basestring(name)}:{_encode(value[name])}" for name in _order(value))
            + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(map(_encode, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else _number(value)


def _order(names: dict[str, Any]) -> list[str]:
    """JavaScript puts names that could be array indexes first, in numerical order."""
    indexes = [name for name in names if name.isdecimal() and _is_index(name)]
    if not indexes:
        return list(names)
    return sorted(indexes, key=int) + [name for name in names if name not in indexes]


def _is_index(name: str) -> bool:
    return (
        name.isascii()
        and len(name) <= _INDEX_DIGITS
        and str(int(name)) == name
        and int(name) <= _LARGEST_INDEX
    )


def _number(value: float) -> str:
    """A number as JavaScript prints it (ECMA-262, Number::toString); null when it overflows a double."""
    if value.is_integer() and abs(value) <= _EXACT:
        return str(int(value))
    if math.isinf(value):
        return "null"
    negative, decimals, power = Decimal(repr(value)).normalize().as_tuple()
    digits = "".join(map(str, decimals))
    point = len(digits) + int(power)
    if len(digits) <= point <= _MOST_DIGITS:
        text = digits + "0" * (point - len(digits))
    elif 0 < point <= _MOST_DIGITS:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -_MOST_ZEROS < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        text = f"{digits[0]}{fraction}e{point - 1:+d}"
    return f"-{text}" if negative else text
