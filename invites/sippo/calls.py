"""The vocabulary of the client: calls, outcomes, push jobs, and the hooks for metrics."""

from __future__ import annotations

import enum
from typing import Literal, Protocol

import msgspec

from invites.events.fields import Id


class ApiCall(enum.StrEnum):
    """A call of the API, by its name in `wac.paths`."""

    LOGIN = "login"
    GROUPS = "groups"
    PUSH_DEVICES = "pushDevices"
    REACHABILITY = "reachability"
    PUSH = "push"


class CallOutcome(enum.StrEnum):
    """The outcome of a request or of a call; also a label of the metrics."""

    FOUND = "found"
    """A valid reply, or the push was accepted."""
    UNKNOWN = "unknown"
    """There is no such group, user, resource or device."""
    TIMEOUT = "timeout"
    """No reply in time."""
    LOST = "lost"
    """The connection failed."""
    ERROR = "error"
    """A status of 500 or more."""
    LIMITED = "limited"
    """429: too many requests."""
    UNAUTHORIZED = "unauthorized"
    """The credentials were rejected, or a token right after its login."""
    REFUSED = "refused"
    """Any status that the contract does not define."""
    NONSENSE = "nonsense"
    """The reply is invalid."""
    OPEN = "open"
    """Not sent, because the circuit breaker is open."""
    BUSY = "busy"
    """Not sent, because too many calls were under way."""


class NoAnswer(Exception):  # noqa: N818 - a result rather than a fault
    """A call has failed. The text is one sentence without secrets.

    `reason` is any outcome except FOUND and UNKNOWN. `retry_after` is how long the server asks the client to wait (s).
    `arrived`: sippo-server may have received the request of this `call`.
    """

    def __init__(
        self,
        reason: CallOutcome,
        call: ApiCall,
        detail: str,
        retry_after: float = 0.0,
        *,
        arrived: bool = False,
    ) -> None:
        super().__init__(f"The sippo-server call {call} failed: {detail}.")
        self.reason = reason
        self.call = call
        self.retry_after = retry_after
        self.arrived = arrived


class PushJob(msgspec.Struct, frozen=True, rename="camel"):
    """One push to one device, as it is sent. `ttl` is in s, `collapse_id` is the ref of the invite."""

    user: Id
    device: Id
    type: Literal["invitation", "invitationCancel"]
    ttl: int
    collapse_id: str
    payload: msgspec.Raw


class PushResult(enum.Enum):
    """The result of a push that was answered."""

    TAKEN = "taken"
    """sippo-server has accepted it."""
    GONE = "gone"
    """The device no longer exists."""


class Watch(Protocol):
    """Hooks for metrics. They must return at once and must not raise."""

    def requested(self, call: str, outcome: str, seconds: float) -> None:
        """One HTTP request has ended. Logins and retries count too."""

    def called(self, call: str, outcome: str, seconds: float) -> None:
        """A call has ended, with all its requests, or failed at once."""

    def broken(self, call: str, broken: bool) -> None:  # noqa: FBT001 - the state itself
        """The circuit breaker of this call has opened or closed."""


class Unwatched:
    """A Watch that does nothing."""

    def requested(self, call: str, outcome: str, seconds: float) -> None:
        """Do nothing."""

    def called(self, call: str, outcome: str, seconds: float) -> None:
        """Do nothing."""

    def broken(self, call: str, broken: bool) -> None:  # noqa: FBT001 - as in Watch
        """Do nothing."""
