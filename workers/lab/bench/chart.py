"""A line chart as SVG: what a browser shows of it needs no font, script or style from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final, NamedTuple

_WIDTH: Final = 640
_HEIGHT: Final = 360
_LEFT: Final = 70
_RIGHT: Final = 20
_TOP: Final = 70
_BOTTOM: Final = 55
_TICKS: Final = 6
# Distinct for people who see few colours, too (Okabe and Ito).
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

Points = Sequence[tuple[float, float]]


class Axis(NamedTuple):
    """What is along an axis; with powers of ten, or from 0 on."""

    words: str
    powers: bool = False


class _Scale:
    """From values to pixels."""

    def __init__(self, axis: Axis, values: Sequence[float], first: float, last: float) -> None:
        self._powers = axis.powers
        self._first = first
        self._last = last
        if axis.powers:
            self._low = math.floor(math.log10(min(values)))
            self._high = max(math.ceil(math.log10(max(values))), self._low + 1)
            self.ticks = [10.0**power for power in range(self._low, self._high + 1)]
        else:
            step = _step(max(values))
            self._low = 0
            self._high = math.ceil(max(values) / step)
            self.ticks = [step * number for number in range(self._high + 1)]
            self._step = step

    def __call__(self, value: float) -> float:
        at = math.log10(value) if self._powers else value / self._step
        share = (at - self._low) / (self._high - self._low)
        return self._first + share * (self._last - self._first)


def chart(title: str, x: Axis, y: Axis, lines: Mapping[str, Points]) -> str:
    """Draw the lines, with a mark at each point. Values along an axis with powers of ten must be above 0.

    Raises ValueError when there is no point at all.
    """
    points = [point for line in lines.values() for point in line]
    if not points:
        raise ValueError("A chart without points shows nothing.")
    across = _Scale(x, [point[0] for point in points], _LEFT, _WIDTH - _RIGHT)
    up = _Scale(y, [point[1] for point in points], _HEIGHT - _BOTTOM, _TOP)
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
    style = 'font-family="sans-serif" font-size="12" fill="#333"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" {style}>',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        _text(_LEFT, 24, title, 'font-size="15" font-weight="bold"'),
        *_frame(x, y, across, up),
        *_legend(list(lines)),
    ]
    for colour, line in zip(_COLOURS, lines.values(), strict=False):
        places = [(across(value), up(height)) for value, height in line]
        path = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3.5" fill="{colour}"/>' for left, top in places]
    return "\n".join([*parts, "</svg>", ""])


def _frame(x: Axis, y: Axis, across: _Scale, up: _Scale) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for tick in up.ticks:
        top = up(tick)
        parts.append(f'<line x1="{_LEFT}" y1="{top:.1f}" x2="{right}" y2="{top:.1f}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 8, top + 4, _number(tick), 'text-anchor="end"'))
    for tick in across.ticks:
        left = across(tick)
        parts.append(f'<line x1="{left:.1f}" y1="{bottom}" x2="{left:.1f}" y2="{bottom + 5}" stroke="#333"/>')
        parts.append(_text(left, bottom + 20, _number(tick), 'text-anchor="middle"'))
    parts.append(f'<line x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}" stroke="#333"/>')
    parts.append(_text((_LEFT + right) / 2, _HEIGHT - 12, x.words, 'text-anchor="middle"'))
    middle = (_TOP + bottom) / 2
    parts.append(_text(18, middle, y.words, f'text-anchor="middle" transform="rotate(-90 18 {middle})"'))
    return parts


def _legend(names: list[str]) -> list[str]:
    parts = []
    room = (_WIDTH - _LEFT - _RIGHT) / max(len(names), 1)
    for number, (colour, name) in enumerate(zip(_COLOURS, names, strict=False)):
        left = _LEFT + number * room
        parts.append(f'<circle cx="{left + 5:.1f}" cy="46" r="4" fill="{colour}"/>')
        parts.append(_text(left + 14, 50, name))
    return parts


def _text(left: float, top: float, words: str, how: str = "") -> str:
    return f'<text x="{left:.1f}" y="{top:.1f}" {how}>{escape(words)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 or value == 0 else f"{value:g}"


def _step(most: float) -> float:
    """1, 2 or 5 times a power of ten, such that there are few ticks up to the value."""
    rough = max(most, 1e-9) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
