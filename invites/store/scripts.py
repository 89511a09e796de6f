"""Composes the Lua of `lua/` into functions, and these into a library that a server keeps.

A file says what it builds on with lines `-- include: folder/name` (`folder/*`: all of a folder). Each file stands
in its text once, behind what it includes. Files of `events/` and `group/`, which nobody calls by name,
are blocks of their own: their names stay theirs, and Lua allows no more than 200 names at once.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, NamedTuple

_INCLUDE: Final = re.compile(r"^-- include: (\S+)$", re.MULTILINE)
_COMMENT: Final = re.compile(r"^\s*--.*\n", re.MULTILINE)
_BLOCKS: Final = ("events/", "group/")  # a script may have 200 local names


_ENTRIES: Final = ("main", "trim", "retire")


class CompositionError(Exception):
    """The parts of the script do not fit together: one is missing, named twice, or includes itself."""


def _folder() -> Traversable:
    """Return where the Lua lies: inside the installed package, or beside it in a checkout."""
    packaged = files("invites") / "lua"
    if packaged.is_dir():
        return packaged
    return Path(__file__).parents[2] / "lua"


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
    """One function of the library: its name there, and the same as a script, known by its SHA-1."""

    def __init__(self, name: str, text: str) -> None:
        """Hash the text."""
        self.name = name
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Library(NamedTuple):
    """What a server is given once and then keeps: all functions, made and ready."""

    name: str
    text: str


LIBRARIES: Final = "invites_"
"""Which libraries are ours, of any release: what their names begin with."""

_WHEN_FULL: Final = " flags=allow-oom"


class Scripts:
    """The state machine, once refused as a whole by a server out of memory and once allowed there; trimming, retiring.

    A library and its functions are named after what is in them: two releases of the workers can share a server. A
    server makes the functions of a library once. The same as a script is for servers that cannot take a library: it
    makes some 250 functions for each call, which costs more than settling an event (see lua/README.md).

    A script without the line `#!lua` runs on a server out of memory until the first write that needs some, and the
    event is lost half-way. With it, a full server refuses the script before it starts, as it does with a function.
    What ends calls frees memory, so it is allowed: else a full server could never recover.
    """

    def __init__(self, *, flags: bool = True) -> None:
        """Compose them. `flags=False` is for servers that know neither libraries nor the line `#!lua` (fakeredis)."""
        parts = sources()
        bodies = {entry: f"(function()\n{compose(parts, entry)}end)()" for entry in _ENTRIES}
        digest = hashlib.sha1("".join(bodies.values()).encode(), usedforsecurity=False).hexdigest()
        name = f"{LIBRARIES}{digest[:16]}"

        def script(entry: str, suffix: str = "", flag: str = "") -> Script:
            head = f"#!lua{flag}\n" if flags else ""
            return Script(f"{name}_{entry}{suffix}", f"{head}return {bodies[entry]}(KEYS, ARGV)\n")

        self.guarded = script("main")
        self.allowed_when_full = script("main", "_when_full", _WHEN_FULL)
        self.trim = script("trim", flag=_WHEN_FULL)
        self.retire = script("retire", flag=_WHEN_FULL)
        registered = [
            f"redis.register_function{{function_name='{one.name}', callback={entry}, flags={{{flag}}}}}"
            for entry, one, flag in (
                ("main", self.guarded, ""),
                ("main", self.allowed_when_full, "'allow-oom'"),
                ("trim", self.trim, "'allow-oom'"),
                ("retire", self.retire, "'allow-oom'"),
            )
        ]
        made = [f"local {entry} = {body}" for entry, body in bodies.items()]
        text = "\n".join([f"#!lua name={name}", *made, *registered, ""])
        self.library: Final = Library(name, text) if flags else None
