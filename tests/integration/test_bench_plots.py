"""`invites bench plots` with few calls: the plots show the measured figures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from invites.store.settings import Settings
from tests.support.commands import Commands
from workers.lab.bench import extra, latency, plots
from workers.lab.bench.drawing import draw
from workers.lab.bench.latency import Latency, NotReachedError
from workers.lab.bench.plots import Figures, Speed, load, save, steps

_TINY = (
    "--calls",
    "50",
    "--seconds",
    "0.2",
    "--most-workers",
    "1",
    "--most-shards",
    "2",
    "--most-rate",
    "250",
    "--most-pending",
    "1000",
)
_NAMES = ["calls-by-pending", "calls-by-workers", "cost-by-shards", "latency-by-pending", "latency-by-rate"]


def test_measures_and_draws(commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(latency, "_REACHED", 0.0)  # others may be using this machine
    folder = tmp_path / "new" / "plots"
    ended = commands.run("bench", "plots", str(folder), *_TINY, "--json")
    assert ended.status == 0, ended.err
    result = json.loads(ended.out)
    assert [(each["shards"], each["workers"]) for each in result["by_workers"]] == [(1, 1), (2, 1)]
    assert all(each["server_us"] > 0 and "worker_us" in each for each in result["by_workers"])
    assert [each["rate"] for each in result["by_rate"]] == [250]
    assert [each["pending"] for each in result["speed_by_pending"]] == [1000]
    assert [each["pending"] for each in result["latency_by_pending"]] == [1000]
    assert sorted(path.stem for path in folder.glob("*.svg")) == _NAMES
    assert json.loads((folder / "figures.json").read_text()) == result


def test_rates_end_at_the_knee(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(plan: latency.Plan, _tell: object) -> Latency:
        if plan.rate > 500:
            raise NotReachedError("too much")
        return Latency(plan.rate, 0, 1.0, 2.0, 1.0, 2.0)

    monkeypatch.setattr(latency, "measure", measure)
    said: list[str] = []
    plan = plots.Plan(1, 1.0, [1], [1], [250, 500, 1000, 2000], [1], 1.0, None, {}, Settings())
    assert [each.rate for each in plots._by_rate(plan, said.append)] == [250, 500]
    assert said == ["The knee is reached: too much"]
    with pytest.raises(NotReachedError):
        plots._by_rate(plots.Plan(1, 1.0, [1], [1], [1000], [1], 1.0, None, {}, Settings()), said.append)


def test_what_is_too_much_while_many_are_pending_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure_in(_target: object, _baseline: object, plan: latency.Plan, *_: object, name: str) -> Latency:
        if plan.pending > 20:
            raise NotReachedError(f"too much for {name}")
        return Latency(plan.rate, plan.pending, 1.0, 2.0, 1.0, 2.0)

    monkeypatch.setattr(latency, "measure_in", measure_in)
    said: list[str] = []
    plan = plots.Plan(10, 1.0, [1], [1], [250], [20, 40], 250.0, None, {}, Settings())
    speeds, latencies = plots._by_pending(plan, said.append)
    assert [each.pending for each in speeds] == [20, 40]
    assert [each.pending for each in latencies] == [20]
    assert said[-1] == "Left out with 40 pending: too much for timed-40-"


def test_a_folder_that_cannot_be_made_is_said(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = commands.run("bench", "plots", str(tmp_path / "file"), *_TINY)
    assert ended.status == 1
    assert "file" in ended.err


def test_steps() -> None:
    assert steps(250, 2, 1100) == [250, 500, 1000]
    assert steps(1000, 10, 1000) == [1000]


def _figures() -> Figures:
    timed = [Latency(rate, 0, 1.0, 2.0, 1.0, 2.0) for rate in (250.0, 500.0)]
    speeds = [Speed(workers, 1, 10**workers, 100.0 * workers, 40.0, 130.0) for workers in (1, 2)]
    pending = [Latency(1000.0, 10**power, 1.0, 2.0, 1.0, 2.0) for power in (3, 4)]
    return Figures(speeds, timed, speeds, pending)


def _words(svg: Path) -> set[str]:
    root = ET.fromstring(svg.read_bytes())  # noqa: S314 - the text is our own
    return {text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")}


def test_the_same_figures_give_the_same_plots(commands: Commands, tmp_path: Path) -> None:
    drawn = {path: path.read_bytes() for path in draw(_figures(), tmp_path)}
    assert sorted(path.stem for path in drawn) == _NAMES
    save(_figures(), tmp_path)
    ended = commands.run("bench", "plots", str(tmp_path), "--redraw", "--json")
    assert ended.status == 0, ended.err
    assert json.loads(ended.out) == json.loads((tmp_path / "figures.json").read_text())
    assert {path: path.read_bytes() for path in drawn} == drawn
    assert load(tmp_path) == _figures()


def test_axes_have_names_units_and_ticks_where_something_was_measured(tmp_path: Path) -> None:
    draw(_figures(), tmp_path)
    assert {
        "Latency by offered rate, up to the knee",
        "calls/s offered",
        "latency, ms",
        "250",
        "500",
    } <= _words(tmp_path / "latency-by-rate.svg")
    assert {"1,000", "10,000", "accept, p99"} <= _words(tmp_path / "latency-by-pending.svg")
    assert {"worker processes", "calls/s", "0", "1", "2", "1 shard"} <= _words(
        tmp_path / "calls-by-workers.svg"
    )
    assert {"shards", "us", "1", "server", "worker"} <= _words(tmp_path / "cost-by-shards.svg")


def test_plots_refer_to_nothing_elsewhere(tmp_path: Path) -> None:
    for path in draw(_figures(), tmp_path):
        links = re.findall(r'(?:href="|url\()([^")]+)', path.read_text())
        assert links
        assert all(link.startswith("#") for link in links)


def test_without_the_library_nothing_is_measured(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(extra, "find_spec", lambda _: None)
    ended = commands.run("bench", "plots", str(tmp_path))
    assert ended.status == 1
    assert ended.err == (
        "invites: Not installed: matplotlib. Install it with: pip install 'invites-worker[bench]'\n"
    )


def test_without_figures_nothing_is_drawn(commands: Commands, tmp_path: Path) -> None:
    ended = commands.run("bench", "plots", str(tmp_path), "--redraw")
    assert ended.status == 1
    assert f"There are no figures in {tmp_path}, measure without --redraw: " in ended.err
