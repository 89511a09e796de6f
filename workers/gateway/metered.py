"""A bound on the bytes that a connection may send."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from workers.gateway.allowance import Allowance

if TYPE_CHECKING:
    from invites.config.sections import Gateway

_LEAST: Final = 65_536  # a second; the request before the messages may be long
_SPARE: Final = 2  # for the headers of frames


def bytes_per_second(gateway: Gateway) -> int:
    """Twice what a connection needs to send the largest messages as often as it may."""
    return max(_LEAST, _SPARE * gateway.messages_per_second * gateway.max_message)


class Metered(asyncio.Protocol):
    """Passes everything on to `served`, and cuts off a connection that sends more than `rate` bytes a second.

    Fragments without a message's end are never a message that could be counted. They are parsed as they come, before
    anything else that the process has to do.
    """

    def __init__(self, served: asyncio.Protocol, rate: int) -> None:
        self._served = served
        self._allowance = Allowance(rate)
        self._transport: asyncio.Transport | None = None
        self.eof_received = served.eof_received  # type: ignore[method-assign]
        self.connection_lost = served.connection_lost  # type: ignore[method-assign]
        self.pause_writing = served.pause_writing  # type: ignore[method-assign]
        self.resume_writing = served.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self._served.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        if self._allowance.take(len(data)):
            self._served.data_received(data)
        elif self._transport is not None:
            self._transport.abort()
