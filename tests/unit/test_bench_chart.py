"""The plots: well-formed, and every point where it belongs."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from workers.lab.bench.chart import Axis, chart

_SVG = "{http://www.w3.org/2000/svg}"


def _drawn(svg: str) -> tuple[list[list[tuple[float, float]]], list[str]]:
    root = ET.fromstring(svg)  # noqa: S314 - the text is our own
    lines = [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]
        for line in root.iter(f"{_SVG}polyline")
    ]
    return lines, [text.text or "" for text in root.iter(f"{_SVG}text")]


def test_lines_go_up_where_values_do() -> None:
    (line,), words = _drawn(chart("T", Axis("x"), Axis("y"), {"a": [(1, 100), (2, 200), (3, 300)]}))
    assert [x for x, _ in line] == sorted(x for x, _ in line)
    (_, first), (_, second), (_, third) = line
    assert first > second > third  # pixels count downwards
    assert first - second == pytest.approx(second - third, abs=0.2)
    assert {"T", "x", "y", "a", "0", "300"} <= set(words)


def test_powers_of_ten_are_equally_far_apart() -> None:
    points = [(1_000, 0.5), (10_000, 5), (100_000, 50)]
    (line,), words = _drawn(chart("T", Axis("x", powers=True), Axis("y", powers=True), {"a": points}))
    (x1, y1), (x2, y2), (x3, y3) = line
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.2)
    assert {"0.1", "1", "10", "100", "1,000", "10,000", "100,000"} <= set(words)


def test_each_line_has_a_colour_of_its_own() -> None:
    root = ET.fromstring(  # noqa: S314 - the text is our own
        chart("T", Axis("x"), Axis("y"), {name: [(1, 1), (2, 2)] for name in "abcd"})
    )
    assert len({line.attrib["stroke"] for line in root.iter(f"{_SVG}polyline")}) == 4


def test_words_cannot_break_the_picture() -> None:
    _, words = _drawn(chart("a < b & c", Axis("x"), Axis("y"), {"<&>": [(1, 1)]}))
    assert {"a < b & c", "<&>"} <= set(words)


def test_one_point_is_enough_and_none_is_not() -> None:
    assert _drawn(chart("T", Axis("x", powers=True), Axis("y"), {"a": [(1, 1)]}))[0]
    with pytest.raises(ValueError, match="without points"):
        chart("T", Axis("x"), Axis("y"), {"a": []})
