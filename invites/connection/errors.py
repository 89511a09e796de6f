"""What the errors of redis-py say about the server."""

from __future__ import annotations

from typing import Final

from redis import exceptions

# Answers of a server that cannot serve now, but will later or once an operator has acted.
_AWAY_ANSWERS: Final = ("BUSY ", "MISCONF ", "NOREPLICAS ", "UNBLOCKED ", "UNKILLABLE ")
# The slot is being moved. The server refused the script before it did anything (see lua/main.lua).
_MOVING: Final = "non local key in a cluster"
_AWAY: Final = (
    exceptions.ConnectionError,  # includes LOADING and refused credentials
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,  # includes MASTERDOWN
    exceptions.AskError,  # includes MOVED
    exceptions.TryAgainError,
    exceptions.NoPermissionError,
    exceptions.OutOfMemoryError,
    OSError,
)
_ENDPOINT: Final = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,
    exceptions.MovedError,
)


def is_away(error: BaseException) -> bool:
    """Whether the server cannot serve now, or has no room. False when the command itself is at fault."""
    if isinstance(error, _AWAY):
        return True
    if not isinstance(error, exceptions.ResponseError):
        return False
    return str(error).startswith(_AWAY_ANSWERS) or _MOVING in str(error)


def is_no_group(error: BaseException) -> bool:
    """Whether the consumer group or its stream is missing."""
    return isinstance(error, exceptions.ResponseError) and str(error).startswith("NOGROUP")


def is_missing(error: BaseException) -> bool:
    """The same, also as XINFO says it."""
    return is_no_group(error) or (
        isinstance(error, exceptions.ResponseError) and str(error).lower().startswith("no such key")
    )


def is_about_endpoint(error: BaseException) -> bool:
    """Whether another server might not give this error, so that the primary must be located again."""
    # NOREPLICAS: a former primary that has lost its replicas may answer so.
    return isinstance(error, _ENDPOINT) or str(error).startswith("NOREPLICAS ")
