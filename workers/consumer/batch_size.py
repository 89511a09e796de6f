"""How many events one commit takes."""

from __future__ import annotations

from typing import Final

_TARGET_S: Final = 0.010
_MOST: Final = 64  # entries that one read takes: large ones may follow small ones
_WEIGHT: Final = 0.2  # of the newest commit in the moving average


class BatchSize:
    """The size of a full batch, such that one commit keeps the server busy for 10 ms at most.

    The server runs one script at a time, so larger batches cost everybody else latency. A batch comes from one read:
    between two commits the server answers one read, so a batch of several reads would make it wait. This is only the
    cap: without a backlog a batch is whatever has arrived. The size begins at `first` and never falls below `fewest`.
    """

    def __init__(self, fewest: int = 16, first: int = _MOST) -> None:
        self.value = first
        self._fewest = fewest
        self._event_s = _TARGET_S / first
        self._round_trip_s = 0.0

    @property
    def knows_network(self) -> bool:
        """Whether `pinged` was called."""
        return self._round_trip_s > 0

    def pinged(self, seconds: float) -> None:
        """A command that does nothing took `seconds`: that part of a commit's time is the network's.

        Such a command can wait behind another worker's commit, so the lowest time counts. It is forgotten slowly.
        """
        if self._round_trip_s == 0.0 or seconds < self._round_trip_s:
            self._round_trip_s = seconds
        else:
            self._round_trip_s += (seconds - self._round_trip_s) * 0.1

    def committed(self, events: int, seconds: float) -> None:
        """A commit of `events` events took `seconds`. A few events say nothing: the call outweighs them."""
        if events < self._fewest:
            return
        event_s = max(seconds - self._round_trip_s, 0.0) / events
        self._event_s += (event_s - self._event_s) * _WEIGHT
        self.value = max(self._fewest, min(_MOST, int(_TARGET_S / max(self._event_s, 1e-6))))
