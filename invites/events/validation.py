"""Why a payload cannot be decoded: one sentence that names the field, what belongs there, and what stands there.

Only refused payloads come here, so a good sentence costs valid ones nothing.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

from invites.values.validation import fields, problems, section_of, shown, syntax_error

_LONGEST_WHOLE: Final = 60  # digits; Python takes its time to read thousands of them


def what_is_wrong(payload: bytes, kind: type[Struct]) -> str:
    """Return the sentence on a payload that is no `kind`; it begins with "field"."""
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        return f"field payload is not UTF-8: byte {error.start} is 0x{payload[error.start]:02x}"
    if not text.strip():
        return "field payload is empty"
    if text.startswith("\ufeff"):
        return "field payload begins with a byte order mark, which JSON does not have"
    try:
        return next(_sentences(text, kind))
    except json.JSONDecodeError as error:
        return f"field payload is not JSON: {syntax_error(error)}"


def _sentences(text: str, kind: type[Struct]) -> Iterator[str]:
    constants: list[str] = []

    def constant(name: str) -> float:
        constants.append(name)
        return float(name)

    # Of several fields of one name the last one counts, but the first may be the one that was refused.
    for doubles in (dict, _firsts):
        values = json.loads(text, object_pairs_hook=doubles, parse_int=_whole, parse_constant=constant)
        if not isinstance(values, dict):
            yield f"field payload must be an object, not {shown(values)}"
            return
        for place, half in _halves(values, kind, ""):
            yield f"field {place} has {half}, half of a surrogate pair without the other half, which is no character"
        for problem in problems(values, kind):
            yield f"field {problem}"
    if constants:
        yield f"field payload is not JSON: {constants[0]} is no value there"
    yield "field payload has several fields of one name, and one of them is wrong"


def _firsts(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


def _whole(digits: str) -> float:
    return int(digits) if len(digits) <= _LONGEST_WHOLE else float(digits)


def _halves(values: dict[str, Any], kind: type[Struct], path: str) -> Iterator[tuple[str, str]]:
    """Yield the fields that hold half a surrogate pair, and which; last what is in no field that is known."""
    for name, annotation in fields(kind).items():
        value, section = values.get(name), section_of(annotation)
        if section is not None and isinstance(value, dict):
            yield from _halves(value, section, f"{path}{name}.")
        elif half := _half(value):
            yield path + name, half
    if half := _half(values):
        yield path.rstrip(".") or "payload", half


def _half(value: object) -> str:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return f"\\u{ord(error.object[error.start]):04x}"
    return ""
