"""`invites bench races`: an accept against another event, while workers are killed."""

from __future__ import annotations

from typing import Annotated

import typer

from workers.cli.bench.options import faults_as_sentences, refuse_lookups, rules_of, with_options
from workers.cli.options import AsJson, CommandError, Common


@with_options
def races(
    *,
    trials: Annotated[int, typer.Option(min=1, metavar="N", help="Calls, with one race each.")] = 20_000,
    workers: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Worker processes. Every 1.5 s the command kills one and replaces it."
        ),
    ] = 3,
    as_json: AsJson = False,
    common: Common,
) -> None:
    """Race an accept against an accept, cancel, time-out, decline or disconnect, while workers are killed.

    The command reads every notification. Each call must have one outcome, one record and at most one winner, and each
    device that rang must win or receive a cancel. The exit status is 1 if a call breaks a rule.
    """
    refuse_lookups(common.config)

    from workers.lab.bench.races import Plan, measure
    from workers.lab.bench.report import show_races, tell

    with faults_as_sentences():
        report = measure(Plan(trials, workers, common.redis_url, rules_of(common)), tell)
    show_races(report, as_json=as_json)
    if report.faults:
        raise CommandError(
            f"The races show {len(report.faults)} faults, the first: {report.faults[0].words}."
        )
