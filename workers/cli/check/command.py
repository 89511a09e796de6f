"""`invites check`: the vendor's troubleshooting list as a command."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import typer

from workers.cli.check.role import Role
from workers.cli.options import Common, with_common
from workers.cli.output import say

if TYPE_CHECKING:
    from invites.config import Config
    from invites.values.secret import Secret
    from workers.cli.check.finding import Finding

_COLOURS: Final = {"ok": "green", "warn": "yellow", "FAIL": "red", "-": None}


@with_common()
def check(
    *,
    role: Annotated[
        Role,
        typer.Option(
            metavar="worker|publisher|gateway|operator", help="Whose needs to check, with whose credentials."
        ),
    ] = Role.WORKER,
    common: Common,
) -> int:
    """Check what a worker needs: Redis, its version and memory policy, permissions, workers, sippo-server.

    Each check prints one line: ok, warn or FAIL, with a remedy. The exit status is 1 if a check fails. Use the
    configuration and the credentials of a worker. With `--role`, use the credentials of that role: a publisher and a
    gateway need permissions only, an operator everything but sippo-server. Nothing is written.
    """
    try:
        findings = asyncio.run(_findings(common.url(), common.config, role))
    except KeyboardInterrupt:
        return 1
    for finding in findings:
        verdict = f"{finding.verdict:4}"
        say(f"  {finding.name:13} {finding.text}", head=verdict, colour=_COLOURS[finding.verdict])
    return 1 if any(finding.verdict == "FAIL" for finding in findings) else 0


async def _findings(url: Secret, config: Config, role: Role) -> list[Finding]:
    from workers.cli.check.server import check_redis
    from workers.cli.check.sippo import check_api

    findings = await check_redis(url, config, role)
    return [*findings, await check_api(config)] if role is Role.WORKER else findings
