"""The words of the client: what can be asked, what can come of it, what is pushed, who is told."""

from __future__ import annotations

import enum
from typing import Literal, Protocol

import msgspec

from invites.events.protocol import Id


class ApiCall(enum.StrEnum):
    """A call of the API, by its name in `wac.paths`."""

    LOGIN = "login"
    GROUPS = "groups"
    PUSH_DEVICES = "pushDevices"
    REACHABILITY = "reachability"
    PUSH = "push"


class CallOutcome(enum.StrEnum):
    """What came of a request or of a whole call; few enough to be a label of a metric."""

    FOUND = "found"
    """There is an answer, or the push was taken."""
    UNKNOWN = "unknown"
    """There is no such group, user, resource or device."""
    TIMEOUT = "timeout"
    """Nothing came in time."""
    LOST = "lost"
    """The connection could not be made, or was lost."""
    ERROR = "error"
    """A status of 500 or more."""
    LIMITED = "limited"
    """429: too many requests."""
    UNAUTHORIZED = "unauthorized"
    """The credentials are refused, or the token of a login that has just worked."""
    REFUSED = "refused"
    """Any other status that the contract does not know."""
    NONSENSE = "nonsense"
    """What came is no answer to what was asked."""
    OPEN = "open"
    """Nothing was sent, since there was no answer lately."""
    BUSY = "busy"
    """Nothing was sent, since too many calls were under way."""


class NoAnswer(Exception):  # noqa: N818 - it says what there is
    """The answer cannot be had; the text is one sentence without secrets.

    `reason` is any outcome except FOUND and UNKNOWN. `retry_after` is how long the server asks to be left alone (s).
    `arrived` says that sippo-server may have received the request of this `call` all the same.
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
        super().__init__(f"sippo-server gives no answer to {call}: {detail}.")
        self.reason = reason
        self.call = call
        self.retry_after = retry_after
        self.arrived = arrived


class PushJob(msgspec.Struct, frozen=True, rename="camel"):
    """One push to one device, as it goes out. `ttl` is in s, `collapse_id` the ref of the invite."""

    user: Id
    device: Id
    type: Literal["invitation", "invitationCancel"]
    ttl: int
    collapse_id: str
    payload: msgspec.Raw


class PushResult(enum.Enum):
    """What became of a push that was answered."""

    TAKEN = "taken"
    """sippo-server has it."""
    GONE = "gone"
    """There is no such device any more."""


class Watch(Protocol):
    """Who is told what the client does, for metrics. Must return at once and raise nothing."""

    def requested(self, call: str, outcome: str, seconds: float) -> None:
        """One HTTP request was made; logins and repetitions are such, too."""

    def called(self, call: str, outcome: str, seconds: float) -> None:
        """A whole call has ended, with all its requests; or failed at once."""

    def broken(self, call: str, broken: bool) -> None:  # noqa: FBT001 - the one thing that it tells
        """Calls of this kind fail at once from now on, or do so no more."""


class Unwatched:
    """The Watch of whoever does not look."""

    def requested(self, call: str, outcome: str, seconds: float) -> None:
        """Told in vain."""

    def called(self, call: str, outcome: str, seconds: float) -> None:
        """Told in vain."""

    def broken(self, call: str, broken: bool) -> None:  # noqa: FBT001 - as the protocol has it
        """Told in vain."""
