"""Push jobs: decoded from the push stream, checked whether still wanted, and turned into requests."""

from __future__ import annotations

import enum
import time
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from invites.events.arguments import PushArguments
from invites.events.dead_letter import dead_internal, texts_of, unusable
from invites.events.entry import order
from invites.events.fields import BadEvent
from invites.events.operation import Operation
from invites.keys import CANDIDATE
from invites.sippo import PushJob
from invites.values.stored_invite import read_candidate
from invites.values.traceparent import traceparent_of
from invites.values.validation import problems

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from invites.events.entry import Entry
    from invites.keys import Keys


_Kind = Annotated[
    Literal["invitation", "invitationCancel"], Meta(description="invitation or invitationCancel")
]
_Text = Annotated[str, Meta(min_length=1, description="a text that is not empty")]
_Time = Annotated[str, Meta(pattern=r"^\d{1,15}\Z", description="a time in ms since 1970")]


class _Fields(Struct, frozen=True):
    type: _Kind
    ref: _Text
    user: _Text
    device: _Text
    deadline: _Time
    payload: _Text
    peer: str = ""
    traceparent: str = ""


UNSURE: Final = b"unsure"
"""A field of a job that may have been sent before it was written here: by a worker of the shard that it comes from, or
by one of a server that has failed since."""

AT_MOST_MS: Final = 500
"""How long a job waits until a worker reads it, while nothing fails: `AT_MOST` in lua/reach/push.lua is the same."""


class Push(Struct):
    """A push job of an entry. It is useful until `deadline` (ms since 1970, of the server).

    `unsure`: it may have been sent already, by a worker that did not learn the result, or whose server has lost it.
    `peer`: the connection that the device has beside the push; "" for none. `trace` is the traceparent of the event
    that made it, "" for none. `taken_s`: when this worker read the job, by its monotonic clock.
    """

    entry: str
    type: Literal["invitation", "invitationCancel"]
    ref: str
    user: str
    device: str
    deadline: int
    payload: dict[str, Raw]
    unsure: bool = False
    peer: str = ""
    trace: str = ""
    taken_s: float = msgspec.field(default_factory=time.monotonic)

    def settled(self, rule: str) -> Operation:
        """The operation that settles the job with its result."""
        return Operation(rule, self.entry, PushArguments(self.ref, self.device), trace=self.trace)

    def job(self, left_ms: int) -> PushJob:
        """The request with `left_ms` to go, which the payload also states."""
        payload = self.payload
        if "expiresIn" in payload:
            payload = {**payload, "expiresIn": Raw(str(left_ms).encode())}
        return PushJob(
            self.user, self.device, self.type, left_ms // 1000, self.ref, Raw(msgspec.json.encode(payload))
        )


class Verdict(enum.Enum):
    """Whether a job is to be sent."""

    WANTED = enum.auto()
    UNWANTED = enum.auto()
    """The call is over, or the device has connected, has silenced the call, or is known to be gone."""
    EXPIRED = enum.auto()
    """Less than a second is left, and a ttl has whole seconds."""


_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])


def decode_push_entry(entry: Entry, *, max_deliveries: int) -> Push | Operation:
    """Decode an entry of the push stream. Never raises: a job that cannot be sent becomes a dead letter."""
    sentence = unusable(entry, max_deliveries)
    if sentence:
        return dead_internal(entry, "push", sentence)
    try:
        texts = texts_of(entry)
    except BadEvent as error:
        return dead_internal(entry, "push", str(error))
    problem = next(problems(texts, _Fields), None)
    if problem is not None:
        return dead_internal(entry, "push", f"field {problem}")
    fields = msgspec.convert(texts, _Fields)
    try:
        payload = _OBJECT.decode(fields.payload)
    except (msgspec.DecodeError, RecursionError):
        return dead_internal(entry, "push", "field payload is no JSON object")
    return Push(
        entry.id,
        fields.type,
        fields.ref,
        fields.user,
        fields.device,
        int(fields.deadline),
        payload,
        # A worker that had it before, here or in the shard that it was moved from, may have sent it and not settled it.
        unsure=entry.deliveries > 1 or UNSURE in entry.fields,
        peer=fields.peer,
        trace=traceparent_of(fields.traceparent),
    )


async def is_still_wanted(client: Redis, keys: Keys, push: Push) -> tuple[Verdict, int]:
    """Whether a job is to be sent now, and how much of its time is left (ms).

    A cancel always is: it is only made for a device that was pushed. A job that was read late becomes unsure: a server
    that failed in the meantime may have lost that it was sent. Raises what redis-py raises.
    """
    async with client.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.hmget(keys.invite(push.ref), "state", CANDIDATE + (push.peer or f"|{push.device}"))
        (seconds, microseconds), (state, candidate) = await pipe.execute()
    now_ms = seconds * 1000 + microseconds // 1000
    left_ms = push.deadline - now_ms
    taken_ms = now_ms - (time.monotonic() - push.taken_s) * 1000
    push.unsure = push.unsure or taken_ms - order(push.entry)[0] > AT_MOST_MS
    if push.type == "invitation" and not (state == b"PENDING" and _is_pushing(candidate)):
        return Verdict.UNWANTED, left_ms
    return Verdict.WANTED if left_ms >= 1000 else Verdict.EXPIRED, left_ms  # noqa: PLR2004 - ms in a second


def _is_pushing(candidate: bytes | None) -> bool:
    known = {} if candidate is None else read_candidate(candidate, None)
    return "PUSHING" in {known.get("state"), known.get("also")} and not known.get("silenced")
