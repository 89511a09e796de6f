"""`invites dead`: events that no worker could process."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from workers.cli.options import AsJson, AsJsonLines, CommandError, Common, with_common
from workers.cli.output import say, say_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from invites.queries.dead_letters import DeadLetter, DeadLetters
    from workers.cli.session import Session

app = typer.Typer(
    help="List, show, retry and drop dead letters: events that no worker could process, each with the reason.",
    no_args_is_help=True,
)

_ID: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
_Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the dead letter, as `dead list` prints it.")]
_AnyId = Annotated[
    str | None, typer.Argument(metavar="ID", help="Id of the dead letter, as `dead list` prints it.")
]
_All = Annotated[bool, typer.Option("--all", metavar="", help="All current dead letters, instead of one ID.")]


@app.command("list")
@with_common()
def list_(*, common: Common, as_json: AsJsonLines = False) -> int:
    """List all dead letters, oldest first, each with its id, type and reason."""

    async def show(session: Session) -> int:
        async for _, letter in _letters(session):
            if as_json:
                say_json(letter)
            else:
                say(f"{letter.id}  {letter.type:14}  {letter.error}")
        return 0

    return common.on_server(show)


@app.command()
@with_common()
def show(*, letter: _Id, common: Common, as_json: AsJson = False) -> int:
    """Show one dead letter: its reason, the fields of its event (4 KiB of each) and the id of its original entry."""
    chosen = _checked(letter)

    async def print_it(session: Session) -> int:
        _, found = await _find(session, chosen)
        if as_json:
            say_json(found)
            return 0
        for name, value in msgspec.to_builtins(found).items():
            if isinstance(value, dict):
                for field, text in value.items():
                    say(f"{name:10}  {field}: {text}")
            else:
                say(f"{name:10}  {value}")
        return 0

    return common.on_server(print_it)


@app.command()
@with_common()
def retry(*, letter: _AnyId = None, every: _All = False, common: Common) -> int:
    """Publish one dead letter or all of them again, after you have fixed the cause.

    Each becomes a new event at the end of the stream, with the same fields. An event that still fails becomes a new
    dead letter. A letter that was cut is refused. A timer that is still failing fires at once.
    """
    chosen = _chosen(letter, every=every)

    async def retry_them(session: Session) -> int:
        from invites.queries.dead_letters import NotRetriableError

        failed = 0
        async for letters, found in _select(session, chosen):
            try:
                entry = await letters.retry(found.id)
            except NotRetriableError as error:
                say(f"invites: {error}", err=True)
                failed = 1
            else:
                say(f"{found.id} is gone" if entry is None else f"{found.id} -> {entry}")
        return failed

    return common.on_server(retry_them)


@app.command()
@with_common()
def drop(*, letter: _AnyId = None, every: _All = False, common: Common) -> int:
    """Delete one dead letter or all of them permanently."""
    chosen = _chosen(letter, every=every)

    async def drop_them(session: Session) -> int:
        async for letters, found in _select(session, chosen):
            await letters.drop(found.id)
            say(f"{found.id} dropped")
        return 0

    return common.on_server(drop_them)


def _checked(letter: str) -> str:
    if not _ID.fullmatch(letter):
        raise CommandError(f"{letter} is not the id of a dead letter: take one from `invites dead list`.", 2)
    return letter


def _chosen(letter: str | None, *, every: bool) -> str | None:
    """The id, or None for all."""
    if (letter is None) != every:
        raise CommandError("Give either the ID of one dead letter or --all.", 2)
    return None if letter is None else _checked(letter)


async def _letters(session: Session) -> AsyncIterator[tuple[DeadLetters, DeadLetter]]:
    from invites.queries.dead_letters import DeadLetters

    for keys in session.shards():
        letters = DeadLetters(session.client(keys), keys)
        async for letter in letters.all():
            yield letters, letter


async def _find(session: Session, letter: str) -> tuple[DeadLetters, DeadLetter]:
    from invites.queries.dead_letters import DeadLetters

    for keys in session.shards():
        letters = DeadLetters(session.client(keys), keys)
        found = await letters.get(letter)
        if found is not None:
            return letters, found
    raise CommandError(f"There is no dead letter {letter}.")


async def _select(session: Session, letter: str | None) -> AsyncIterator[tuple[DeadLetters, DeadLetter]]:
    if letter is not None:
        yield await _find(session, letter)
        return
    async for found in _letters(session):
        yield found
