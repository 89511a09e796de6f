"""Runs the trials: publishes, reads notifications, kills workers and judges, in turn."""

from __future__ import annotations

import heapq
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from itertools import count
from typing import Final

import msgspec

from workers.lab.bench.call_history import Fault, Told, Wrong
from workers.lab.bench.callee_pool import CalleePool
from workers.lab.bench.fleet import Fleet
from workers.lab.bench.load import Event
from workers.lab.bench.settled import EntryId, Settled, entry_id
from workers.lab.bench.target import BenchError, Target
from workers.lab.bench.trials import OPPONENTS, RING_MS, Trial

GATEWAY: Final = "gateway"
"""The consumer group that reads the notifications."""

_AT_ONCE: Final = 2_000
_PAGE: Final = 2_000
_BLOCK_MS: Final = 5
_KILL_EVERY_S: Final = 1.5
_LOOK_EVERY_S: Final = 0.05
_TELL_EVERY_S: Final = 10.0
_OVERDUE_S: Final = 30.0  # after this time a record counts as missing
_STUCK_S: Final = 60.0
_AROUND_S: Final = 0.015
_FIRST_LEAD_S: Final = 0.1
_STEP_S: Final = 0.0005


class _Open(msgspec.Struct):
    """A trial under way: when it began (s), its last event, and the number of events not published yet."""

    trial: Trial
    since: float
    last: EntryId = (0, 0)
    waiting: int = 0


