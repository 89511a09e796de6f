"""The commands of `invites bench`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workers.cli.options import CommandError, Common, Level, with_common

if TYPE_CHECKING:
    from invites.config import Config

app = typer.Typer(
    help="Measure this machine, with a server of its own unless --redis-url is given.", no_args_is_help=True
)

with_options = with_common(
    log_level=Level.WARN,
    redis_url=Annotated[
        str | None,
        typer.Option(
            "--redis-url",
            metavar="URL",
            help="Measure this server in place of an own one. The keys have a prefix of their own and are deleted.",
        ),
    ],
)

AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object, and nothing else.")]
Devices = Annotated[int, typer.Option(min=1, metavar="N", help="Registered devices of each callee.")]
SeveralDevices = Annotated[int, typer.Option(min=2, metavar="N", help="Registered devices of each callee.")]
Rate = Annotated[float, typer.Option(min=1, metavar="N", help="Calls offered in a second.")]
Rounds = Annotated[int, typer.Option(min=1, metavar="N", help="Rounds, of which the medians are reported.")]
Workers = Annotated[int, typer.Option(min=1, metavar="N", help="Worker processes.")]


@contextlib.contextmanager
def _results() -> Iterator[None]:
    """Make one sentence, with status 1, of whatever leaves a benchmark without a result."""
    from redis.exceptions import RedisError

    from workers.lab.bench.arena import BenchError
    from workers.lab.embedded import EmbeddedError

    try:
        yield
    except (BenchError, EmbeddedError) as error:
        raise CommandError(str(error)) from None
    except (RedisError, OSError) as error:
        raise CommandError(f"The server has failed: {error}") from None


def _refuse_look_ups(loaded: Config) -> None:
    if loaded.look_ups():
        named = " and ".join(loaded.look_ups())
        raise CommandError(
            f"This measures calls without sippo-server: set {named} to the default, or use `look-ups`.", 2
        )


def _rules(common: Common) -> dict[str, Any]:
    """The section `invites` of the configuration file, which workers take over."""
    from workers.lab.worker_process import configuration_in

    return dict(configuration_in(common.file).get("invites", {}))


@app.command()
@with_options
def throughput(
    *,
    calls: Annotated[int, typer.Option(min=1, metavar="N", help="Complete calls in each round.")] = 20_000,
    devices: Devices = 3,
    workers: Workers = 1,
    shards: Annotated[
        int,
        typer.Option(
            min=1, max=1024, metavar="N", help="Shards, all on one server; the bare server always has one."
        ),
    ] = 1,
    rounds: Rounds = 3,
    as_json: AsJson = False,
    common: Common,
) -> None:
    """Complete calls a second, against the bare server doing the same scripts from prepared batches.

    A complete call is an invite, all devices rung, an accept, the cancel of the others, outcome and record.

    The events wait in the stream before the workers start; they are timed from the first commit to the last.
    """
    _refuse_look_ups(common.config)

    from workers.lab.bench.load import Load
    from workers.lab.bench.report import show_round, show_throughput
    from workers.lab.bench.throughput import Plan, measure

    plan = Plan(
        Load(calls, devices, workers),
        rounds,
        common.redis_url,
        _rules(common),
        common.config.settings(),
        shards,
    )
    with _results():
        result = measure(plan, show_round)
    show_throughput(result, as_json=as_json)


@app.command()
@with_options
def memory(
    *,
    pending: Annotated[int, typer.Option(min=1, metavar="N", help="Pending invites.")] = 20_000,
    callees: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Users that they ring, and users that call.",
            show_default="as many as invites",
        ),
    ] = None,
    devices: Devices = 3,
    as_json: AsJson = False,
    common: Common,
) -> None:
    """Bytes that a pending invite adds: its keys, its places in indexes, its timer; without streams and registrations.

    Each invite has a context of 100 bytes and a room of its own. With fewer callees than invites, invites share the
    indexes of their callee and their caller, and take less.
    """
    _refuse_look_ups(common.config)

    from workers.lab.bench.load import Load
    from workers.lab.bench.memory import measure
    from workers.lab.bench.report import show_memory, tell

    load = Load(pending, devices, workers=0, callees=min(callees or pending, pending))
    with _results():
        result, parts = measure(load, common.redis_url, common.config.settings(), tell)
    show_memory(result, parts, as_json=as_json)


@app.command()
@with_options
def latency(
    *,
    rate: Rate = 1000,
    seconds: Annotated[
        float, typer.Option(min=0.1, metavar="N", help="How long, after a second that is not counted.")
    ] = 10,
    pending: Annotated[
        int, typer.Option(min=0, metavar="N", help="Other invites that are pending meanwhile.")
    ] = 0,
    devices: SeveralDevices = 3,
    workers: Workers = 1,
    as_json: AsJson = False,
    common: Common,
) -> None:
    """How long a device waits, invite to invitation and accept to invitationCancel, with so many calls a second.

    The load is open: events are due at an even rate, whatever has become of those before, and timed from when they
    are due to the return of the blocking read that brings their effect. It fails when the rate is not reached.
    """
    _refuse_look_ups(common.config)

    from workers.lab.bench.latency import Plan, measure
    from workers.lab.bench.report import show_latency, tell

    plan = Plan(
        rate, seconds, pending, devices, workers, common.redis_url, _rules(common), common.config.settings()
    )
    with _results():
        result = measure(plan, tell)
    show_latency(result, as_json=as_json)


@app.command()
@with_options
def peers(
    *,
    calls: Annotated[
        int, typer.Option(min=1, metavar="N", help="Complete calls of ours in each round.")
    ] = 10_000,
    jobs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Jobs of each of the others in each round.")
    ] = 5_000,
    rounds: Rounds = 3,
    as_json: AsJson = False,
    common: Common,
) -> None:
    """Our events against no-op jobs of arq, saq, taskiq, streaq and FastStream: backlogs, one worker each.

    They run at the fastest settings at which a crash loses no job. They are installed with
    `pip install 'invites-worker[bench]'`.
    """
    _refuse_look_ups(common.config)

    from workers.lab.bench.comparison import Plan, measure
    from workers.lab.bench.report import show_comparison, tell

    plan = Plan(calls, jobs, rounds, common.redis_url, _rules(common), common.config.settings())
    with _results():
        result = measure(plan, tell)
    show_comparison(result, as_json=as_json)


@app.command()
@with_options
def plots(  # noqa: PLR0913 - a command's parameters are its options
    *,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the SVG files and figures.json go.")],
    calls: Annotated[
        int, typer.Option(min=1, metavar="N", help="Complete calls in each measurement.")
    ] = 10_000,
    seconds: Annotated[float, typer.Option(min=0.1, metavar="N", help="How long each rate is offered.")] = 10,
    most_workers: Annotated[
        int, typer.Option(min=1, metavar="N", help="Measure with 1 to so many workers.")
    ] = 4,
    most_shards: Annotated[
        int, typer.Option(min=1, metavar="N", help="Measure with 1, 2, 4, ... shards up to so many.")
    ] = 4,
    most_rate: Annotated[
        int,
        typer.Option(min=250, metavar="N", help="Offer 250, 500, 1,000, ... calls/s up to this or the knee."),
    ] = 8_000,
    most_pending: Annotated[
        int,
        typer.Option(
            min=1_000, metavar="N", help="Measure with 1,000, 10,000, ... pending invites up to so many."
        ),
    ] = 1_000_000,
    as_json: AsJson = False,
    common: Common,
) -> None:
    """Measure and draw: calls/s by workers and shards, latency by rate, both by pending invites. Takes 15 minutes."""
    _refuse_look_ups(common.config)

    from workers.lab.bench.plots import Plan, draw, measure, steps
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
        _rules(common),
        common.config.settings(),
    )
    with _results():
        folder.mkdir(parents=True, exist_ok=True)
        figures = measure(plan, tell)
        drawn = draw(figures, folder)
    show_plots(figures, drawn, as_json=as_json)


@app.command()
@with_options
def races(
    *,
    trials: Annotated[int, typer.Option(min=1, metavar="N", help="Calls, each with one race.")] = 20_000,
    workers: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Worker processes; one is killed every 1.5 s and replaced."),
    ] = 3,
    as_json: AsJson = False,
    common: Common,
) -> None:
    """Accept against accept, cancel, time-out, decline and disconnect at the same moment, while workers are killed.

    Every notification is read: each call must have one outcome, one record and one winner at the most, and each
    device that rang must be told to stop or have won. Status 1 when anything is wrong.
    """
    _refuse_look_ups(common.config)

    from workers.lab.bench.races import Plan, measure
    from workers.lab.bench.report import show_races, tell

    with _results():
        report = measure(Plan(trials, workers, common.redis_url, _rules(common)), tell)
    show_races(report, as_json=as_json)
    if report.faults:
        raise CommandError(f"{len(report.faults)} things went wrong, the first: {report.faults[0].words}.")


@app.command(name="look-ups")
@with_options
def look_ups(
    *,
    rate: Rate = 200,
    seconds: Annotated[
        float,
        typer.Option(min=0.1, metavar="N", help="How long in each round, after a start that is not counted."),
    ] = 10,
    look_up_ms: Annotated[
        int, typer.Option("--look-up-ms", min=0, max=500, help="How long sippo-server takes to answer.")
    ] = 20,
    members: Annotated[int, typer.Option(min=1, max=500, help="Members of the group that is called.")] = 10,
    devices: SeveralDevices = 3,
    as_json: AsJson = False,
    common: Common,
) -> None:
    """Requests to sippo-server for each call, and how long devices wait for a look-up, or with sippo-server dead.

    It asks a stand-in of its own, in place of whatever `basic` says in a configuration. Times are taken as by
    `latency`: from when an invite is due to its invitation.
    """
    from workers.lab.bench.look_ups import Plan, measure
    from workers.lab.bench.report import show_look_ups, tell

    plan = Plan(rate, seconds, look_up_ms, members, devices, common.redis_url, _rules(common))
    with _results():
        result = measure(plan, tell)
    show_look_ups(result, as_json=as_json)
