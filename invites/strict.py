"""Decoded JSON to structs, with sentences for people: what stands where, and what belongs there.

Each field of such a struct is `Annotated` with a `Meta` whose description ends "… must be"; fields that are
structs themselves are sections, whose keys must all be known.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct

from invites.secret import Secret

_Made = TypeVar("_Made", bound=Struct)
_LONGEST_SHOWN: Final = 60  # characters of a wrong value in a message
_PATH = re.compile(r" - at `\$\.(?P<path>.*)`\Z", re.DOTALL)


_Names = Mapping[type[Struct], Iterable[str]]


class StrictError(Exception):
    """The values do not fit; the text is one sentence that names the field by its path."""


def convert(values: dict[str, Any], kind: type[_Made], also: _Names | None = None) -> _Made:
    """The struct of `values`; `also` names keys that were known, and are taken out, before.

    Raises StrictError, whose text shows no value of a Secret.
    """
    _check_names(kind, values, "", also or {})
    try:
        return msgspec.convert(values, kind, dec_hook=_to_secret)
    except msgspec.ValidationError as error:
        raise StrictError(_sentence(str(error), values, kind)) from None


def fields(section: type[Struct]) -> dict[str, Any]:
    """Name in JSON -> annotation."""
    return {entry.encode_name: entry.type for entry in msgspec.structs.fields(section)}


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like `name`."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    return by_folded[difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0)[0]]


def kind_of(value: object) -> str:
    """What a decoded JSON value is, in words."""
    if value == "":
        return "an empty text"
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def shown(value: object) -> str:
    """A value in a message, on one line and cut short; not for secrets."""
    if isinstance(value, dict | list):
        return kind_of(value)
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _check_names(section: type[Struct], values: dict[str, Any], path: str, also: _Names) -> None:
    known = fields(section)
    for name, value in values.items():
        if name not in known:
            quoted = name if name and name.isprintable() else json.dumps(name)
            close = nearest(name, [*known, *also.get(section, ())])
            raise StrictError(f"{path}{quoted} is not a known key: the nearest one is {path}{close}.")
        if _is_section(known[name]) and isinstance(value, dict):
            _check_names(known[name], value, f"{path}{name}.", also)


def _to_secret(kind: type, value: object) -> object:
    if kind is Secret and isinstance(value, str) and value:
        return Secret(value)
    raise ValueError


def _sentence(problem: str, values: dict[str, Any], section: type[Struct]) -> str:
    """What msgspec found: the field, what belongs there, and what stands there."""
    match = _PATH.search(problem)
    path = match["path"] if match else ""
    kind: Any = section
    value: Any = values
    for name in path.split("."):
        kind, value = fields(kind)[name], value[name]
    if _is_section(kind):
        return f"{path} must be an object, not {kind_of(value)}."
    wanted, is_secret = _wanted(kind)
    return f"{path} must be {wanted}, not {kind_of(value) if is_secret else shown(value)}."


def _wanted(kind: Any) -> tuple[str, bool]:  # noqa: ANN401 - annotations have no type in common
    """What a field takes, in words, and whether it is a secret."""
    annotated = next(part for part in (kind, *get_args(kind)) if get_origin(part) is Annotated)
    words = next(meta.description for meta in annotated.__metadata__)
    return words, Secret in get_args(annotated.__origin__)