class RaceRunner:
    """Runs the trials and judges each call once nothing more can come of it.

    That is when its record has come, its events are settled, and all notifications up to then have been read.
    """

    def __init__(self, target: Target, fleet: Fleet, trials: int) -> None:
        self.judged = 0
        self.kills = 0
        self.faults: list[Fault] = []
        self.tried: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self._target = target
        self._fleet = fleet
        self._trials = trials
        self._settled = Settled(target)
        at_once = min(_AT_ONCE, trials)
        self._callee_pool = CalleePool(target, at_once, at_once // 2)
        self._at_once = at_once
        self._begun = 0
        self._open: dict[int, _Open] = {}
        self._ended: list[int] = []
        self._outbox: list[tuple[_Open, Event]] = []
        self._later: list[tuple[float, int, _Open, Event]] = []
        self._order = count()
        # How long before the time-out accepts are published; adapted so that each of the two wins some trials.
        self._lead_s = _FIRST_LEAD_S
        self._clock_s = target.now() - time.time()
        self._heard: EntryId = (0, 0)
        self._payload = msgspec.json.Decoder(Told)
        self._peers = msgspec.json.Decoder(list[str])

    def play(self, tell: Callable[[str], None]) -> None:
        """Run until all trials are judged. Raises `BenchError` when the workers make no progress."""
        moved = time.monotonic()
        kill_at, look_at, tell_at = moved + _KILL_EVERY_S, moved, moved + _TELL_EVERY_S
        judged_at_kill = 0
        while self.judged < self._trials:
            now, judged = time.monotonic(), self.judged
            # Only after progress: on a slow machine no worker would ever get far enough otherwise.
            if now >= kill_at and self.judged > judged_at_kill:
                self._fleet.kill_one()
                self.kills += 1
                kill_at, judged_at_kill = now + _KILL_EVERY_S, self.judged
            if now >= look_at:
                self._settled.look()
                look_at = now + _LOOK_EVERY_S
            if now >= tell_at:
                tell(f"{self.judged:,} trials, {self.kills} kills, {len(self.faults)} faults")
                tell_at = now + _TELL_EVERY_S
            self._callee_pool.settled(self._settled.up_to)
            self._begin(now)
            self._publish()
            self._listen()
            self._judge(now)
            if self.judged > judged:
                moved = now
            elif now - moved > _STUCK_S:
                raise BenchError(
                    f"The workers got stuck after {judged:,} trials. {self._fleet.words()}".strip()
                )

    def _begin(self, now: float) -> None:
        while len(self._open) < self._at_once and self._begun < self._trials:
            opponent = random.choice(list(OPPONENTS))
            user = self._callee_pool.take(opponent)
            if user is None:
                break
            opened = self._open[self._begun] = _Open(Trial(self._begun, user, opponent), now)
            self._begun += 1
            self._post(opened, opened.trial.begin())

    def _post(self, opened: _Open, events: Iterable[Event]) -> None:
        for event in events:
            opened.waiting += 1
            self._outbox.append((opened, event))

    def _post_around_deadline(self, opened: _Open, events: Iterable[Event]) -> None:
        deadline = (opened.last[0] + RING_MS) / 1000 - self._clock_s
        for event in events:
            opened.waiting += 1
            due = deadline - self._lead_s + random.uniform(-_AROUND_S, _AROUND_S)
            heapq.heappush(self._later, (due, next(self._order), opened, event))

    def _publish(self) -> None:
        while self._later and self._later[0][0] <= time.time():
            _, _, opened, event = heapq.heappop(self._later)
            self._outbox.append((opened, event))
        # Without this, one worker would read most events of a trial.
        random.shuffle(self._outbox)
        outbox, self._outbox = self._outbox, []
        entries = self._target.publish(event for _, event in outbox)
        for (opened, _), entry in zip(outbox, entries, strict=True):
            opened.last = max(opened.last, entry_id(entry))
            opened.waiting -= 1

    def _listen(self) -> None:
        source = ("BLOCK", _BLOCK_MS, "NOACK", "STREAMS", self._target.keys.notifications, ">")
        found = self._target.command("XREADGROUP", "GROUP", GATEWAY, "bench", "COUNT", _PAGE, *source)
        if found:
            entries = found[0][1]
            for _, (_, identity, _, kind, _, peers, _, _, _, payload) in entries:
                self._hear(identity.decode(), kind.decode(), peers, payload)
            self._heard = entry_id(entries[-1][0])
        self._settled.heard(self._heard)

    def _hear(self, identity: str, kind: str, peers: bytes, payload: bytes) -> None:
        told = self._payload.decode(payload)
        number = int(told.call.removeprefix("trial-"))
        opened = self._open.get(number)
        if opened is None:
            wrong = Wrong.GHOST_RING if kind == "invitation" else Wrong.DUPLICATE
            words = f"{told.call}: {kind} {identity} came after everything was settled"
            self.faults.append(Fault(wrong, words))
            return
        trial = opened.trial
        post = self._post_around_deadline if trial.opponent == "timeout" else self._post
        post(opened, trial.hear(identity, kind, self._peers.decode(peers), told))
        if kind == "INVITE_COMPLETED":
            self._post(opened, trial.return_lost())
            self._ended.append(number)

    def _judge(self, now: float) -> None:
        still = []
        for number in self._ended:
            opened = self._open.get(number)
            if opened is not None and not self._conclude(opened):
                still.append(number)
        self._ended = still
        overdue = deque[_Open]()
        for opened in self._open.values():  # in the order of their beginning
            if now - opened.since < _OVERDUE_S:
                break
            overdue.append(opened)
        for opened in overdue:
            if not opened.trial.history.ended:
                self._conclude(opened)

    def _conclude(self, opened: _Open) -> bool:
        """Judge the trial if nothing more can come of it; returns whether it is judged."""
        if opened.waiting or opened.last > self._settled.up_to:
            return False
        trial = opened.trial
        del self._open[trial.number]
        self._callee_pool.release(trial.user, trial.opponent)
        self.judged += 1
        self.faults += trial.faults()
        self.tried[trial.opponent] += 1
        self.accepted[trial.opponent] += trial.accepted()
        if trial.opponent == "timeout" and trial.history.rung:
            self._lead_s = max(0.0, self._lead_s + (-_STEP_S if trial.accepted() else _STEP_S))
        return True
