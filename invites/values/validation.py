"""Converts decoded JSON to structs. Every problem is a sentence: the field, what it must be, and what it is.

Each field of such a struct is `Annotated` with a `Meta` whose description completes "… must be". A field that is a
struct itself is a section; `convert` rejects unknown keys in it.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct

from invites.values.printable import escape_invisible
from invites.values.secret import Secret

_Made = TypeVar("_Made", bound=Struct)
_LONGEST_SHOWN: Final = 60  # characters of a wrong value in a message
_Names = Mapping[type[Struct], Iterable[str]]


class ValidationError(Exception):
    """A value is invalid. The text is one sentence that names the field by its path."""


def convert(values: dict[str, Any], kind: type[_Made], also: _Names | None = None) -> _Made:
    """The struct of `values`. `also` lists further names per section, to suggest when a key is unknown.

    Raises ValidationError, whose text never shows the value of a Secret.
    """
    _check_names(kind, values, "", also or {}, kind)
    problem = next(problems(values, kind), None)
    if problem is not None:
        raise ValidationError(f"{problem}.")
    return msgspec.convert(values, kind, dec_hook=_to_secret)


def problems(values: Mapping[str, Any], kind: type[Struct], path: str = "") -> Iterator[str]:
    """The problems with the fields of a struct, each a sentence without its full stop.

    A sentence names the field by its path, what it must be and what it is. It never shows the value of a Secret, and
    no long values. A field of type Raw takes any value. A Meta may have, as its extra `foreign`, an expression for what
    no value has.
    """
    for entry in msgspec.structs.fields(kind):
        place = path + entry.encode_name
        if entry.encode_name not in values:
            if entry.required:
                yield f"{place} is missing"
            continue
        value, section = values[entry.encode_name], section_of(entry.type)
        if section is not None and isinstance(value, dict):
            yield from problems(value, section, f"{place}.")
        elif entry.type is not msgspec.Raw and not _fits(value, entry.type):
            yield f"{place} must be {_expected(entry.type)}, not {_actual(value, entry.type)}"


def fields(section: type[Struct]) -> dict[str, Any]:
    """The fields of a section: name in JSON -> annotation."""
    return {entry.encode_name: entry.type for entry in msgspec.structs.fields(section)}


def section_of(kind: object) -> type[Struct] | None:
    """The struct that a field with this annotation holds, or None."""
    parts = (kind, *get_args(kind))
    return next((part for part in parts if isinstance(part, type) and issubclass(part, Struct)), None)


def metadata(kind: object) -> tuple[Any, ...]:
    """The constraints in the annotation of a field; () if it has none."""
    annotated = _annotated(kind)
    return () if annotated is None else annotated.__metadata__


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most similar to `name`."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    return by_folded[difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0)[0]]


def kind_of(value: object) -> str:
    """The kind of a decoded JSON value, in words."""
    if value == "":
        return "an empty text"
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def shown(value: object) -> str:
    """A value for a message, on one line: its kind, and the value unless it is long. Not for secrets."""
    if isinstance(value, str) and value:
        if len(value) > _LONGEST_SHOWN:
            return f"a text of {len(value)} characters"
        return f"the text {escape_invisible(json.dumps(value, ensure_ascii=False))}"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | float):
        return _number(value)
    return kind_of(value)


def syntax_error(error: json.JSONDecodeError) -> str:
    """The reason why a text is not JSON, and where."""
    rest, before = error.doc[error.pos :].lstrip(), error.doc[: error.pos].rstrip()
    place = f"(line {error.lineno}, column {error.colno})"
    if rest.startswith(("//", "/*", "#")):
        return f"JSON has no comments: remove the one {place}"
    if (before.endswith(",") and rest[:1] in ("}", "]")) or re.match(r",\s*[}\]]", rest):
        return f"A comma is followed by nothing: remove the comma before the {rest.lstrip(', ')[:1]} {place}"
    return f"{error.msg if rest else 'It ends too early'} {place}"


def _home_of(name: str, section: type[Struct], path: str = "") -> str | None:
    """The path of the known key with this name, in whatever section it is; not that of a Secret.

    A secret of another section is no help: `redis.password` is not `wac.password` in the wrong place.
    """
    for known, kind in fields(section).items():
        inner = section_of(kind)
        if (
            path
            and inner is None
            and known.casefold() == name.casefold()
            and Secret not in _plain_kinds(kind)
        ):
            return path + known
        found = None if inner is None else _home_of(name, inner, f"{path}{known}.")
        if found is not None:
            return found
    return None


def _check_names(
    section: type[Struct], values: dict[str, Any], path: str, also: _Names, top: type[Struct]
) -> None:
    known = fields(section)
    for name, value in values.items():
        if name not in known:
            quoted = name if name and name.isprintable() else json.dumps(name)
            close = nearest(name, [*known, *also.get(section, ())])
            if close.casefold() != name.casefold() and (home := _home_of(name, top)):
                raise ValidationError(f"{path}{quoted} is in the wrong section: it belongs to {home}.")
            raise ValidationError(f"{path}{quoted} is not a known key; did you mean {path}{close}?")
        inner = section_of(known[name])
        if inner is not None and isinstance(value, dict):
            _check_names(inner, value, f"{path}{name}.", also, top)


def _to_secret(kind: type, value: object) -> object:
    if kind is Secret and isinstance(value, str) and value:
        return Secret(value)
    raise ValueError


def _fits(value: object, kind: Any) -> bool:  # noqa: ANN401 - annotations have no type in common
    try:
        msgspec.convert(value, kind, dec_hook=_to_secret)
    except (msgspec.ValidationError, UnicodeEncodeError):  # the latter for a lone surrogate
        return False
    foreign = [meta.extra["foreign"] for meta in metadata(kind) if meta.extra]
    return not (isinstance(value, str) and any(one.search(value) for one in foreign))


def _annotated(kind: object) -> Any:  # noqa: ANN401 - as above
    return next((part for part in (kind, *get_args(kind)) if get_origin(part) is Annotated), None)


def _plain_kinds(kind: object) -> tuple[Any, ...]:
    """The members of the union that an annotation allows."""
    return get_args(_annotated(kind).__origin__)


def _expected(kind: object) -> str:
    """What a field must be, in words."""
    if section_of(kind) is not None:
        return "an object"
    words: str = next(meta.description for meta in metadata(kind))
    return words


def _actual(value: object, kind: object) -> str:
    """What a field is, in words."""
    if section_of(kind) is not None:
        return shown(value)
    if isinstance(value, list) and get_origin(_annotated(kind).__origin__) is tuple:
        return f"this list of {len(value)}"
    return kind_of(value) if Secret in _plain_kinds(kind) else shown(value)


def _number(value: float) -> str:
    # By its text: `math` takes no whole number beyond the largest float.
    text = json.dumps(value)
    if text == "NaN":
        return text
    is_huge = len(text) > _LONGEST_SHOWN or text.endswith("Infinity")
    return "a huge number" if is_huge else f"the number {text}"
