"""The command `invites`: the operator's commands, and those that run something."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from workers.cli.app import add_operator_commands, make_app
from workers.cli.app import run as run_command
from workers.cli.bench import app as bench_app
from workers.cli.options import (
    MISSING_URL,
    CommandError,
    Common,
    ConfigFile,
    Format,
    Level,
    LogFormat,
    LogLevel,
    RedisUrl,
    check_look_ups,
)

app = make_app()


@app.command()
def run(
    config: ConfigFile = None,
    redis_url: RedisUrl = None,
    log_level: LogLevel = Level.INFO,
    log_format: LogFormat = Format.TEXT,
    embedded: Annotated[
        bool,
        typer.Option(
            "--embedded",
            metavar="",
            help="Start a Valkey of its own, which keeps nothing and ends with the worker: for trying out.",
        ),
    ] = False,
) -> int:
    """Run one worker until SIGTERM or SIGINT. Start as many as you like: they share the work.

    It needs a Redis or Valkey that all workers share, or --embedded. Its HTTP server (http.host and http.port of the
    configuration, 127.0.0.1:8080 unless set) answers /healthz, /readyz and /metrics.
    """
    loaded = Common(config, redis_url, log_level, log_format).set_up()
    if embedded and redis_url is not None:
        raise CommandError("--embedded and --redis-url exclude each other.", 2)
    if not embedded and loaded.redis.url is None:
        raise CommandError(
            f"{MISSING_URL} Several workers need a server that they share; --embedded tries one out alone.",
            2,
        )
    check_look_ups(loaded)

    import uvloop

    from workers import service
    from workers.http import HttpError
    from workers.lab.embedded import EmbeddedError

    try:
        return uvloop.run(service.run(loaded, embedded=embedded))
    except (EmbeddedError, HttpError) as error:
        raise CommandError(str(error)) from None


@app.command()
def demo(
    svg: Annotated[
        Path | None,
        typer.Option("--svg", metavar="FILE", help="Write a picture of the first calls, as SVG."),
    ] = None,
    config: ConfigFile = None,
    redis_url: RedisUrl = None,
    log_level: LogLevel = Level.WARN,
    log_format: LogFormat = Format.TEXT,
) -> int:
    """Play calls on this machine, with a server, a worker and devices of its own. Ends by itself.

    Since it brings all of that, it needs no server and no configuration: --config and --redis-url are checked, and
    that is all.
    """
    import asyncio

    from workers.lab.demo import play

    Common(config, redis_url, log_level, log_format).set_up()
    return asyncio.run(play(svg=svg))


add_operator_commands(app)
app.add_typer(bench_app, name="bench")


def main() -> None:
    """Entry point: run what the arguments say, and exit with its status."""
    sys.exit(run_command(app))
