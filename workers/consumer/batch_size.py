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

    def committed(self, events: int, seconds: float) -> None:
        """The server has worked for `events` events (s). A few say nothing: the call outweighs them."""
        if events < self._fewest:
            return
        self._event_s += (seconds / events - self._event_s) * _WEIGHT
        self.value = max(self._fewest, min(_MOST, int(_TARGET_S / max(self._event_s, 1e-6))))
