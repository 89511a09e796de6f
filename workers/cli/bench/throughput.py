"""`invites bench throughput`: complete calls per second."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from invites.config.sections import MOST_SHARDS
from workers.cli.bench.options import (
    Devices,
    Rounds,
    faults_as_sentences,
    refuse_lookups,
    rules_of,
    with_options,
)
from workers.cli.options import AsJson, CommandError, Common

_MOST_WORKERS: Final = 1024


@with_options
def throughput(
    *,
    calls: Annotated[int, typer.Option(min=1, metavar="N", help="Complete calls in each round.")] = 20_000,
    devices: Devices = 3,
    workers: Annotated[
        str,
        typer.Option(
            metavar="N[,N…]",
            help="Worker processes; several numbers are compared, in turn and with the same load.",
        ),
    ] = "1",
    shards: Annotated[
        str,
        typer.Option(
            metavar="N[,N…]",
            help="Shards, all on one server; several numbers are compared in turn. The bare server always has one.",
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
    from workers.lab.bench.report import show_by, show_named_round, show_round, show_throughput
    from workers.lab.bench.throughput import Plan, measure, measure_in_turn

    fleets, counts = _numbers("--workers", workers, _MOST_WORKERS), _numbers("--shards", shards, MOST_SHARDS)
    if [len(fleets) > 1, len(counts) > 1, servers is not None].count(True) > 1:
        raise CommandError(
            "Compare either numbers of --workers, or numbers of --shards, or each --server.", 2
        )
    if servers is not None and common.redis_url:
        raise CommandError("--server and --redis-url exclude each other.", 2)
    rules, settings = rules_of(common), common.config.settings()
    plans = [
        Plan(
            *(Load(calls, devices, fleet, all_pending=max(fleets) > 1), rounds, common.redis_url),
            *(rules, settings, count),
        )
        for fleet in fleets
        for count in counts
    ]
    with faults_as_sentences():
        if servers is not None:
            by_server = several.measure(plans[0], servers.split(","), show_named_round)
            show_by("server", by_server, as_json=as_json)
        elif len(plans) == 1:
            show_throughput(measure(plans[0], show_round), as_json=as_json)
        else:
            name, numbers = ("workers", fleets) if len(fleets) > 1 else ("shards", counts)
            named = {str(number): plan for number, plan in zip(numbers, plans, strict=True)}
            show_by(name, measure_in_turn(named, rounds, show_named_round), as_json=as_json)


def _numbers(option: str, text: str, most: int) -> list[int]:
    numbers = [int(each) if each.isdecimal() else 0 for each in text.split(",")]
    if not all(1 <= each <= most for each in numbers):
        raise CommandError(f"{option} takes whole numbers from 1 to {most}, not {text!r}.", 2)
    return numbers
