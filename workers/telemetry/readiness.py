"""Whether this worker is ready: its reads must have completed recently, and its commits must be answered."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Final

_WITHIN_S: Final = 6.0  # three times as long as a read may wait for entries
_NOTHING_YET: Final = "no read from Redis has completed yet"


class Commits:
    """The commits of one settler: the first entry that could not be committed since the last answer, and why."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.entry = ""
        self.reason = ""
        self.failing_since: float | None = None

    def failed(self, entry: str, reason: str) -> None:
        """A commit that begins with `entry` got no answer. `reason` must not contain secrets."""
        self.reason = reason
        if self.failing_since is None:
            self.failing_since, self.entry = time.monotonic(), entry

    def answered(self) -> None:
        """The server has answered a commit."""
        self.failing_since = None


class Readiness:
    """The answer of `/readyz`. The loops write it, the HTTP server reads it.

    A worker that reads only some of its streams, or whose commits fail for longer than `within_s`, is not ready.
    `trouble` is why the whole worker cannot work, or "".
    """

    def __init__(self, within_s: float = _WITHIN_S) -> None:
        self.trouble = ""
        self._within_s = within_s
        self._completed: dict[str, float] = {}
        self._troubles: dict[str, str] = {}
        self._commits: defaultdict[str, list[Commits]] = defaultdict(list)

    def expect(self, stream: str) -> None:
        """The worker is going to read a stream."""
        self._troubles[stream] = _NOTHING_YET

    def read_completed(self, stream: str) -> None:
        """A read from a stream has completed, with or without entries."""
        self._completed[stream] = time.monotonic()
        self._troubles.pop(stream, None)

    def lost(self, role: str, reason: str) -> None:
        """Reading a stream, or another role, has failed. `reason` must not contain secrets."""
        self._troubles[role] = reason

    def regained(self, role: str) -> None:
        """A role that was `lost` works again."""
        self._troubles.pop(role, None)

    def commits_of(self, stream: str) -> Commits:
        """The commits of a settler of the stream."""
        commits = Commits(stream)
        self._commits[stream].append(commits)
        return commits

    def all_settled(self, stream: str) -> None:
        """The stream has no unsettled entry: other workers have settled those that this one could not commit."""
        for commits in self._commits[stream]:
            commits.answered()

    def is_ready(self) -> bool:
        """Whether the worker is ready now."""
        return self.state()[0]

    def state(self, now: float | None = None) -> tuple[bool, str]:
        """Whether the worker is ready at `now` (s, monotonic; default: the current time), and otherwise why not."""
        trouble = self.trouble or next(iter(self._troubles.values()), "")
        if trouble or not self._completed:
            return False, trouble or _NOTHING_YET
        now = time.monotonic() if now is None else now
        failing = [
            (one.failing_since, one)
            for commits in self._commits.values()
            for one in commits
            if one.failing_since is not None
        ]
        if failing:
            since, oldest = min(failing, key=lambda pair: pair[0])
            if now - since > self._within_s:
                said = f"the entry {oldest.entry} of {oldest.stream} could not be committed"
                return False, f"{said} for {now - since:.1f} s: {oldest.reason}"
        age = now - min(self._completed.values())
        if age > self._within_s:
            return False, f"no read from Redis has completed for {age:.1f} s"
        return True, ""
