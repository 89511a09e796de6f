"""`invites bench latency`: measures how long devices wait for their notifications at a given rate of calls.

The load is open: each event is due at a fixed time, however long earlier events take, and its latency counts from that
time. So a stall counts for every event that was due meanwhile.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from invites.store.settings import Settings
from workers.lab.bench.baseline import Baseline
from workers.lab.bench.connection import Connection
from workers.lab.bench.fleet import STUCK_S, Fleet, await_first_commit, open_fleet
from workers.lab.bench.load import Load
from workers.lab.bench.notification_reader import NotificationReader
from workers.lab.bench.schedule import ANSWER_S, even
from workers.lab.bench.target import BenchError, Target, open_target
from workers.lab.bench.throughput import settle_backlog

WARM_UP_S: Final = 1.0
"""Calls in this time are not counted."""

_REACHED: Final = 0.98  # of the requested rate
_BACKLOG: Final = 10_000  # calls that measure the throughput
_TICK_S: Final = 0.001  # how often to look for late devices
_TIDY: Final = 64  # events between two looks at the replies
_FIRST: Final = Load(1, 1, 1, name="first-")
_SWITCH_S: Final = 0.0005  # how long the reading thread may hold the interpreter; Python's default is 5 ms


class Latency(msgspec.Struct, frozen=True):
    """The result: offered calls a second, other pending invites, and the latencies, ms.

    `load` is the rate as a share of the throughput, if that was measured.

    A latency is the time from when an event is due until the blocking read returns its effect: `invite` to
    `invitation`, and `accept` to the other devices' `invitationCancel`.
    """

    rate: float
    pending: int
    invite_p50_ms: float
    invite_p99_ms: float
    accept_p50_ms: float
    accept_p99_ms: float
    load: float | None = None


class NotReachedError(BenchError):
    """The requested rate was not reached."""


class Plan(msgspec.Struct, frozen=True):
    """What to measure, on which server (None: our own), and under which rules (see `throughput.Plan`)."""

    rate: float
    seconds: float
    pending: int
    devices: int
    workers: int
    url: str | None
    rules: dict[str, Any]
    settings: Settings
    load: float | None = None
    """The share of the throughput to offer instead of `rate`."""


class Run(NamedTuple):
    """The latencies of each call, s, and how late each event was published, s."""

    invites: Mapping[int, float]
    accepts: Mapping[int, float]
    late: list[float]
    calls_per_s: float
    offered_per_s: float


def measure(plan: Plan, tell: Callable[[str], None]) -> Latency:
    """Make the pending invites, offer the load, and summarize.

    Raises `BenchError` when there is no valid result, for example when the load generator or the workers did not reach
    the rate.
    """
    if plan.load:
        plan = msgspec.structs.replace(plan, rate=_share_of_throughput(plan, plan.load, tell))
    with open_target(plan.url) as target:
        baseline = Baseline(target, plan.settings)
        target.make_groups(counted=False)
        if plan.pending:
            tell(f"making {plan.pending:,} pending invites")
            baseline.make_pending(Load(plan.pending, plan.devices, plan.workers, name="waiting-"))
        return measure_in(target, baseline, plan, tell)


def measure_in(
    target: Target, baseline: Baseline, plan: Plan, tell: Callable[[str], None], name: str = ""
) -> Latency:
    """As `measure`, with the pending invites already made. Each load on one server needs its own `name`."""
    load = Load(int(plan.rate * (WARM_UP_S + plan.seconds)), plan.devices, plan.workers, name=name)
    baseline.register(load)
    with open_fleet(target, plan.workers, plan.rules) as fleet:
        target.publish(_FIRST.invites())
        await_first_commit(target, fleet)
        tell(f"offering {plan.rate:,.0f} calls/s for {WARM_UP_S + plan.seconds:,.0f} s")
        run = offer(target, fleet, load, plan.rate)
    check(run, plan.rate)
    tell(f"events were published up to {percentile(run.late, 0.99) * 1e3:.2f} ms late (99 of 100)")
    counted = range(int(WARM_UP_S * plan.rate), load.calls)
    invites = [run.invites[call] for call in counted]
    accepts = [run.accepts[call] for call in counted]
    invite_p50, invite_p99, accept_p50, accept_p99 = (
        round(percentile(part, share) * 1e3, 3) for part in (invites, accepts) for share in (0.5, 0.99)
    )
    return Latency(plan.rate, plan.pending, invite_p50, invite_p99, accept_p50, accept_p99, plan.load)


def _share_of_throughput(plan: Plan, load: float, tell: Callable[[str], None]) -> float:
    backlog = Load(_BACKLOG, plan.devices, plan.workers, name="backlog-")
    run = settle_backlog(backlog, plan.url, plan.rules, plan.settings)
    calls_per_s = backlog.calls / run.seconds
    tell(f"the throughput is {calls_per_s:,.0f} calls/s")
    return max(1.0, round(load * calls_per_s))


def offer(target: Target, fleet: Fleet, load: Load, rate: float) -> Run:
    """Offer the calls of a load at this rate and wait until all have ended. Raises `BenchError`."""
    schedule = [(due.at, due.call, due.event[0], target.packed(due.event)) for due in even(load, rate)]
    with target.another_connection() as connection, _undisturbed():
        reader = NotificationReader(connection, target.keys.notifications)
        reader.start()
        try:
            publisher = _Publisher(target, reader)
            publisher.publish(schedule)
            _await_ends(fleet, reader, load.calls)
        finally:
            reader.stop()
    began = publisher.began
    return Run(
        {call: reader.rung[call] - began - at for at, call, kind, _ in schedule if kind == "invite"},
        {call: reader.stopped[call] - at for call, at in publisher.accepted.items()},
        publisher.late,
        calls_per_s=load.calls / (reader.last_end - began - ANSWER_S),
        offered_per_s=load.calls / (publisher.ended - began - ANSWER_S),
    )


class _Publisher:
    """Publishes each event when it is due, but an accept only once its device rings."""

    def __init__(self, connection: Connection, reader: NotificationReader) -> None:
        self.accepted: dict[int, float] = {}
        self.late: list[float] = []
        self.began = 0.0
        self.ended = 0.0
        self._connection = connection
        self._reader = reader
        self._not_rung: deque[tuple[int, bytes]] = deque()

    def publish(self, schedule: list[tuple[float, int, str, bytes]]) -> None:
        """Publish everything; returns when the server has all of it."""
        rung = self._reader.rung
        self.began = time.perf_counter()
        for number, (at, call, kind, packed) in enumerate(schedule):
            due = self.began + at
            self._sleep_until(due)
            if kind == "invite":
                self._post(due, packed)
            elif call in rung:
                self.accepted[call] = max(due, rung[call])
                self._post(due, packed)
            else:
                self._not_rung.append((call, packed))
            if number % _TIDY == 0:
                self._connection.collect_arrived()
        self.ended = time.perf_counter()
        deadline = self.ended + STUCK_S
        while self._not_rung and time.perf_counter() < deadline:
            self._accept_what_rings()
            time.sleep(_TICK_S)
        self._connection.collect()

    def _post(self, due: float, packed: bytes) -> None:
        self.late.append(time.perf_counter() - due)
        self._connection.post(packed)

    def _sleep_until(self, due: float) -> None:
        while (wait := due - time.perf_counter()) > 0:
            if self._not_rung:
                self._accept_what_rings()
                wait = min(wait, _TICK_S)
            time.sleep(wait)

    def _accept_what_rings(self) -> None:
        rung = self._reader.rung
        while self._not_rung and (call := self._not_rung[0][0]) in rung:
            self.accepted[call] = rung[call]
            self._connection.post(self._not_rung.popleft()[1])


def _await_ends(fleet: Fleet, reader: NotificationReader, calls: int) -> None:
    ended, moved = 0, time.monotonic()
    while reader.ended < calls:
        fleet.check()
        if reader.error is not None:
            raise BenchError(f"The notifications cannot be read: {reader.error}")
        if reader.ended > ended:
            ended, moved = reader.ended, time.monotonic()
        elif time.monotonic() - moved > STUCK_S:
            raise BenchError(
                f"{calls - ended} of {calls} calls have not ended within {STUCK_S:.0f} s. {fleet.words()}".strip()
            )
        time.sleep(_TICK_S)


def check(run: Run, rate: float) -> None:
    """Raise `NotReachedError` when the load generator or the workers did not reach the rate."""
    if run.offered_per_s < rate * _REACHED:
        raise NotReachedError(
            f"The load generator offered only {run.offered_per_s:,.0f} of {rate:,.0f} calls/s: this machine is too "
            "slow or busy."
        )
    if run.calls_per_s < rate * _REACHED:
        raise NotReachedError(
            f"The workers settled only {run.calls_per_s:,.0f} of {rate:,.0f} calls/s: use a lower --rate."
        )


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Avoid pauses in this process: no garbage collection, and quick switches between its two threads."""
    interval = sys.getswitchinterval()
    gc.collect()
    gc.disable()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.enable()


def percentile(values: list[float], share: float) -> float:
    """The value at this share of the sorted values, 0.5 for the median (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
