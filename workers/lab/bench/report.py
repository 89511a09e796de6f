"""Shows results: progress on standard error, the result on standard output."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from workers.lab.bench.comparison import Comparison
from workers.lab.bench.gateway import GatewayLatency
from workers.lab.bench.latency import Latency
from workers.lab.bench.lookups import LookUps
from workers.lab.bench.memory import Memory, Parts
from workers.lab.bench.plots import Figures
from workers.lab.bench.races import Report
from workers.lab.bench.throughput import Round, Throughput

_FAULTS: Final = 20


def show_round(number: int, done: Round) -> None:
    """Print one line for a round, which shows progress and how much the figures vary."""
    ratio = done.calls_per_s / done.baseline_calls_per_s
    tell(
        f"round {number}: {done.calls_per_s:,.0f} calls/s in commits of {done.worker.batch} events, "
        f"bare server {done.baseline_calls_per_s:,.0f}, ratio {ratio:.3f}"
    )


def show_named_round(name: str, done: Round) -> None:
    """Print one line for a round of one of those that are compared."""
    tell(
        f"{name}: {done.calls_per_s:,.0f} calls/s in commits of {done.worker.batch} events, "
        f"{done.worker.server_cpu_s / done.calls * 1e6:.0f} us of the server, "
        f"bare server {done.baseline_calls_per_s:,.0f}"
    )


def show_throughput(result: Throughput, *, as_json: bool) -> None:
    """Print the result as one JSON object or as a table."""
    rows = {
        "complete calls": f"{result.calls:,}",
        "devices of each callee": str(result.devices),
        "workers": str(result.workers),
        "shards": str(result.shards),
        "time": f"{result.seconds:.2f} s",
        "calls": f"[bold]{result.calls_per_s:,.0f} /s",
        "events": f"{result.events_per_s:,.0f} /s",
        "processor time of the workers": f"{result.worker_us_per_call:.0f} us a call",
        "processor time of the server": f"{result.server_us_per_call:.0f} us a call",
        "time in which the server worked": f"{result.server_busy:.1%}",
        "bare server, prepared batches": f"{result.baseline_calls_per_s:,.0f} calls/s",
        "workers / bare server": f"[bold]{result.baseline_ratio:.3f}",
    }
    _show("Throughput", rows, result, as_json=as_json)


def show_by(name: str, results: Mapping[str, Throughput], *, as_json: bool) -> None:
    """Print one row for each result, with its speed and the processor time of a call against those of the first row.

    `name` says what distinguishes them.
    """
    if as_json:
        print(msgspec.json.encode(results).decode())  # noqa: T201 - this is what the command is for
        return
    table = Table(title=f"Throughput by {name}", title_justify="left")
    for heading in (
        name,
        "calls/s",
        "against the first",
        "worker, us a call",
        "server, us a call",
        "together, against the first",
    ):
        table.add_column(heading, justify="right")
    first = next(iter(results.values()))
    for key, each in results.items():
        table.add_row(
            key,
            f"{each.calls_per_s:,.0f}",
            f"{each.calls_per_s / first.calls_per_s:.2f}",
            f"{each.worker_us_per_call:.0f}",
            f"{each.server_us_per_call:.0f}",
            f"{_us(each) / _us(first):.2f}",
        )
    Console().print(table)


def _us(result: Throughput) -> float:
    return result.worker_us_per_call + result.server_us_per_call


def show_memory(result: Memory, parts: Parts, *, as_json: bool) -> None:
    """Print the result; the table also shows the share of each kind of key."""
    rows = {
        "pending invites": f"{result.pending:,}",
        "each of them adds": f"[bold]{result.bytes_per_invite:,.0f} bytes",
        **{f"  of that {kind}": f"{size:,.0f} bytes" for kind, size in parts.pending.items()},
    }
    if result.bytes_per_ended_call is not None:
        rows["accepted, it leaves"] = f"[bold]{result.bytes_per_ended_call:,.0f} bytes"
        rows |= {f"  of them {kind}": f"{size:,.0f} bytes" for kind, size in parts.ended.items()}
    _show("Memory", rows, result, as_json=as_json)


def show_latency(result: Latency, *, as_json: bool) -> None:
    """Print the result."""
    rows = {
        "offered": f"{result.rate:,.0f} calls/s"
        + (f", {result.load:.0%} of the throughput" if result.load else ""),
        "pending meanwhile": f"{result.pending:,}",
        **_waits(result),
    }
    _show("Latency", rows, result, as_json=as_json)


def show_gateway(result: GatewayLatency, *, as_json: bool) -> None:
    """Print the result."""
    rows = {
        "connected": f"{result.devices:,} devices",
        "offered": f"{result.rate:,.0f} calls/s",
        **_waits(result),
    }
    _show("Gateway", rows, result, as_json=as_json)


def _waits(result: Latency | GatewayLatency) -> dict[str, str]:
    return {
        "invite to invitation, p50": f"[bold]{result.invite_p50_ms:.2f} ms",
        "invite to invitation, p99": f"[bold]{result.invite_p99_ms:.2f} ms",
        "accept to invitationCancel, p50": f"[bold]{result.accept_p50_ms:.2f} ms",
        "accept to invitationCancel, p99": f"[bold]{result.accept_p99_ms:.2f} ms",
    }


def show_lookups(result: LookUps, *, as_json: bool) -> None:
    """Print the result."""
    callees = {
        "registered": "registered callee",
        "phone": "callee with a phone that sleeps",
        "group": f"group of {result.members} such callees",
    }
    waits = {
        "no lookup" if mode == "none" else f"{mode}, {result.look_up_ms} ms each": each
        for mode, each in result.waits.items()
    }
    waits["sippo-server dead"] = result.dead
    rows = {
        **{
            f"requests for a {words}, {mode}": f"[bold]{requests[kind]:g}"
            for kind, words in callees.items()
            for mode, requests in result.requests.items()
        },
        "offered": f"{result.rate:,.0f} calls/s",
        **{
            f"invite to invitation, {words}, {share}": f"[bold]{value:.2f} ms"
            for words, each in waits.items()
            for share, value in (("p50", each.p50_ms), ("p99", each.p99_ms), ("longest", each.longest_ms))
        },
    }
    _show("Look-ups", rows, result, as_json=as_json)


def show_comparison(result: Comparison, *, as_json: bool) -> None:
    """Print the result, fastest rival first."""
    rivals = sorted(result.rivals.items(), key=lambda rival: -rival[1])
    rows = {
        "complete calls": f"[bold]{result.calls_per_s:,.0f} /s",
        "events of calls": f"[bold]{result.events_per_s:,.0f} /s",
        **{f"jobs that do nothing, {name}": f"{rate:,.0f} /s" for name, rate in rivals},
        "events / jobs of the best": f"[bold]{result.ratio_to_best:.2f}",
    }
    _show("Peers", rows, result, as_json=as_json)


def show_plots(figures: Figures, drawn: list[Path], *, as_json: bool) -> None:
    """Print the figures as one JSON object, or the paths of the plots."""
    _show("Plots", {path.stem: str(path) for path in drawn}, figures, as_json=as_json)


def show_races(report: Report, *, as_json: bool) -> None:
    """Print the result; the table also shows how often the accept won. The first faults go to standard error."""
    races = report.races
    rows = {
        "trials": f"{races.trials:,} in {races.seconds:,.1f} s",
        "workers": str(races.workers),
        "kills": str(races.kills),
        **{
            f"accept first, not {opponent}": f"{won:,} of {tried:,}"
            for opponent, (tried, won) in report.opponents.items()
        },
        "double winners": f"[bold]{races.double_winners}",
        "lost cancels": f"[bold]{races.lost_cancels}",
        "ghost rings": f"[bold]{races.ghost_rings}",
        "missing records": f"[bold]{races.missing_records}",
        "duplicate notifications": f"[bold]{races.duplicate_notifications}",
    }
    _show("Races", rows, races, as_json=as_json)
    for fault in report.faults[:_FAULTS]:
        tell(f"{fault.wrong.value}: {fault.words}")


def tell(words: str) -> None:
    """Print one line on standard error."""
    Console(stderr=True).print(words, highlight=False, markup=False, soft_wrap=True)


def _show(title: str, rows: Mapping[str, str], result: msgspec.Struct, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(result).decode())  # noqa: T201 - this is what the command is for
        return
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(name, value)
    Console().print(table)
