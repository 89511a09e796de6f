"""`invites bench plots`: charts of throughput and latency."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workers.cli.bench.options import faults_as_sentences, refuse_lookups, rules_of, with_options
from workers.cli.options import AsJson, Common


@with_options
def plots(  # noqa: PLR0913 - a command's parameters are its options
    *,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the SVG files and figures.json.")],
    calls: Annotated[
        int, typer.Option(min=1, metavar="N", help="Complete calls in each measurement.")
    ] = 10_000,
    seconds: Annotated[float, typer.Option(min=0.1, metavar="N", help="Duration of each rate.")] = 10,
    most_workers: Annotated[int, typer.Option(min=1, metavar="N", help="Measure with 1 to N workers.")] = 4,
    most_shards: Annotated[
        int, typer.Option(min=1, metavar="N", help="Measure with 1, 2, 4, ... shards, up to N.")
    ] = 16,
    most_rate: Annotated[
        int,
        typer.Option(min=250, metavar="N", help="Offer 250, 500, 1,000, ... calls/s, up to N or the knee."),
    ] = 8_000,
    most_pending: Annotated[
        int,
        typer.Option(
            min=1_000, metavar="N", help="Measure with 1,000, 10,000, ... pending invites, up to N."
        ),
    ] = 1_000_000,
    redraw: Annotated[
        bool,
        typer.Option("--redraw", metavar="", help="Measure nothing, and draw DIR/figures.json again."),
    ] = False,
    as_json: AsJson = False,
    common: Common,
) -> None:
    """Measure and draw calls/s and processor time by workers and shards, latency by rate, both by pending invites.

    Takes 17 minutes.
    """
    refuse_lookups(common.config)

    from workers.lab.bench.extra import require
    from workers.lab.bench.plots import Plan, load, measure, save, steps
    from workers.lab.bench.report import show_plots, tell

    plan = Plan(
        calls,
        seconds,
        range(1, most_workers + 1),
        steps(1, 2, most_shards),
        steps(250, 2, most_rate),
        steps(1_000, 10, most_pending),
        min(1_000, most_rate),
        common.redis_url,
        rules_of(common),
        common.config.settings(),
    )
    with faults_as_sentences():
        require(["matplotlib"])
        from workers.lab.bench.drawing import draw

        if redraw:
            figures = load(folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            figures = measure(plan, tell)
            save(figures, folder)
        drawn = draw(figures, folder)
    show_plots(figures, drawn, as_json=as_json)
