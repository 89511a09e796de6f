"""`invites erase`: erases the data of a user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct, field

from invites.events.fields import Id
from invites.values.validation import problems
from workers.cli.options import AsJson, CommandError, Common, with_common
from workers.cli.output import say, say_json

if TYPE_CHECKING:
    from invites.erasure import Line
    from workers.cli.session import Session


class _Argument(Struct):
    """What the command takes. Another text is the id of nobody; an empty one would be found everywhere."""

    user: Id = field(name="USER")


@with_common()
def erase(
    *,
    user: Annotated[str, typer.Argument(metavar="USER", help="Id of the user, or a number.")],
    common: Common,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Only count what would be erased.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Erase the data of a user on the server, and print a report.

    Goes through all keys and streams of all shards: registrations, indexes, userState, calls that are over, the
    history (also that of others), entries of streams that name the user. Refused while a call of the user rings. Says
    on the standard error how far it is, every 2 s.
    Entries that a group has not settled stay and are reported, with status 1: try again later.

    Its Redis user needs other permissions than a worker's. Call records that services have kept, backups and logs are
    not touched.
    """
    for problem in problems({"USER": user}, _Argument):
        raise CommandError(f"{problem}.", 2)

    async def work(session: Session) -> int:
        from invites.erasure import Erasure, ErasureError

        try:
            work = Erasure(session.shards(), session.client, user, lambda words: say(words, err=True))
            report = await work.run(dry_run=dry_run)
        except ErasureError as error:
            raise CommandError(str(error)) from None
        if as_json:
            say_json(report)
            return 1 if report.left else 0
        for line in report.lines:
            say(f"{line.what:24}  {_words(line, dry_run=dry_run)}")
        if not report.lines:
            say("Nothing names this user.")
        elif report.left:
            say(
                "What is left is in use: a group has not settled it, a call of others runs, or the server is full. Try "
                "again later."
            )
        return 1 if report.left else 0

    return common.on_server(work)


def _words(line: Line, *, dry_run: bool) -> str:
    would = "to be " if dry_run else ""
    counts = ((line.deleted, f"{would}deleted"), (line.rewritten, f"{would}rewritten"), (line.left, "left"))
    return ", ".join(f"{count} {what}" for count, what in counts if count)
