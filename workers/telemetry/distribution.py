"""Histograms that are cheap enough for every event."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client import CollectorRegistry

_INFINITY: Final = "+Inf"


class Series:
    """The observations under one label."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class Distribution(Collector):
    """A histogram as prometheus_client has it, with one label at most, for one thread.

    To observe a value takes 0.2 us, without the locks and checks that make it 0.7 us.
    """

    def __init__(
        self, name: str, text: str, bounds: Sequence[float], registry: CollectorRegistry, label: str = ""
    ) -> None:
        self._name, self._text, self._label = name, text, label
        self._bounds = tuple(bounds)
        self._series: dict[str, Series] = {}
        registry.register(self)

    def of(self, label: str = "") -> Series:
        """The observations under this value of the label."""
        if label not in self._series:
            self._series[label] = Series(self._bounds)
        return self._series[label]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """The collector's method for the registry."""
        family = HistogramMetricFamily(self._name, self._text, labels=[self._label] if self._label else [])
        names = [*map(str, self._bounds), _INFINITY]
        for label, series in self._series.items():
            buckets = list(zip(names, accumulate(series.counts), strict=True))
            family.add_metric([label] if self._label else [], buckets, series.total)
        return [family]
