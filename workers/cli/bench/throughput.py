"""`invites bench throughput`: complete calls per second."""

from __future__ import annotations

from typing import Annotated

import typer

from invites.config.sections import MOST_SHARDS
from workers.cli.bench.options import (
    Devices,
    Rounds,
    Workers,
    faults_as_sentences,
    refuse_lookups,
    rules_of,
    with_options,
)
from workers.cli.options import AsJson, CommandError, Common


@with_options
def throughput(
    *,
    calls: Annotated[int, typer.Option(min=1, metavar="N", help="Complete calls in each round.")] = 20_000,
    devices: Devices = 3,
    workers: Workers = 1,
    shards: Annotated[
        str,
        typer.Option(
            metavar="N[,N…]",
            help="Shards, all on one server; several numbers are compared. The bare server always has one.",
        ),
    ] = "1",
    servers: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="PROGRAM[,PROGRAM…]",
            help="Measure these servers in turn: embedded, embedded:libc (without jemalloc), or programs.",
            show_default=False,
        ),
    ] = None,
    rounds: Rounds = 3,
    as_json: AsJson = False,
    common: Common,
) -> None:
    """Measure complete calls per second, beside the bare server with the same scripts and prepared batches.

    A complete call is an invite, ringing on all devices, an accept, the cancel for the others, outcome and record.

    The events are in the stream before the workers start. The time runs from the first commit to the last.
    """
    refuse_lookups(common.config)

    from workers.lab.bench import servers as several
    from workers.lab.bench.load import Load
    from workers.lab.bench.report import show_by, show_round, show_server_round, show_throughput
    from workers.lab.bench.throughput import Plan, measure

    load, rules, settings = Load(calls, devices, workers), rules_of(common), common.config.settings()
    plans = [
        Plan(load, rounds, common.redis_url, rules, settings, number) for number in _numbers_of_shards(shards)
    ]
    with faults_as_sentences():
        if servers is not None:
            if len(plans) > 1 or common.redis_url:
                raise CommandError("--server takes neither several numbers of --shards nor --redis-url.", 2)
            by_server = several.measure(plans[0], servers.split(","), show_server_round)
            show_by("server", by_server, as_json=as_json)
            return
        results = [measure(plan, show_round) for plan in plans]
    if len(results) == 1:
        show_throughput(results[0], as_json=as_json)
    else:
        show_by("shards", {str(each.shards): each for each in results}, as_json=as_json)


def _numbers_of_shards(text: str) -> list[int]:
    numbers = [int(each) if each.isdecimal() else 0 for each in text.split(",")]
    if not all(1 <= each <= MOST_SHARDS for each in numbers):
        raise CommandError(f"--shards takes whole numbers from 1 to {MOST_SHARDS}, not {text!r}.", 2)
    return numbers
