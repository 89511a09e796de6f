"""`invites bench peers`: our events beside the jobs of other Python workers."""

from __future__ import annotations

from typing import Annotated

import typer

from workers.cli.bench.options import Rounds, faults_as_sentences, refuse_lookups, rules_of, with_options
from workers.cli.options import AsJson, Common


@with_options
def peers(
    *,
    calls: Annotated[int, typer.Option(min=1, metavar="N", help="Complete calls in each round.")] = 10_000,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Jobs of each rival in each round.")] = 5_000,
    rounds: Rounds = 3,
    as_json: AsJson = False,
    common: Common,
) -> None:
    """Compare our events with no-op jobs of arq, saq, taskiq, streaq and FastStream: a backlog and one worker each.

    Each rival runs with the fastest settings that lose no job in a crash. `pip install 'invites-worker[bench]'`
    installs the rivals.
    """
    refuse_lookups(common.config)

    from workers.lab.bench.comparison import Plan, measure
    from workers.lab.bench.report import show_comparison, tell

    plan = Plan(calls, jobs, rounds, common.redis_url, rules_of(common), common.config.settings())
    with faults_as_sentences():
        result = measure(plan, tell)
    show_comparison(result, as_json=as_json)
