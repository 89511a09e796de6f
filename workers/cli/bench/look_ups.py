"""`invites bench look-ups`: requests to sippo-server, and what waiting for them costs."""

from __future__ import annotations

from typing import Annotated

import typer

from workers.cli.bench.options import Rate, SeveralDevices, faults_as_sentences, rules_of, with_options
from workers.cli.options import AsJson, Common


@with_options
def lookups(
    *,
    rate: Rate = 200,
    seconds: Annotated[
        float,
        typer.Option(min=0.1, metavar="N", help="Duration of each round, after an uncounted start."),
    ] = 10,
    look_up_ms: Annotated[
        int, typer.Option("--look-up-ms", min=0, max=500, help="Response time of sippo-server.")
    ] = 20,
    members: Annotated[int, typer.Option(min=1, max=500, help="Members of the called group.")] = 10,
    devices: SeveralDevices = 3,
    as_json: AsJson = False,
    common: Common,
) -> None:
    """Count the requests to sippo-server per call, and measure the wait for a lookup and with sippo-server dead.

    The benchmark uses a fake sippo-server and ignores the section `basic` of a configuration. It measures times like
    `latency`, from the due moment of an invite to its invitation.
    """
    from workers.lab.bench.lookups import Plan, measure
    from workers.lab.bench.report import show_lookups, tell

    plan = Plan(rate, seconds, look_up_ms, members, devices, common.redis_url, rules_of(common))
    with faults_as_sentences():
        result = measure(plan, tell)
    show_lookups(result, as_json=as_json)
