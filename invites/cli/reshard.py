"""`invites reshard`: more shards for what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from invites.cli.options import (
    AsJson,
    CommandError,
    Common,
    ConfigFile,
    Format,
    Level,
    LogFormat,
    LogLevel,
    RedisUrl,
)

if TYPE_CHECKING:
    from invites.cli.session import Session


def reshard(
    to: Annotated[int, typer.Argument(min=2, metavar="N", help="How many shards there shall be.")],
    config: ConfigFile = None,
    redis_url: RedisUrl = None,
    log_level: LogLevel = Level.INFO,
    log_format: LogFormat = Format.TEXT,
    as_json: AsJson = False,
) -> int:
    """Spread all calls and registrations over more shards, while publishers go on.

    Stop the workers first. From the beginning of the move on no worker commits; what is published waits. Then start
    workers whose redis.shards is the new number. If the command is interrupted, give it again. It needs a user that
    may do more than a worker: see deploy/README.md.
    """
    from invites.cli.session import run

    async def move(session: Session) -> int:
        import msgspec

        from invites.resharding import ReshardError, Resharding

        redis = session.config.redis
        work = Resharding(
            redis.prefix, session.client, to, lambda line: typer.echo(line, err=True), redis.shards
        )
        try:
            former = await work.run()
        except ReshardError as error:
            raise CommandError(str(error)) from None
        if as_json:
            typer.echo(msgspec.json.encode({"from": former, "to": to, "moved": work.moved}))
        else:
            moved = ", ".join(f"{count} {kind}" for kind, count in sorted(work.moved.items())) or "nothing"
            typer.echo(f"The number of shards is {to}, it was {former}; moved: {moved}.")
            typer.echo(f"Start workers with redis.shards {to}.")
        return 0

    return run(Common(config, redis_url, log_level, log_format), move)
