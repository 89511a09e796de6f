"""Prints for all commands: the only place that writes to the terminal, so that no text of a caller can control it."""

from __future__ import annotations

import sys

import msgspec
import typer

from invites.values.printable import escape, escape_json


def say(text: str, *, colour: str | None = None, head: str = "", err: bool = False) -> None:
    """Print one line. `colour` colours `head`, or the whole line without one; only on a terminal."""
    if head:
        typer.secho(escape(head), fg=colour, err=err, nl=False)
        colour = None
    typer.secho(escape(text), fg=colour, err=err)


def begin_page() -> None:
    """Begin a page that replaces the one before: clear a terminal, print an empty line elsewhere."""
    typer.echo("\x1b[2J\x1b[3J\x1b[H" if sys.stdout.isatty() else "", nl=not sys.stdout.isatty())


def say_json(value: object) -> None:
    r"""Print one JSON object on one line; characters that `escape` escapes become `\uXXXX`."""
    typer.echo(escape_json(msgspec.json.encode(value).decode()))
