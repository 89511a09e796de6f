"""How results are shown: rounds on standard error while they come, the result on standard output."""

from __future__ import annotations

import msgspec
from rich.console import Console
from rich.table import Table

from workers.bench.throughput import Round, Throughput


def show_round(number: int, done: Round) -> None:
    """One line for a round, so that a long benchmark says that it lives and how much the figures scatter."""
    ratio = done.calls_per_s / done.ceiling_calls_per_s
    Console(stderr=True).print(
        f"round {number}: {done.calls_per_s:,.0f} calls/s in commits of {done.worker.batch} events, "
        f"bare server {done.ceiling_calls_per_s:,.0f}, ratio {ratio:.3f}",
        highlight=False,
        soft_wrap=True,
    )


def show_throughput(result: Throughput, *, as_json: bool) -> None:
    """The result as one JSON object, or as a table for people."""
    if as_json:
        print(msgspec.json.encode(result).decode())  # noqa: T201 - this is what the command is for
        return
    table = Table(title="Throughput", show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    table.add_row("complete calls", f"{result.calls:,}")
    table.add_row("devices of each callee", str(result.devices))
    table.add_row("workers", str(result.workers))
    table.add_row("shards", str(result.shards))
    table.add_row("time", f"{result.seconds:.2f} s")
    table.add_row("calls", f"{result.calls_per_s:,.0f} /s", style="bold")
    table.add_row("events", f"{result.events_per_s:,.0f} /s")
    table.add_row("processor time of the workers", f"{result.worker_cpu_s:.2f} s")
    table.add_row("bare server, prepared batches", f"{result.ceiling_calls_per_s:,.0f} calls/s")
    table.add_row("workers / bare server", f"{result.ceiling_ratio:.3f}", style="bold")
    Console().print(table)
