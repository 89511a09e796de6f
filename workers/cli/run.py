"""`invites run`: one worker."""

from __future__ import annotations

from typing import Annotated

import typer

from invites.config import check_lookups
from workers.cli.options import MISSING_URL, CommandError, Common, with_common


@with_common()
def run(
    *,
    common: Common,
    embedded: Annotated[
        bool,
        typer.Option(
            "--embedded",
            metavar="",
            help="Start a temporary Valkey server for a trial. It keeps no data and stops with the worker.",
        ),
    ] = False,
) -> int:
    """Run one worker until SIGTERM, SIGINT or SIGHUP. Start as many as you like: they share the work.

    All workers need the same Redis or Valkey server; --embedded starts one for a trial. The worker's HTTP server
    (http.host and http.port in the configuration, default 127.0.0.1:8080) answers /healthz, /readyz and /metrics.
    """
    if embedded and common.redis_url is not None:
        raise CommandError("--embedded and --redis-url exclude each other.", 2)
    if not embedded and common.config.redis.url is None:
        raise CommandError(
            f"{MISSING_URL} To try a single worker without a server, use --embedded.",
            2,
        )
    check_lookups(common.config)

    import uvloop

    from workers import service
    from workers.http.server import HttpError

    failures: tuple[type[Exception], ...] = (HttpError,)
    if embedded:
        from workers.lab.embedded import EmbeddedError

        failures += (EmbeddedError,)
    try:
        return uvloop.run(service.run(common.config, embedded=embedded))
    except failures as error:
        raise CommandError(str(error)) from None
