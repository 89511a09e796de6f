"""The replies of sippo-server. A reply with a missing or wrong field is rejected as a whole.

Unknown fields are ignored. Optional fields may be null, because many serializers write missing values so.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from invites.events.fields import Id
from invites.sippo.calls import ApiCall, CallOutcome, NoAnswer
from invites.values.printable import escape

Platform = Literal["ios", "android", "fireos", "web"]
Strategy = Literal["simultaneous", "sequential"]

_Answer = TypeVar("_Answer")
_LONGEST_DETAIL: Final = 200  # characters of the reason in an error


class _Ringing(Struct, frozen=True, rename="camel", kw_only=True):
    ringing_strategy: Strategy | None = None

    @property
    def sequential(self) -> bool:
        """Whether members ring one after the other; otherwise all ring at once."""
        return self.ringing_strategy == "sequential"


class Group(_Ringing, frozen=True, kw_only=True):
    """A group that can be called. The participants are in the order of the reply, duplicates included."""

    id: Id
    name: str | None = None
    participants: tuple[Id, ...]


class PushDevice(Struct, frozen=True):
    """A device that a push can wake. Its `id` is the `device` in its registration."""

    id: Id
    platform: Platform


class Candidate(Struct, frozen=True):
    """One way to reach a resource. `address` is a user or a number, `id` that of the peer or the device."""

    address: Id
    type: Literal["PEER", "PUSH", "PSTN"]
    id: Id | None = None
    platform: Platform | None = None

    def __post_init__(self) -> None:
        if self.type == "PUSH" and self.id is None:
            raise ValueError("a candidate of type PUSH needs an id")


class Reachability(_Ringing, frozen=True, kw_only=True):
    """A resource as the Reachability service knows it."""

    candidates_type: Literal["user", "group", "phone"]
    candidates: tuple[Candidate, ...]


class PushDevices(Struct, frozen=True):
    """The devices of a user that a push can wake."""

    devices: tuple[PushDevice, ...]


class Granted(Struct, frozen=True, rename="camel"):
    """A successful login. The token is valid for `expires_in` s."""

    # The token is sent in a header.
    token: Annotated[str, Meta(pattern=r"\A[\x21-\x7e]{1,8192}\Z")]
    expires_in: Annotated[float, Meta(gt=0)]


def decode(call: ApiCall, kind: type[_Answer], body: bytes) -> _Answer:
    """Decode a reply. Raises NoAnswer (NONSENSE) when it is invalid."""
    wrong = ""
    try:
        return msgspec.json.decode(body, type=kind)
    except RecursionError:
        wrong = "it is nested too deeply"
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        wrong = escape(str(error))[:_LONGEST_DETAIL]
    # Raised outside the handler, without msgspec's error as context. Nothing of a login's reply is repeated.
    detail = "the reply is invalid" if call is ApiCall.LOGIN else f"the reply is invalid ({wrong})"
    raise NoAnswer(CallOutcome.NONSENSE, call, detail)
