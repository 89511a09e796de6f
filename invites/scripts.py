"""Composes the Lua of `lua/` into one script.

A file says what it builds on with lines `-- include: folder/name` (`folder/*`: all of a folder). Each file stands
in the script once, behind what it includes. Files of `events/` and `timers/`, and parts that nobody calls by name, are
blocks of their own: their names stay theirs, and a script may have no more than 200 names at once.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

_INCLUDE: Final = re.compile(r"^-- include: (\S+)$", re.MULTILINE)
_COMMENT: Final = re.compile(r"^\s*--.*\n", re.MULTILINE)
_BLOCKS: Final = ("events/", "timers/", "parts/groups", "parts/legs")  # a script may have 200 local names


class CompositionError(Exception):
    """The parts of the script do not fit together: one is missing, named twice, or includes itself."""


def _folder() -> Traversable:
    """Return where the Lua lies: inside the installed package, or beside it in a checkout."""
    packaged = files("invites") / "lua"
    if packaged.is_dir():
        return packaged
    return Path(__file__).parent.parent / "lua"


def sources(folder: Traversable | None = None) -> dict[str, str]:
    """Read all parts: name without ending (`events/accept`) -> text."""

    def walk(place: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
        for item in sorted(place.iterdir(), key=lambda entry: entry.name):
            if item.is_dir():
                yield from walk(item, f"{prefix}{item.name}/")
            elif item.name.endswith(".lua"):
                yield prefix + item.name.removesuffix(".lua"), item.read_text(encoding="utf-8")

    return dict(walk(folder or _folder(), ""))


def _included(name: str, parts: Mapping[str, str]) -> list[str]:
    named: list[str] = []
    for pattern in _INCLUDE.findall(parts[name]):
        folder = pattern.endswith("/*")
        found = sorted(part for part in parts if part.startswith(pattern[:-1])) if folder else [pattern]
        if not found or found[0] not in parts:
            raise CompositionError(f"{name} includes {pattern}, which does not exist")
        named += found
    twice = {part for part in named if named.count(part) > 1}
    if twice:
        raise CompositionError(f"{name} includes {', '.join(sorted(twice))} twice")
    return named


def compose(parts: Mapping[str, str], entry: str = "main") -> str:
    """Join `entry` and all that it includes into one text, without its comments.

    Raises CompositionError when a part is missing, is included twice by one file, or includes itself.
    """
    done: dict[str, str] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise CompositionError(
                "parts include each other: " + " -> ".join((*path[path.index(name) :], name))
            )
        if name in done:
            return
        for part in _included(name, parts):
            visit(part, (*path, name))
        text = parts[name].rstrip("\n")
        done[name] = f"do\n{text}\nend" if name.startswith(_BLOCKS) else text

    if entry not in parts:
        raise CompositionError(f"there is no part {entry}")
    visit(entry, ())
    return _COMMENT.sub("", "\n".join(done.values()) + "\n")


class Script:
    """A text and the name that the server knows it by."""

    def __init__(self, text: str) -> None:
        """Hash the text: two versions of the workers can share a server."""
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """The state machine, once refused as a whole by a server out of memory and once allowed there.

    A server without the line `#!lua` runs a script until the first write that needs memory, and the event is lost
    half-way. With it, a full server refuses the script before it starts. What ends calls frees memory, so it is
    allowed: else a full server could never recover.
    """

    def __init__(self, *, flags: bool = True) -> None:
        """Compose the script. `flags=False` leaves the line out, for servers that do not know it (fakeredis)."""
        parts = sources()
        body = compose(parts)
        self.guarded = Script("#!lua\n" + body if flags else body)
        self.allowed_when_full = Script("#!lua flags=allow-oom\n" + body if flags else body)
        self.trim = Script(("#!lua flags=allow-oom\n" if flags else "") + compose(parts, "trim"))
        self.retire = Script(("#!lua flags=allow-oom\n" if flags else "") + compose(parts, "retire"))
