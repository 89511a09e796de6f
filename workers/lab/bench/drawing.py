"""Draws the figures of `invites bench plots` as SVG files.

Only this module imports matplotlib, which comes with the extra `[bench]`. The same figures always give the same bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.typing import RcKeyType

from workers.lab.bench.latency import Latency
from workers.lab.bench.plots import Figures

_INCHES: Final = (6.6, 3.7)
_STYLE: Final[dict[RcKeyType, Any]] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "invites",  # the same ids each time
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 26,  # room for the legend
    "axes.titleweight": "bold",
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.facecolor": "white",  # readable on a dark page, too
    "grid.color": "#ddd",
    "legend.frameon": False,
}
# Distinct for people with colour blindness, too (Okabe and Ito).
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_NO_METADATA: Final[dict[str, Any]] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_NUMBER: Final = FuncFormatter(lambda value, _: f"{value:,.10g}")


def draw(figures: Figures, folder: Path) -> list[Path]:
    """Write the plots into the folder and return their paths."""
    plots = {
        "calls-by-workers": _calls_by_workers,
        "cost-by-shards": _cost_by_shards,
        "latency-by-rate": _latency_by_rate,
        "calls-by-pending": _calls_by_pending,
        "latency-by-pending": _latency_by_pending,
    }
    paths = []
    for name, plot in plots.items():
        paths.append(folder / f"{name}.svg")
        with rc_context(_STYLE):
            figure = Figure(_INCHES, layout="constrained")
            plot(figure.add_subplot(), figures)
            figure.savefig(paths[-1], metadata=_NO_METADATA)
    return paths


def _calls_by_workers(axes: Axes, figures: Figures) -> None:
    axes.set(title="Complete calls a second, by workers and shards", xlabel="worker processes")
    for shards, colour in zip(sorted({each.shards for each in figures.by_workers}), _COLOURS, strict=False):
        line = [each for each in figures.by_workers if each.shards == shards]
        name = f"{shards} shard{'s'[: shards - 1]}"
        axes.plot(
            [each.workers for each in line],
            [each.calls_per_s for each in line],
            "o-",
            color=colour,
            label=name,
        )
    _finish_calls(axes, {each.workers for each in figures.by_workers})


def _cost_by_shards(axes: Axes, figures: Figures) -> None:
    axes.set(title="Processor time of a call, by shards, with one worker", xlabel="shards", xscale="log")
    line = [each for each in figures.by_workers if each.workers == 1]
    shards = [each.shards for each in line]
    axes.plot(shards, [each.server_us for each in line], "o-", color=_COLOURS[0], label="server")
    axes.plot(shards, [each.worker_us for each in line], "o-", color=_COLOURS[1], label="worker")
    axes.set(ylabel="us", ylim=(0, 1.05 * axes.get_ylim()[1]))
    _finish(axes, shards)


def _calls_by_pending(axes: Axes, figures: Figures) -> None:
    axes.set(
        title="Complete calls a second, by pending invites", xlabel="other invites pending", xscale="log"
    )
    pending = [each.pending for each in figures.speed_by_pending]
    calls_per_s = [each.calls_per_s for each in figures.speed_by_pending]
    axes.plot(pending, calls_per_s, "o-", color=_COLOURS[0], label="1 worker, 1 shard")
    _finish_calls(axes, pending)


def _latency_by_rate(axes: Axes, figures: Figures) -> None:
    axes.set(title="Latency by offered rate, up to the knee", xlabel="calls/s offered")
    _plot_latencies(axes, [each.rate for each in figures.by_rate], figures.by_rate)


def _latency_by_pending(axes: Axes, figures: Figures) -> None:
    axes.set(title="Latency by pending invites", xlabel="other invites pending")
    _plot_latencies(axes, [each.pending for each in figures.latency_by_pending], figures.latency_by_pending)


def _plot_latencies(axes: Axes, at: Sequence[float], latencies: Sequence[Latency]) -> None:
    """The colour stands for the event, the line style for the percentile."""
    axes.set(xscale="log", yscale="log", ylabel="latency, ms")
    invite, accept, *_ = _COLOURS
    # Both events take nearly the same time, so their lines overlap: the wide mark stays visible below the small one.
    wide: dict[str, Any] = {"color": invite, "marker": "o", "markersize": 8}
    small: dict[str, Any] = {"color": accept, "marker": "s", "markersize": 4}
    axes.plot(at, [each.invite_p99_ms for each in latencies], "--", label="invite, p99", **wide)
    axes.plot(at, [each.accept_p99_ms for each in latencies], "--", label="accept, p99", **small)
    axes.plot(at, [each.invite_p50_ms for each in latencies], label="invite, p50", **wide)
    axes.plot(at, [each.accept_p50_ms for each in latencies], label="accept, p50", **small)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    _finish(axes, at)


def _finish_calls(axes: Axes, x: Collection[float]) -> None:
    axes.set(ylabel="calls/s", ylim=(0, 1.05 * axes.get_ylim()[1]))
    _finish(axes, x)


def _finish(axes: Axes, x: Collection[float]) -> None:
    """Put ticks at the measured values, and the legend below the title."""
    axes.set_xticks(sorted(x))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(_NUMBER)
    axes.yaxis.set_major_formatter(_NUMBER)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0, borderpad=0.2)
