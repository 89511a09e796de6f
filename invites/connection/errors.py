"""What an error says about the server: one classification for all callers."""

from __future__ import annotations

import enum
from typing import Final, assert_never

from redis import exceptions

# Answers of a server that cannot serve now, but will later or once an operator has acted.
_UNAVAILABLE_ANSWERS: Final = ("BUSY ", "MISCONF ", "NOREPLICAS ", "UNBLOCKED ", "UNKILLABLE ")
_UNAVAILABLE: Final = (
    exceptions.ConnectionError,  # includes LOADING and refused credentials
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,  # includes MASTERDOWN
    exceptions.NoPermissionError,
    OSError,
)
# The slot is being moved. The server refused the script before it did anything (see lua/main.lua).
_MOVING: Final = "non local key in a cluster"
_MOVED: Final = (exceptions.AskError, exceptions.TryAgainError)  # AskError includes MOVED
_ENDPOINT: Final = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,
    exceptions.MovedError,
)


class RefusedError(Exception):
    """The worker must not work with this server; the text says why, and what to do."""


class ErrorKind(enum.Enum):
    """What an error says."""

    UNAVAILABLE = enum.auto()
    """The server cannot serve now. It will later, or once an operator has acted."""
    FULL = enum.auto()
    """The server is out of memory."""
    NO_GROUP = enum.auto()
    """The consumer group or its stream is missing."""
    MOVED = enum.auto()
    """The keys are on another server, or on their way there."""
    REFUSED = enum.auto()
    """A RefusedError."""
    BUG = enum.auto()
    """The command, the data or the program is at fault."""


def classify(error: BaseException) -> ErrorKind:
    """What an error of a command says about the server."""
    answer = str(error) if isinstance(error, exceptions.ResponseError) else ""
    if isinstance(error, RefusedError):
        return ErrorKind.REFUSED
    if isinstance(error, exceptions.OutOfMemoryError):
        return ErrorKind.FULL
    if isinstance(error, _MOVED) or _MOVING in answer:
        return ErrorKind.MOVED
    if isinstance(error, _UNAVAILABLE) or answer.startswith(_UNAVAILABLE_ANSWERS):
        return ErrorKind.UNAVAILABLE
    if answer.upper().startswith(("NOGROUP", "NO SUCH KEY")):
        return ErrorKind.NO_GROUP
    return ErrorKind.BUG


def passes(error: BaseException) -> bool:
    """Whether the same command will work once the server can serve, has room, or has the keys."""
    match kind := classify(error):
        case ErrorKind.UNAVAILABLE | ErrorKind.FULL | ErrorKind.MOVED:
            return True
        case ErrorKind.NO_GROUP | ErrorKind.REFUSED | ErrorKind.BUG:
            return False
        case _:
            assert_never(kind)


def is_about_endpoint(error: BaseException) -> bool:
    """Whether another server might not give this error, so that the primary must be located again."""
    # NOREPLICAS: a former primary that has lost its replicas may answer so.
    return isinstance(error, _ENDPOINT) or str(error).startswith("NOREPLICAS ")
