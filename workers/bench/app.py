"""The commands of `invites bench`."""

from __future__ import annotations

from typing import Annotated

import typer

from invites.cli.options import (
    CommandError,
    Common,
    ConfigFile,
    Format,
    Level,
    LogFormat,
    LogLevel,
)

app = typer.Typer(
    help="Measure this machine, with a server of its own unless --redis-url is given.", no_args_is_help=True
)

RedisUrl = Annotated[
    str | None,
    typer.Option(
        "--redis-url",
        metavar="URL",
        help="Measure this server in place of an own one. The keys have a prefix of their own and are deleted.",
    ),
]


@app.callback()
def _bench() -> None:
    """Keep a single command a subcommand."""


@app.command()
def throughput(  # noqa: PLR0913 - a command's parameters are its options
    *,
    calls: Annotated[int, typer.Option(min=1, help="Complete calls in each round.")] = 20_000,
    devices: Annotated[int, typer.Option(min=1, help="Registered devices of each callee.")] = 3,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, of which the medians are reported.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigFile = None,
    redis_url: RedisUrl = None,
    log_level: LogLevel = Level.WARN,
    log_format: LogFormat = Format.TEXT,
) -> None:
    """Complete calls a second, against the bare server doing the same scripts from prepared batches.

    A complete call is an invite, all devices rung, an accept, the cancel of the others, outcome and record.

    The events wait in the stream before the workers start; they are timed from the first commit to the last.
    """
    loaded = Common(config, redis_url, log_level, log_format).set_up()

    from invites.embedded import EmbeddedError
    from workers.bench.arena import BenchError
    from workers.bench.load import Load
    from workers.bench.report import show_round, show_throughput
    from workers.bench.throughput import Plan, measure
    from workers.processes import configuration_in

    rules = configuration_in(config).get("invites", {})
    plan = Plan(Load(calls, devices, workers), rounds, redis_url, rules, loaded.settings())
    try:
        result = measure(plan, show_round)
    except (BenchError, EmbeddedError) as error:
        raise CommandError(str(error)) from None
    show_throughput(result, as_json=as_json)
