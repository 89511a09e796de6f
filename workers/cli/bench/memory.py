"""`invites bench memory`: the memory of a pending invite."""

from __future__ import annotations

from typing import Annotated

import typer

from workers.cli.bench.options import Devices, faults_as_sentences, refuse_lookups, with_options
from workers.cli.options import AsJson, Common


@with_options
def memory(
    *,
    pending: Annotated[int, typer.Option(min=1, metavar="N", help="Pending invites.")] = 20_000,
    callees: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Number of callees, and of callers.",
            show_default="one per invite",
        ),
    ] = None,
    devices: Devices = 3,
    ended: Annotated[
        bool,
        typer.Option(
            "--ended", metavar="", help="Then accept all, and measure what each finished call leaves."
        ),
    ] = False,
    as_json: AsJson = False,
    common: Common,
) -> None:
    """Measure the memory of a pending invite: keys, index entries and timer, without streams and registrations.

    Each invite has a context of 100 bytes and its own room. With fewer callees than invites, invites share the
    indexes of their callee and their caller, and use less memory.
    """
    refuse_lookups(common.config)

    from workers.lab.bench.load import Load
    from workers.lab.bench.memory import measure
    from workers.lab.bench.report import show_memory, tell

    load = Load(pending, devices, workers=0, callees=min(callees or pending, pending))
    with faults_as_sentences():
        result, parts = measure(load, common.redis_url, common.config.settings(), tell, ended=ended)
    show_memory(result, parts, as_json=as_json)
