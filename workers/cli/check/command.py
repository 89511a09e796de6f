"""`invites check`: the vendor's troubleshooting list as a command."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import typer

from workers.cli.options import (
    Common,
    ConfigFile,
    Format,
    Level,
    LogFormat,
    LogLevel,
    RedisUrl,
    url_of,
)

if TYPE_CHECKING:
    from workers.cli.check.finding import Finding

_COLOURS: Final = {"ok": "green", "warn": "yellow", "FAIL": "red", "-": None}


def check(
    config: ConfigFile = None,
    redis_url: RedisUrl = None,
    log_level: LogLevel = Level.INFO,
    log_format: LogFormat = Format.TEXT,
) -> int:
    """Check what a worker needs: Redis, its version and memory policy, permissions, workers, sippo-server.

    One line each, ok, warn or FAIL, with what to do; the exit status is 1 if anything fails. Run it with the
    configuration and the credentials of a worker.
    """
    loaded = Common(config, redis_url, log_level, log_format).set_up()
    url = url_of(loaded)

    async def all_checks() -> list[Finding]:
        from workers.cli.check.server import check_redis
        from workers.cli.check.sippo import check_api

        return [*await check_redis(url, loaded), await check_api(loaded)]

    try:
        findings = asyncio.run(all_checks())
    except KeyboardInterrupt:
        return 1
    for finding in findings:
        typer.echo(
            f"{typer.style(f'{finding.verdict:4}', fg=_COLOURS[finding.verdict])}  {finding.name:13} ",
            nl=False,
        )
        typer.echo(finding.text)
    return 1 if any(finding.verdict == "FAIL" for finding in findings) else 0
