"""`invites reshard`: more shards for a running deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from invites.config.sections import MOST_SHARDS
from workers.cli.options import AsJson, CommandError, Common, with_common
from workers.cli.output import say, say_json

if TYPE_CHECKING:
    from invites.resharding import Summary
    from workers.cli.session import Session


@with_common()
def reshard(
    *,
    to: Annotated[int, typer.Argument(min=2, max=MOST_SHARDS, metavar="N", help="The new number of shards.")],
    common: Common,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", metavar="", help="Only count the keys to move. Workers and publishers continue."
        ),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Spread the calls over more shards. Publishers continue; workers stop, and start again with the new number.

    The command stops all commits, waits until all workers have stopped (they exit by themselves with status 1), moves
    every key to its shard, and then admits workers with the new number in redis.shards. Meanwhile events wait in
    their streams. If the command is interrupted, run it again: it continues.

    Its Redis user needs more permissions than a worker's. Gateways must read the notifications of all new shards
    before workers start.
    """

    async def move(session: Session) -> int:
        from invites.resharding import Resharding, ReshardingError

        work = Resharding(session.config.redis.prefix, to, session.client, lambda words: say(words, err=True))
        try:
            summary = await (work.survey() if dry_run else work.move())
        except ReshardingError as error:
            raise CommandError(str(error)) from None
        if as_json:
            say_json(summary)
        else:
            say(_words(summary, dry_run=dry_run))
        return 0

    return common.on_server(move, any_shards=True)


def _words(summary: Summary, *, dry_run: bool) -> str:
    if summary.before == summary.after:
        return f"There are already {summary.after} shards."
    stay = f" {summary.unknown} keys of an unknown kind stay in place." if summary.unknown else ""
    way = f"from {summary.before} to {summary.after} shards"
    if dry_run:
        return f"About {summary.keys} keys would move {way}.{stay}"
    return (
        f"Moved {summary.keys} keys, {summary.timers} timers and {summary.pushes} push jobs {way} in "
        f"{summary.seconds:.1f} s.{stay} Start workers with redis.shards {summary.after}."
    )
