"""Reads the story of one invite: its steps, its candidates, and the groups that have read its notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from invites.connection.errors import ErrorKind, classify
from invites.queries.invites import CandidateView, InviteQueries, InviteView, text, whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio import Redis

    from invites.keys import Keys

MOST_STEPS: Final = 64
"""How many steps a story has at most, as in `lua/core/story.lua`."""

_HEAD: Final = 6  # words of a step: ms, what, code, who, last, before
_TOLD: Final = 3  # words of a notification: what, code, who

# Marks that spare names, as in `lua/core/story.lua`.
_ALL: Final = "*"
_INVITER: Final = "|"
_INVITER_LIST: Final = "[|]"
_RINGS: Final = ["invitation", "-", _ALL, "inviteProgress", "100", _INVITER_LIST]


class Told(Struct, frozen=True):
    """A part of a step: a notification, a push job, or the change of a group's legs.

    `who` are the peers (devices, members), ten at most, and `more` is the number of the others.
    """

    what: str
    code: int | None
    who: list[str]
    more: int


class Step(Struct, frozen=True):
    """A step of the invite: `what` is an event, `timer.…`, or `relay.…` for a message of another shard.

    `at` is in ms since 1970, by the server's clock. `first` and `last` are the entries of its notifications.
    """

    at: int
    what: str
    code: int | None
    who: str | None
    first: str | None
    last: str | None
    told: list[Told]


class StepView(Step, frozen=True, rename="camel", kw_only=True):
    """A step for people. `after` is the time since the one before (ms), None for the first one.

    The gateway groups that have read all its notifications and acknowledged them; that have read them; that have not.
    """

    after: int | None
    acknowledged_by: list[str]
    read_by: list[str]
    unread_by: list[str]


class CandidateStory(CandidateView, kw_only=True):
    """A candidate, and when each thing happened to it (ms since 1970), None if it did not, or is forgotten.

    `rung`: the first invitation was written; `pushed`: the first push job; `taken`: sippo-server has taken the push.
    `cancelled` is the last end of its ringing that it was told, with `cancel_code`.
    """

    rung: int | None = None
    pushed: int | None = None
    taken: int | None = None
    ringing: int | None = None
    accepted: int | None = None
    declined: int | None = None
    silenced: int | None = None
    lost: int | None = None
    cancelled: int | None = None
    cancel_code: int | None = None


class LegView(Struct, rename="camel", frozen=True):
    """A leg of a call to a group. `ref` is that of its own story."""

    member: str
    ref: str
    state: str | None
    end_reason: int | None
    reason: str | None
    peer: str | None


class Story(Struct, rename="camel", frozen=True):
    """The story of an invite. `invite` is None once only its story is left.

    `cut`: earlier steps are gone, since only the last 64 stay. `groups` are those of the gateways.
    """

    ref: str
    invite: InviteView | None
    candidates: list[CandidateStory]
    legs: list[LegView]
    steps: list[StepView]
    cut: bool
    groups: list[str]


def read_step(
    line: bytes, began: int, candidates: Sequence[str] = (), caller: str | None = None
) -> Step | None:
    """A line of a story, as `lua/core/story.lua` writes it; None for anything else.

    `began` is the beginning of the invite (ms since 1970), from which the times of lines count. `candidates` are its
    peers, `caller` is the inviter's peer.
    """
    words = (text(line) or "").split(" ")
    if words[_HEAD:] == ["rings"]:
        words[_HEAD:] = _RINGS
    after = whole(words[0].encode())
    if len(words) < _HEAD or (len(words) - _HEAD) % _TOLD or after is None:
        return None
    _, what, code, who, last, before = words[:_HEAD]
    known = {_ALL: candidates, _INVITER_LIST: [caller] if caller else []}
    told = [_told(known, *words[first : first + _TOLD]) for first in range(_HEAD, len(words), _TOLD)]
    ms, _, sequence = last.partition("-")
    first, ms = None, ms or str(began + after)
    if sequence.isdecimal() and before.isdecimal():
        first = f"{ms}-{max(0, int(sequence) - int(before))}"
    return Step(
        at=began + after,
        what=what,
        code=_number(code),
        who={_INVITER: caller, "-": None}.get(who, who),
        first=first,
        last=None if first is None else f"{ms}-{sequence}",
        told=told,
    )


def _told(known: Mapping[str, Sequence[str]], what: str, code: str, who: str) -> Told:
    if who in known:
        return Told(what, _number(code), list(known[who]), 0)
    names, _, more = who.rpartition("]")
    try:
        found = msgspec.json.decode(f"{names}]", type=list[str])
    except msgspec.DecodeError:
        found = []
    return Told(what, _number(code), found, _number(more.removeprefix("+")) or 0)


def _number(word: str) -> int | None:
    return int(word) if word.isdecimal() else None


async def story_of(client: Redis, keys: Keys, ref: str) -> Story | None:
    """The story of the invite with the ref `from|inviteId|to`; None if neither it nor the invite is kept.

    Reads at most 64 steps, and asks each gateway group once for each step. Raises redis exceptions.
    """
    invite = await InviteQueries(client, keys).invite(ref)
    async with client.pipeline(transaction=False) as pipe:
        pipe.lrange(keys.story(ref), -MOST_STEPS, -1)  # of a call that began before 0.2.0
        pipe.hget(keys.invite(ref), "story")
        pipe.hget(keys.invite(ref), "caller")
        pipe.hgetall(keys.legs(ref))
        pipe.xinfo_groups(keys.notifications)
        replies = await pipe.execute(raise_on_error=False)
    former, lines, caller, legs, groups = map(_unless_wrong, replies)
    peers = [one.peer for one in invite.candidates] if invite else []
    began = (invite and invite.started_at) or 0
    steps = _steps(former, lines or b"", began, peers, text(caller or None))
    if invite is None and not steps:
        return None
    found = await _readers(client, keys, groups, steps)
    return Story(
        ref=ref,
        invite=invite,
        candidates=[_candidate(one, steps) for one in invite.candidates] if invite else [],
        legs=_legs(ref, legs),
        steps=[
            _view(step, before, readers)
            for step, before, readers in zip(steps, [None, *steps], found, strict=False)
        ],
        cut=len(steps) >= MOST_STEPS,
        groups=sorted(_name(group) for group in groups),
    )


def _steps(
    former: Sequence[bytes], lines: bytes, began: int, candidates: Sequence[str], caller: str | None
) -> list[Step]:
    found = [
        *(read_step(line, 0) for line in former),
        *(read_step(line, began, candidates, caller) for line in lines.split(b"\n")),
    ]
    return [step for step in found if step is not None]


def _unless_wrong(reply: Any) -> Any:  # noqa: ANN401 - a reply
    """The reply; empty for a key that is missing or of the wrong type."""
    if isinstance(reply, Exception):
        if classify(reply) is ErrorKind.NO_GROUP or str(reply).startswith("WRONGTYPE"):
            return []
        raise reply
    return reply


_Readers = dict[str, bool | None]
"""Group -> True if it has acknowledged all notifications of a step, False if it has read them, None if it has not."""


async def _readers(client: Redis, keys: Keys, groups: Any, steps: Sequence[Step]) -> list[_Readers]:  # noqa: ANN401
    found: list[_Readers] = [{} for _ in steps]
    asked: list[tuple[int, str]] = []
    async with client.pipeline(transaction=False) as pipe:
        for group in groups:
            delivered = _parts(group["last-delivered-id"].decode())
            for number, step in enumerate(steps):
                if step.first is None or step.last is None:
                    continue
                is_read = delivered >= _parts(step.last)
                found[number][_name(group)] = True if is_read else None
                if is_read and group["pending"]:
                    asked.append((number, _name(group)))
                    pipe.xpending_range(
                        keys.notifications, group["name"], min=step.first, max=step.last, count=1
                    )
        replies = await pipe.execute(raise_on_error=False) if asked else []
    for (number, name), reply in zip(asked, replies, strict=True):
        if _unless_wrong(reply):
            found[number][name] = False
    return found


def _parts(entry: str) -> tuple[int, int]:
    ms, _, sequence = entry.partition("-")
    return int(ms), int(sequence or 0)


def _name(group: Any) -> str:  # noqa: ANN401 - a reply
    name: bytes = group["name"]
    return name.decode(errors="backslashreplace")


def _view(step: Step, before: Step | None, readers: _Readers) -> StepView:
    def groups(*, acknowledged: bool | None) -> list[str]:
        return sorted(name for name, found in readers.items() if found is acknowledged)

    return StepView(
        **msgspec.structs.asdict(step),
        after=None if before is None else step.at - before.at,
        acknowledged_by=groups(acknowledged=True),
        read_by=groups(acknowledged=False),
        unread_by=groups(acknowledged=None),
    )


# The field of a candidate that notes when a step came from it, or told it something, for the first time.
_OF_STEP: Final = {
    "ringing": "ringing",
    "accept": "accepted",
    "decline": "declined",
    "silence": "silenced",
    "pushTaken": "taken",
    "disconnected": "lost",
}
_OF_TOLD: Final = {"invitation": "rung", "push": "pushed"}
_CANCELS: Final = frozenset({"invitationCancel", "pushCancel"})


def _candidate(found: CandidateView, steps: Sequence[Step]) -> CandidateStory:
    names = {found.peer, found.device}
    one = CandidateStory(**msgspec.structs.asdict(found))

    def note(name: str | None, at: int) -> None:
        if name is not None and getattr(one, name) is None:
            setattr(one, name, at)

    for step in steps:
        if step.who in names:
            note(_OF_STEP.get(step.what.removeprefix("relay.")), step.at)
        for told in step.told:
            if names.isdisjoint(told.who):
                continue
            note(_OF_TOLD.get(told.what), step.at)
            if told.what in _CANCELS:
                one.cancelled, one.cancel_code = step.at, told.code
    if one.state != "ACCEPTED":
        one.accepted = None  # it was late
    return one


def _legs(ref: str, raw: Any) -> list[LegView]:  # noqa: ANN401 - a reply
    head = ref.rpartition("|")[0]
    legs = []
    for member, value in sorted(dict(raw or {}).items()):
        known = _object(value)
        name = text(member) or ""
        if name.startswith("|"):
            continue  # the members of a page, see lua/group/roster.lua
        end = known.get("endReason")
        legs.append(
            LegView(
                member=name,
                ref=f"{head}|{name}",
                state=_said(known, "state"),
                end_reason=end if type(end) is int else None,
                reason=_said(known, "reason"),
                peer=_said(known, "peer"),
            )
        )
    return legs


def _object(value: bytes) -> dict[str, Any]:
    try:
        known = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def _said(known: dict[str, Any], name: str) -> str | None:
    found = known.get(name)
    return found if isinstance(found, str) else None
