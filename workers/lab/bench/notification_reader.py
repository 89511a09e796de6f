"""Reads the notifications as a gateway on the same machine would, and notes their times."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError

from workers.lab.bench.connection import Connection, pack

_PAGE: Final = 100  # entries; larger pages make the publishing thread wait
_BLOCK_MS: Final = 100


class _Named(msgspec.Struct):
    call: str = msgspec.field(name="inviteId", default="")


_payload = msgspec.json.Decoder(_Named)


class NotificationReader(threading.Thread):
    """Reads new entries of the stream with blocking reads. Times are those of `time.perf_counter`.

    `rung` and `stopped` have the times of each call's invitation and cancel, by the number in its id. `error` is what
    ended the thread before `stop`.
    """

    def __init__(self, connection: Connection, stream: str) -> None:
        super().__init__(daemon=True)
        self.rung: dict[int, float] = {}
        self.stopped: dict[int, float] = {}
        self.ended = 0
        self.last_end = 0.0
        self.error: RedisError | None = None
        self._connection = connection
        self._stream = stream
        last = connection.command("XREVRANGE", stream, "+", "-", "COUNT", 1)
        self._after: bytes = last[0][0] if last else b"0-0"
        self._stopping = threading.Event()

    def run(self) -> None:
        """Read until `stop`."""
        try:
            while not self._stopping.is_set():
                command = pack(
                    "XREAD", "COUNT", _PAGE, "BLOCK", _BLOCK_MS, "STREAMS", self._stream, self._after
                )
                reply = self._connection.send([command])[0]
                if reply:
                    self._hear(reply[0][1], time.perf_counter())
        except RedisError as error:
            self.error = error

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping.set()
        self.join()

    def _hear(self, entries: list[Any], at: float) -> None:
        for _, (_, _, _, kind, _, _, _, _, _, payload) in entries:
            if kind == b"invitation":
                self.rung[_number(payload)] = at
            elif kind == b"invitationCancel":
                self.stopped[_number(payload)] = at
            elif kind == b"INVITE_COMPLETED":
                self.ended += 1
                self.last_end = at
        self._after = entries[-1][0]


def _number(payload: bytes) -> int:
    return int(_payload.decode(payload).call.removeprefix("call-"))
