"""What the fields of events may hold: their types, with the limits of each, and checks that no type expresses."""

import re
from typing import Annotated, Any, Final, Literal

import msgspec
import re2
from msgspec import Meta

from invites.events.numbers import LARGEST, too_large
from invites.values.printable import escape_invisible
from invites.values.validation import shown

MAX_CONTEXT: Final = 16 * 1024
"""The most that a context may have, in bytes of compact JSON."""

MAX_REPLY_CONTEXT: Final = 4 * 1024
"""The same for an accept or a decline."""

MAX_BLOCKED: Final = 1_000
"""The most users that a user may block."""

MAX_ID: Final = 255
MAX_MATCH: Final = 1024
MAX_MS: Final = 2**53 - 1
"""The largest time in ms that a double, and so Lua, holds exactly."""

_LONGEST_NUMBER: Final = 60  # characters of a number that is quoted
_LONGEST_REASON: Final = 100  # characters of what is wrong with a regular expression, which may repeat it

ANYTHING: Final = "*"
"""The `match` of a trunk that leads everywhere."""

_FOREIGN: Final = r"\s{}|\x00-\x1f\x7f-\x9f"
FOREIGN: Final = re.compile(f"[{_FOREIGN}]")
"""The characters that no id has."""

_ID: Final = rf"^[^{_FOREIGN}]+\Z"

# Each description follows "field … must be".
_ID_WORDS: Final = f"a text of 1 to {MAX_ID} characters without white space, control characters, {{, }} or |"
Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID, pattern=_ID, description=_ID_WORDS)]
EventId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_ID,
        description=_ID_WORDS,
        extra_json_schema={"pattern": _ID},
        extra={"foreign": FOREIGN},
    ),
]
"""An Id that an `EventDecoder` decodes, which looks for foreign characters."""

Ref = Annotated[
    str,
    Meta(
        pattern=rf"^[^{_FOREIGN}]{{1,{MAX_ID}}}(\|[^{_FOREIGN}]{{1,{MAX_ID}}}){{2}}\Z",
        description="the ref of an invite, from|inviteId|to",
    ),
]
ErrorCode = Annotated[int, Meta(ge=400, le=699, description="a whole number from 400 to 699")]
Milliseconds = Annotated[
    int, Meta(ge=1, le=MAX_MS, description=f"a whole number of milliseconds from 1 to {MAX_MS}")
]
Transaction = Annotated[
    Annotated[str, Meta(max_length=MAX_ID)] | Annotated[int, Meta(ge=-MAX_MS, le=MAX_MS)],
    Meta(description=f"a text of at most {MAX_ID} characters or a whole number up to {MAX_MS} either way"),
]
PeerType = Annotated[
    str, Meta(min_length=1, max_length=MAX_ID, description=f"a text of 1 to {MAX_ID} characters")
]
Flag = Annotated[bool, Meta(description="true or false")]
RingMode = Annotated[
    Literal["simultaneous", "sequential", "all"], Meta(description="simultaneous, sequential or all")
]
Blocked = Annotated[
    tuple[Id, ...],
    Meta(
        max_length=MAX_BLOCKED,
        description=f"a list of at most {MAX_BLOCKED} texts of 1 to {MAX_ID} characters without white space, "
        "control characters, {, } or |",
    ),
]
Match = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_MATCH,
        description=f"* or a regular expression (RE2 syntax) of 1 to {MAX_MATCH} characters",
    ),
]


class BadEvent(Exception):  # noqa: N818 - it is the event that is bad
    """An event that cannot be processed; the message is one sentence that names the field."""


def compact(raw: msgspec.Raw) -> bytes:
    """Return opaque JSON without white space between its tokens; `b""` when the field was absent or null."""
    if not raw:
        return b""
    text = msgspec.json.format(bytes(raw), indent=-1)
    return b"" if text == b"null" else text


def check_context(raw: msgspec.Raw, most: int) -> None:
    """Raise BadEvent for a context that is too large in compact form, or has a number beyond any double."""
    # As sent it is at least as long as in compact form: the usual case needs no second look.
    if len(bytes(raw)) > most and len(compact(raw)) > most:
        raise BadEvent(f"field context has {len(compact(raw))} bytes; at most {most} are allowed")
    check_numbers("context", raw)


def check_numbers(name: str, raw: msgspec.Raw) -> None:
    """Raise BadEvent when the field `name`, opaque JSON, has a number beyond any double."""
    number = too_large(bytes(raw)) if raw else None
    if number is not None:
        said = number if len(number) <= _LONGEST_NUMBER else f"of {len(number)} characters"
        raise BadEvent(f"field {name} has the number {said}, which is beyond {LARGEST}, the largest double")


def compile_match(pattern: str) -> Any:  # noqa: ANN401 - re2 has no types
    """The expression of a trunk's `match`. Raises re2.error, also if it would take too much memory.

    RE2 takes linear time, but linear in the product of both: `(a?a?a?…){1000}` compiled to the 8 MiB that are usual
    takes over a second to match an id, and longer if it captures. In 64 KiB the worst that was found takes 7 ms.
    """
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = 65_536
    return re2.compile(pattern, options)


def check_match(pattern: str) -> None:
    """Raise BadEvent when a trunk's `match` is no regular expression (RE2 syntax)."""
    try:
        compile_match(pattern)
    except re2.error as error:
        reason = error.args[0] if error.args else "syntax"
        if isinstance(reason, bytes):
            reason = reason.decode(errors="replace")
        raise BadEvent(
            f"field registry.match is {shown(pattern)}, which is no regular expression (RE2 syntax): "
            f"{escape_invisible(reason)[:_LONGEST_REASON]}"
        ) from None
