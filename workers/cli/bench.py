"""The commands of `invites bench`. They import `workers.lab.bench` when they run, so that no worker loads it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workers.cli.options import (
    CommandError,
    Common,
    ConfigFile,
    Format,
    Level,
    LogFormat,
    LogLevel,
)

if TYPE_CHECKING:
    from invites.config import Config

app = typer.Typer(
    help="Measure this machine, with an embedded server unless --redis-url names one.", no_args_is_help=True
)

RedisUrl = Annotated[
    str | None,
    typer.Option(
        "--redis-url",
        metavar="URL",
        help="Measure this server, not an embedded one. The benchmark's keys have their own prefix and are deleted.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object, and nothing else.")]


@contextlib.contextmanager
def _results() -> Iterator[None]:
    """Turn every error that leaves a benchmark without a result into one sentence and status 1."""
    from redis.exceptions import RedisError

    from workers.lab.bench.target import BenchError
    from workers.lab.embedded import EmbeddedError

    try:
        yield
    except (BenchError, EmbeddedError) as error:
        raise CommandError(str(error)) from None
    except (RedisError, OSError) as error:
        raise CommandError(f"The server failed: {error}") from None


def _refuse_look_ups(loaded: Config) -> None:
    if loaded.look_ups():
        named = " and ".join(loaded.look_ups())
        raise CommandError(
            f"This measures calls without sippo-server: set {named} to the default, or use `look-ups`.", 2
        )


@app.command()
def throughput(  # noqa: PLR0913 - a command's parameters are its options
    *,
    calls: Annotated[int, typer.Option(min=1, metavar="N", help="Complete calls in each round.")] = 20_000,
    devices: Annotated[int, typer.Option(min=1, metavar="N", help="Registered devices of each callee.")] = 3,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Worker processes.")] = 1,
    shards: Annotated[
        int,
        typer.Option(
            min=1, max=1024, metavar="N", help="Shards, all on one server. The bare server always has one."
        ),
    ] = 1,
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="Rounds; the result is their median.")] = 3,
    as_json: AsJson = False,
    config: ConfigFile = None,
    redis_url: RedisUrl = None,
    log_level: LogLevel = Level.WARN,
    log_format: LogFormat = Format.TEXT,
) -> None:
    """Complete calls a second, compared with the bare server that runs the same commits from prepared batches.

    A complete call is an invite, the ringing of all devices, an accept, the cancel of the others, outcome and record.

    The events are in the stream before the workers start. The time is taken from the first commit to the last.
    """
    loaded = Common(config, redis_url, log_level, log_format).set_up()
    _refuse_look_ups(loaded)

    from workers.lab.bench.load import Load
    from workers.lab.bench.report import show_round, show_throughput
    from workers.lab.bench.throughput import Plan, measure
    from workers.lab.worker_process import configuration_in

    rules = configuration_in(config).get("invites", {})
    plan = Plan(Load(calls, devices, workers), rounds, redis_url, rules, loaded.settings(), shards)
    with _results():
        result = measure(plan, show_round)
    show_throughput(result, as_json=as_json)


@app.command()
def memory(
    *,
    pending: Annotated[int, typer.Option(min=1, metavar="N", help="Pending invites.")] = 20_000,
    callees: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Users that are called, and users that call.",
            show_default="as many as invites",
        ),
    ] = None,
    devices: Annotated[int, typer.Option(min=1, metavar="N", help="Registered devices of each callee.")] = 3,
    as_json: AsJson = False,
    config: ConfigFile = None,
    redis_url: RedisUrl = None,
    log_level: LogLevel = Level.WARN,
    log_format: LogFormat = Format.TEXT,
) -> None:
    """Bytes that a pending invite adds: its keys, index entries and timer, without streams and registrations.

    Each invite has a context of 100 bytes and its own room. With fewer callees than invites, invites share indexes and
    take less memory.
    """
    loaded = Common(config, redis_url, log_level, log_format).set_up()
    _refuse_look_ups(loaded)

    from workers.lab.bench.load import Load
    from workers.lab.bench.memory import measure
    from workers.lab.bench.report import show_memory, tell

    load = Load(pending, devices, workers=0, callees=min(callees or pending, pending))
    with _results():
        result, parts = measure(load, redis_url, loaded.settings(), tell)
    show_memory(result, parts, as_json=as_json)


@app.command()
def latency(  # noqa: PLR0913 - a command's parameters are its options
    *,
    rate: Annotated[float, typer.Option(min=1, metavar="N", help="Calls offered in a second.")] = 1000,
    seconds: Annotated[
        float, typer.Option(min=0.1, metavar="N", help="Duration, after a first second that is not counted.")
    ] = 10,
    pending: Annotated[int, typer.Option(min=0, metavar="N", help="Other pending invites.")] = 0,
    devices: Annotated[int, typer.Option(min=2, metavar="N", help="Registered devices of each callee.")] = 3,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Worker processes.")] = 1,
    as_json: AsJson = False,
    config: ConfigFile = None,
    redis_url: RedisUrl = None,
    log_level: LogLevel = Level.WARN,
    log_format: LogFormat = Format.TEXT,
) -> None:
    """Latency at a rate of calls: invite to invitation, and accept to invitationCancel.

    The load is open: events are due at an even rate, however long earlier events take. A latency is the time from when
    an event is due until the blocking read returns its effect. The command fails when the rate is not reached.
    """
    loaded = Common(config, redis_url, log_level, log_format).set_up()
    _refuse_look_ups(loaded)

    from workers.lab.bench.latency import Plan, measure
    from workers.lab.bench.report import show_latency, tell
    from workers.lab.worker_process import configuration_in

    rules = configuration_in(config).get("invites", {})
    plan = Plan(rate, seconds, pending, devices, workers, redis_url, rules, loaded.settings())
    with _results():
        result = measure(plan, tell)
    show_latency(result, as_json=as_json)


@app.command()
def peers(
    *,
    calls: Annotated[
        int, typer.Option(min=1, metavar="N", help="Our complete calls in each round.")
    ] = 10_000,
    jobs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Jobs of each other worker in each round.")
    ] = 5_000,
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="Rounds; the result is their median.")] = 3,
    as_json: AsJson = False,
    config: ConfigFile = None,
    redis_url: RedisUrl = None,
    log_level: LogLevel = Level.WARN,
    log_format: LogFormat = Format.TEXT,
) -> None:
    """Our events compared with no-op jobs of arq, saq, taskiq, streaq and FastStream, one worker each.

    Each runs with the fastest settings that lose no job in a crash. To install them:
    `pip install 'invites-worker[bench]'`.
    """
    loaded = Common(config, redis_url, log_level, log_format).set_up()
    _refuse_look_ups(loaded)

    from workers.lab.bench.comparison import Plan, measure
    from workers.lab.bench.report import show_comparison, tell
    from workers.lab.worker_process import configuration_in

    rules = configuration_in(config).get("invites", {})
    plan = Plan(calls, jobs, rounds, redis_url, rules, loaded.settings())
    with _results():
        result = measure(plan, tell)
    show_comparison(result, as_json=as_json)


@app.command()
def plots(  # noqa: PLR0913 - a command's parameters are its options
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the SVG files and figures.json.")],
    *,
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
    config: ConfigFile = None,
    redis_url: RedisUrl = None,
    log_level: LogLevel = Level.WARN,
    log_format: LogFormat = Format.TEXT,
) -> None:
    """Measure and draw calls/s by workers and shards, latency by rate, both by pending invites. Takes 15 minutes."""
    loaded = Common(config, redis_url, log_level, log_format).set_up()
    _refuse_look_ups(loaded)

    from workers.lab.bench.extra import require
    from workers.lab.bench.plots import Plan, load, measure, save, steps
    from workers.lab.bench.report import show_plots, tell
    from workers.lab.worker_process import configuration_in

    rules = configuration_in(config).get("invites", {})
    plan = Plan(
        calls,
        seconds,
        range(1, most_workers + 1),
        steps(1, 2, most_shards),
        steps(250, 2, most_rate),
        steps(1_000, 10, most_pending),
        min(1_000, most_rate),
        redis_url,
        rules,
        loaded.settings(),
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
def races(
    *,
    trials: Annotated[int, typer.Option(min=1, metavar="N", help="Calls, with one race each.")] = 20_000,
    workers: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Worker processes. Every 1.5 s one is killed and replaced."),
    ] = 3,
    as_json: AsJson = False,
    config: ConfigFile = None,
    redis_url: RedisUrl = None,
    log_level: LogLevel = Level.WARN,
    log_format: LogFormat = Format.TEXT,
) -> None:
    """Races of an accept against accept, cancel, time-out, decline and disconnect, while workers are killed.

    Every notification is checked: each call must have one outcome, one record and at most one winner, and each device
    that rang must have won or be told to stop. Status 1 if anything is wrong.
    """
    _refuse_look_ups(Common(config, redis_url, log_level, log_format).set_up())

    from workers.lab.bench.races import Plan, measure
    from workers.lab.bench.report import show_races, tell
    from workers.lab.worker_process import configuration_in

    rules = configuration_in(config).get("invites", {})
    with _results():
        report = measure(Plan(trials, workers, redis_url, rules), tell)
    show_races(report, as_json=as_json)
    if report.faults:
        raise CommandError(f"{len(report.faults)} things went wrong, the first: {report.faults[0].words}.")


@app.command(name="look-ups")
def look_ups(  # noqa: PLR0913 - a command's parameters are its options
    *,
    rate: Annotated[float, typer.Option(min=1, metavar="N", help="Calls offered in a second.")] = 200,
    seconds: Annotated[
        float,
        typer.Option(min=0.1, metavar="N", help="Duration of each round, after a start that is not counted."),
    ] = 10,
    look_up_ms: Annotated[
        int, typer.Option("--look-up-ms", min=0, max=500, help="Time that sippo-server takes to answer.")
    ] = 20,
    members: Annotated[int, typer.Option(min=1, max=500, help="Members of the called group.")] = 10,
    devices: Annotated[int, typer.Option(min=2, metavar="N", help="Registered devices of each callee.")] = 3,
    as_json: AsJson = False,
    config: ConfigFile = None,
    redis_url: RedisUrl = None,
    log_level: LogLevel = Level.WARN,
    log_format: LogFormat = Format.TEXT,
) -> None:
    """Requests to sippo-server for each call, and how long devices wait if it is slow or dead.

    The command starts its own stand-in for sippo-server and ignores `basic` in a configuration. It measures as
    `latency` does, from invite to invitation.
    """
    Common(config, redis_url, log_level, log_format).set_up()

    from workers.lab.bench.look_ups import Plan, measure
    from workers.lab.bench.report import show_look_ups, tell
    from workers.lab.worker_process import configuration_in

    rules = configuration_in(config).get("invites", {})
    plan = Plan(rate, seconds, look_up_ms, members, devices, redis_url, rules)
    with _results():
        result = measure(plan, tell)
    show_look_ups(result, as_json=as_json)
