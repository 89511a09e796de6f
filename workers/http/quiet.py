"""The log of the HTTP library, without its clients' mistakes."""

from __future__ import annotations

import logging
from typing import Final

from aiohttp import web
from aiohttp.http import HttpProcessingError


class _NotTheClient(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        fault = record.exc_info[1] if record.exc_info else None
        return not isinstance(fault, (HttpProcessingError, web.RequestPayloadError, ConnectionError))


LOG: Final = logging.getLogger("aiohttp.server.invites")
"""For aiohttp's server. A client that sends no valid HTTP, or hangs up, cannot fill the log with tracebacks."""
LOG.addFilter(_NotTheClient())
# It quotes the sub-protocols that a client offers, and clients offer tokens.
logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)
