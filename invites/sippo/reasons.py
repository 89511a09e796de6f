"""Why a request to sippo-server got no reply, in a few words."""

from __future__ import annotations

import os
import ssl

import aiohttp

from invites.values.printable import escape


def reason_of(error: Exception) -> str:
    """The reason without aiohttp's wrapping ("ssl:default" stands there with plain HTTP too)."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {escape(cause.verify_message)}"
    if isinstance(cause, ConnectionError) and cause.errno is not None:
        return os.strerror(cause.errno)
    if isinstance(cause, OSError) and cause.strerror:
        return escape(cause.strerror)
    return escape(str(cause)) or type(cause).__name__
