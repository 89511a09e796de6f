"""Composes the Lua files of `lua/` into functions, and the functions into a library for the server.

A file names its dependencies in lines `-- include: folder/name` (`folder/*`: all files of a folder). The composed text
contains each file once, after its dependencies. Lua allows at most 200 local names in a function, so some files become
blocks with local names: those of `events/` and `group/`, which no other file calls by name, and those with lines
`-- exports: name, name`, of which other files see these names alone.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, NamedTuple

_INCLUDE: Final = re.compile(r"^-- include: (\S+)$", re.MULTILINE)
_EXPORTS: Final = re.compile(r"^-- exports: (.+)$", re.MULTILINE)
_MESSAGE: Final = re.compile(r"^\s*function (?:internal\.(?!page\b)|(pages\.))(\w+)", re.MULTILINE)
_COMMENT: Final = re.compile(r"^\s*--.*\n", re.MULTILINE)
_BLOCKS: Final = ("events/", "group/")
_ENTRIES: Final = ("main", "trim", "retire", "ensure")


class CompositionError(Exception):
    """The files cannot be composed: one is missing, included twice by the same file, or includes itself."""


def _folder() -> Traversable:
    """The folder of the Lua files: inside the installed package, or next to it in a checkout."""
    packaged = files("invites") / "lua"
    if packaged.is_dir():
        return packaged
    return Path(__file__).parents[2] / "lua"


def sources(folder: Traversable | None = None) -> dict[str, str]:
    """All files: name without extension (`events/accept`) -> text."""

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
    """Join `entry` and everything that it includes into one text without comments.

    Raises CompositionError when a file is missing, is included twice by the same file, or includes itself.
    """
    done: dict[str, str] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise CompositionError(
                "files include each other: " + " -> ".join((*path[path.index(name) :], name))
            )
        if name in done:
            return
        for part in _included(name, parts):
            visit(part, (*path, name))
        text = parts[name].rstrip("\n")
        exports = ", ".join(_EXPORTS.findall(text))
        if exports:
            done[name] = f"local {exports}\ndo\n{text}\nend"
        else:
            done[name] = f"do\n{text}\nend" if name.startswith(_BLOCKS) else text

    if entry not in parts:
        raise CompositionError(f"there is no file {entry}")
    visit(entry, ())
    return _COMMENT.sub("", "\n".join(done.values()) + "\n")


def messages(parts: Mapping[str, str]) -> frozenset[str]:
    """The kinds of relayed messages that the rules can apply; a page of large work as `page:` and its kind."""
    return frozenset(
        ("page:" if page else "") + name for text in parts.values() for page, name in _MESSAGE.findall(text)
    )


class Script:
    """One function of the library: its name, and the same code as a script with its SHA-1."""

    def __init__(self, name: str, text: str) -> None:
        """Hash the text."""
        self.name = name
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Library(NamedTuple):
    """All functions, as the server loads them once and keeps them."""

    name: str
    text: str


LIBRARIES: Final = "invites_"
"""The prefix of the library names of all releases."""

_WHEN_FULL: Final = " flags=allow-oom"


class Scripts:
    """The functions: the state machine (`refused_when_full`, `allowed_when_full`), `trim`, `retire`, `ensure`.

    The names of the library and its functions contain a hash of their text, so that two releases of the workers can
    share a server. The server creates the functions of a library once. A script creates some 250 functions in every
    call, which costs more than settling an event (see lua/README.md); it is for servers that cannot load the library.

    A server that is out of memory refuses a function, or a script with the line `#!lua`, before it starts. A script
    without that line would run until its first write, and leave an event half settled. The rules that end calls free
    memory, so they run as `allowed_when_full`: otherwise a full server could not recover.
    """

    def __init__(self, *, flags: bool = True) -> None:
        """Compose them. `flags=False` is for servers without libraries and without the line `#!lua` (fakeredis)."""
        parts = sources()
        bodies = {entry: f"(function()\n{compose(parts, entry)}end)()" for entry in _ENTRIES}
        digest = hashlib.sha1("".join(bodies.values()).encode(), usedforsecurity=False).hexdigest()
        name = f"{LIBRARIES}{digest[:16]}"

        def script(entry: str, suffix: str = "", flag: str = "") -> Script:
            head = f"#!lua{flag}\n" if flags else ""
            return Script(f"{name}_{entry}{suffix}", f"{head}return {bodies[entry]}(KEYS, ARGV)\n")

        self.messages: Final = messages(parts)
        self.refused_when_full = script("main")
        self.allowed_when_full = script("main", "_when_full", _WHEN_FULL)
        self.trim = script("trim", flag=_WHEN_FULL)
        self.retire = script("retire", flag=_WHEN_FULL)
        self.ensure = script("ensure", flag=_WHEN_FULL)
        registered = [
            f"redis.register_function{{function_name='{one.name}', callback={entry}, flags={{{flag}}}}}"
            for entry, one, flag in (
                ("main", self.refused_when_full, ""),
                ("main", self.allowed_when_full, "'allow-oom'"),
                ("trim", self.trim, "'allow-oom'"),
                ("retire", self.retire, "'allow-oom'"),
                ("ensure", self.ensure, "'allow-oom'"),
            )
        ]
        made = [f"local {entry} = {body}" for entry, body in bodies.items()]
        text = "\n".join([f"#!lua name={name}", *made, *registered, ""])
        self.library: Final = Library(name, text) if flags else None
