"""`invites bench`: measurements on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invites.config.sections import MOST_SHARDS
from workers.cli.options import AsJson, CommandError, Common, Level, with_common

if TYPE_CHECKING:
    from invites.config import Config

app = typer.Typer(
    help="Measure this machine, with a temporary server unless --redis-url names one.", no_args_is_help=True
)

with_options = with_common(
    log_level=Level.WARN,
    redis_url=Annotated[
        str | None,
        typer.Option(
            "--redis-url",
            metavar="URL",
            help="Measure this server instead of a temporary one. The keys have their own prefix and are deleted.",
        ),
    ],
)

Devices = Annotated[int, typer.Option(min=1, metavar="N", help="Registered devices of each callee.")]
SeveralDevices = Annotated[int, typer.Option(min=2, metavar="N", help="Registered devices of each callee.")]
Rate = Annotated[float, typer.Option(min=1, metavar="N", help="Calls offered per second.")]
Rounds = Annotated[int, typer.Option(min=1, metavar="N", help="Rounds. The command reports their medians.")]
Workers = Annotated[int, typer.Option(min=1, metavar="N", help="Worker processes.")]


@contextlib.contextmanager
def _results() -> Iterator[None]:
    """Turn the failure of a measurement into one sentence and status 1."""
    from redis.exceptions import RedisError

    from workers.lab.bench.target import BenchError
    from workers.lab.embedded import EmbeddedError

    try:
        yield
    except (BenchError, EmbeddedError) as error:
        raise CommandError(str(error)) from None
    except (RedisError, OSError) as error:
        raise CommandError(f"The measurement failed: {error}") from None


def _refuse_lookups(loaded: Config) -> None:
    if loaded.lookups():
        named = " and ".join(loaded.lookups())
        raise CommandError(
            f"This benchmark measures calls without sippo-server: set {named} to the default, or use `look-ups`.",
            2,
        )


def _numbers_of_shards(text: str) -> list[int]:
    numbers = [int(each) if each.isdecimal() else 0 for each in text.split(",")]
    if not all(1 <= each <= MOST_SHARDS for each in numbers):
        raise CommandError(f"--shards takes whole numbers from 1 to {MOST_SHARDS}, not {text!r}.", 2)
    return numbers


def _rules(common: Common) -> dict[str, Any]:
    """The section `invites` of the configuration file, for the workers of the benchmark."""
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
    _refuse_lookups(common.config)

    from workers.lab.bench import servers as several
    from workers.lab.bench.load import Load
    from workers.lab.bench.report import show_by, show_round, show_server_round, show_throughput
    from workers.lab.bench.throughput import Plan, measure

    load, rules, settings = Load(calls, devices, workers), _rules(common), common.config.settings()
    plans = [
        Plan(load, rounds, common.redis_url, rules, settings, number) for number in _numbers_of_shards(shards)
    ]
    with _results():
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
    _refuse_lookups(common.config)

    from workers.lab.bench.load import Load
    from workers.lab.bench.memory import measure
    from workers.lab.bench.report import show_memory, tell

    load = Load(pending, devices, workers=0, callees=min(callees or pending, pending))
    with _results():
        result, parts = measure(load, common.redis_url, common.config.settings(), tell, ended=ended)
    show_memory(result, parts, as_json=as_json)


@app.command()
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
    _refuse_lookups(common.config)

    from workers.lab.bench.latency import Plan, measure
    from workers.lab.bench.report import show_latency, tell

    plan = Plan(
        *(rate, seconds, pending, devices, workers, common.redis_url, _rules(common)),
        *(common.config.settings(), load),
    )
    with _results():
        result = measure(plan, tell)
    show_latency(result, as_json=as_json)


@app.command()
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
    _refuse_lookups(common.config)

    from workers.lab.bench.gateway import Plan, measure
    from workers.lab.bench.report import show_gateway, tell

    plan = Plan(devices, rate, seconds, workers, common.redis_url, _rules(common))
    with _results():
        result = measure(plan, tell)
    show_gateway(result, as_json=as_json)


@app.command()
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
    _refuse_lookups(common.config)

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
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the SVG files and figures.json.")],
    calls: Annotated[
        int, typer.Option(min=1, metavar="N", help="Complete calls in each measurement.")
    ] = 10_000,
    seconds: Annotated[float, typer.Option(min=0.1, metavar="N", help="Duration of each rate.")] = 10,
    most_workers: Annotated[int, typer.Option(min=1, metavar="N", help="Measure with 1 to N workers.")] = 4,
    most_shards: Annotated[
        int, typer.Option(min=1, metavar="N", help="Measure with 1, 2, 4, ... shards, up to N.")
    ] = 4,
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
    """Measure and draw: calls/s by workers and shards, latency by rate, both by pending invites. Takes 15 minutes."""
    _refuse_lookups(common.config)

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
        _rules(common),
        common.config.settings(),
    )
    with _results():
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


@app.command()
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
    _refuse_lookups(common.config)

    from workers.lab.bench.races import Plan, measure
    from workers.lab.bench.report import show_races, tell

    with _results():
        report = measure(Plan(trials, workers, common.redis_url, _rules(common)), tell)
    show_races(report, as_json=as_json)
    if report.faults:
        raise CommandError(
            f"The races show {len(report.faults)} faults, the first: {report.faults[0].words}."
        )


@app.command(name="look-ups")
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

    plan = Plan(rate, seconds, look_up_ms, members, devices, common.redis_url, _rules(common))
    with _results():
        result = measure(plan, tell)
    show_lookups(result, as_json=as_json)
