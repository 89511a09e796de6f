"""`invites bench gateway`: how long a call takes through a WebSocket gateway."""

from __future__ import annotations

from typing import Annotated

import typer

from workers.cli.bench.options import (
    Rate,
    Workers,
    faults_as_sentences,
    refuse_lookups,
    rules_of,
    with_options,
)
from workers.cli.options import AsJson, Common


@with_options
def gateway(
    *,
    devices: Annotated[
        int, typer.Option(min=4, metavar="N", help="Connected devices, callers included.")
    ] = 2_000,
    rate: Rate = 200,
    seconds: Annotated[
        float, typer.Option(min=0.1, metavar="N", help="Duration, after two uncounted seconds.")
    ] = 10,
    workers: Workers = 1,
    as_json: AsJson = False,
    common: Common,
) -> None:
    """Measure how long a call takes through a WebSocket gateway: from invite to invitation, and from accept to cancel.

    A quarter of the devices call, the others are three for each callee. All of them are connections of this command.
    """
    refuse_lookups(common.config)

    from workers.lab.bench.gateway import Plan, measure
    from workers.lab.bench.report import show_gateway, tell

    plan = Plan(devices, rate, seconds, workers, common.redis_url, rules_of(common))
    with faults_as_sentences():
        result = measure(plan, tell)
    show_gateway(result, as_json=as_json)
