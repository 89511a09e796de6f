"""Measures on a real server the size of each thing that `invites size` counts (bytes)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from invites.store.settings import Settings
from workers.lab.bench.baseline import Baseline
from workers.lab.bench.load import Event, Load
from workers.lab.bench.memory import used_memory
from workers.lab.bench.target import Target, open_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.support.events import Published

COUNT: Final = 4_096  # of each thing: the server's own buffers are small compared with that


class Measured:
    """The sizes of things on one server, one after the other."""

    def __init__(self, target: Target) -> None:
        self._baseline = Baseline(target, Settings())
        self._target = target
        target.make_groups()
        self._used = used_memory(target)

    def events(self, make: Callable[[int], Iterable[Published]]) -> float:
        """The bytes that the events for one number leave."""
        published = (event for number in range(COUNT) for event in make(number))
        return self.of((kind, msgspec.json.encode(payload)) for kind, payload in published)

    def of(self, events: Iterator[Event]) -> float:
        """The bytes that the events leave, `COUNT` times something."""
        self._baseline.settle(events)
        before, self._used = self._used, used_memory(self._target)
        return (self._used - before) / COUNT


def calls(devices: int) -> tuple[float, float, float]:
    """The bytes of a user's registrations, of a pending call to it, and of a finished one, with `devices` devices."""
    load = Load(COUNT, devices, 0, callees=COUNT)
    with open_target(None) as target:
        measured = Measured(target)
        registered = measured.of(load.registrations())
        pending = measured.of(load.invites())
        return registered, pending, pending + measured.of(load.accepts())


def marks(*steps: Callable[[int], Iterable[Published]]) -> list[float]:
    """The bytes that each step's events for one number leave, one step after the other."""
    with open_target(None) as target:
        measured = Measured(target)
        return [measured.events(step) for step in steps]
