"""What sippo-server answers, decoded strictly: a field that is missing or wrong makes it no answer at all.

Unknown fields are ignored. Optional fields may be null, as many serializers write what is absent.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from invites.events.protocol import Id
from invites.sippo.calls import ApiCall, CallOutcome, NoAnswer
from invites.values.printable import escape

Platform = Literal["ios", "android", "fireos", "web"]
Strategy = Literal["simultaneous", "sequential"]

_Answer = TypeVar("_Answer")
_LONGEST_DETAIL: Final = 200  # characters of what was wrong


class _Ringing(Struct, frozen=True, rename="camel", kw_only=True):
    ringing_strategy: Strategy | None = None

    @property
    def sequential(self) -> bool:
        """Whether one rings after the other; otherwise all at once."""
        return self.ringing_strategy == "sequential"


class Group(_Ringing, frozen=True, kw_only=True):
    """A callable set of users. The participants are as they came: in their order, doubles included."""

    id: Id
    name: str | None = None
    participants: tuple[Id, ...]


class PushDevice(Struct, frozen=True):
    """A device that can be woken; its `id` is the `device` of its registration."""

    id: Id
    platform: Platform


class Candidate(Struct, frozen=True):
    """One way of reaching a resource. `address` is a user, or a number; `id` is the peer's or the device's."""

    address: Id
    type: Literal["PEER", "PUSH", "PSTN"]
    id: Id | None = None
    platform: Platform | None = None

    def __post_init__(self) -> None:
        if self.type == "PUSH" and self.id is None:
            raise ValueError("a candidate of type PUSH needs an id")


class Reachability(_Ringing, frozen=True, kw_only=True):
    """All that the Reachability service knows of a resource."""

    candidates_type: Literal["user", "group", "phone"]
    candidates: tuple[Candidate, ...]


class PushDevices(Struct, frozen=True):
    """The devices of a user that can be woken."""

    devices: tuple[PushDevice, ...]


class Granted(Struct, frozen=True, rename="camel"):
    """A login that worked. The token is good for `expires_in` s."""

    # It travels in a header, so it must be able to.
    token: Annotated[str, Meta(pattern=r"\A[\x21-\x7e]{1,8192}\Z")]
    expires_in: Annotated[float, Meta(gt=0)]


def decode(call: ApiCall, kind: type[_Answer], body: bytes) -> _Answer:
    """The answer in a body. Raises NoAnswer (NONSENSE)."""
    wrong = ""
    try:
        return msgspec.json.decode(body, type=kind)
    except RecursionError:
        wrong = "it is nested too deeply"
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        wrong = escape(str(error))[:_LONGEST_DETAIL]
    # Raised out here, what msgspec said is no context of it. What a login answers is not repeated in any words.
    detail = "what came is none" if call is ApiCall.LOGIN else f"what came is none ({wrong})"
    raise NoAnswer(CallOutcome.NONSENSE, call, detail)
