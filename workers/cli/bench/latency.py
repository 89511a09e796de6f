"""`invites bench latency`: how long a device waits."""

from __future__ import annotations

from typing import Annotated

import typer

from workers.cli.bench.options import (
    Rate,
    SeveralDevices,
    Workers,
    faults_as_sentences,
    refuse_lookups,
    rules_of,
    with_options,
)
from workers.cli.options import AsJson, Common


@with_options
def latency(
    *,
    rate: Rate = 1000,
    load: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=0.95,
            metavar="SHARE",
            help="Offer this share of the throughput, which is measured first. Replaces --rate.",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, metavar="N", help="Duration, after one uncounted second.")
    ] = 10,
    pending: Annotated[
        int, typer.Option(min=0, metavar="N", help="Other invites that are pending at the same time.")
    ] = 0,
    devices: SeveralDevices = 3,
    workers: Workers = 1,
    as_json: AsJson = False,
    common: Common,
) -> None:
    """Measure how long a device waits, from invite to invitation and from accept to invitationCancel, at a fixed rate.

    The load is open: events are due at an even rate, however long earlier events take. The time of an event runs from
    its due moment to the return of the blocking read that delivers its effect. The command fails if it misses the rate.
    """
    refuse_lookups(common.config)

    from workers.lab.bench.latency import Plan, measure
    from workers.lab.bench.report import show_latency, tell

    plan = Plan(
        *(rate, seconds, pending, devices, workers, common.redis_url, rules_of(common)),
        *(common.config.settings(), load),
    )
    with faults_as_sentences():
        result = measure(plan, tell)
    show_latency(result, as_json=as_json)
