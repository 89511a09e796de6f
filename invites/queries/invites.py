"""Reads users and invites of one shard, for operators and the HTTP API.

Queries never fail because of bad data in Redis: a missing or malformed field is null, a key of the wrong type counts as
empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct, field
from redis.exceptions import ResponseError

from invites.keys import CANDIDATE
from invites.values.stored_invite import read_candidate, whole_invite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from invites.events.protocol import Peer
    from invites.keys import Keys

    _Values = Mapping[bytes, bytes]

_NULL: Final = Raw(b"null")
_CANDIDATE: Final = CANDIDATE.encode()
MOST: Final = 200
"""How many invites a list has at most."""


class Invitation(Struct, rename="camel", kw_only=True):
    """An invite in a list of `invitations`. Times are in ms since 1970."""

    invite_id: str | None
    from_: str | None = field(name="from")
    to: str | None
    group: str | None
    room: str | None
    state: str | None
    invite_request: bool | None
    mediatypes: Raw
    context: Raw
    started_at: int | None
    expires_at: int | None


class CandidateView(Struct, rename="camel"):
    """A candidate of an invite. `peer` is its id among them."""

    peer: str
    address: str | None
    type: str | None
    state: str | None
    end_reason: int | None
    device: str | None


class InviteView(Invitation, kw_only=True):
    """One invite with all details."""

    code: int | None
    reason: str | None
    who_accepted: str | None
    ended_at: int | None
    candidates: list[CandidateView]


class UserState(Struct):
    """The current wishes and calls of a user. `until` is in ms since 1970; `busy` has the user's peer in each room."""

    user: str
    dnd: bool
    until: int | None
    block: list[str]
    busy: dict[str, str]


class InviteQueries:
    """Reads one shard. The methods raise redis exceptions."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def pending(self, user: str) -> tuple[list[Invitation], bool]:
        """The invites that ring the user now, oldest first; and whether there are more of them than MOST."""
        found, more = await self._pending(user)
        return [_invitation(values) for values in found], more

    async def open_to(self, peer: Peer) -> list[Invitation]:
        """The same for the peer's user, without those that this device has turned away (see `_is_out`)."""
        found, _ = await self._pending(peer.user)
        return [_invitation(values) for values in found if not _is_out(peer, values)]

    async def _pending(self, user: str) -> tuple[list[_Values], bool]:
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.srandmember(self._keys.pending(user), MOST + 1)
            (members,) = await _execute(pipe)
        refs = sorted(text(ref) or "" for ref in members or ())
        async with self._client.pipeline(transaction=False) as pipe:
            for ref in refs[:MOST]:
                pipe.hgetall(self._keys.invite(ref))
            replies = await _execute(pipe)
        found: list[_Values] = [
            whole_invite(ref, values)
            for ref, values in zip(refs, replies, strict=False)
            if values and values.get(b"state") == b"PENDING"
        ]
        found.sort(
            key=lambda values: (whole(values.get(b"createdAt")) or 0, text(values.get(b"inviteId")) or "")
        )
        return found, len(refs) > MOST

    async def state(self, user: str) -> UserState:
        """The current wishes and calls of the user, by the server's time; a `dnd` whose time is over does not count."""
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.get(self._keys.user_state(user))
            pipe.hgetall(self._keys.busy(user))
            pipe.time()
            value, busy, (seconds, _) = await _execute(pipe)
        _, dnd, until, *blocked = (text(value) or "").split("|") + [""] * 3
        ends = int(until) if until.isdigit() else None
        is_undisturbed = dnd == "1" and (ends is None or seconds * 1000 < ends)
        rooms = {
            text(room) or "": (text(value) or "").partition("|")[0]
            for room, value in sorted((busy or {}).items())
        }
        return UserState(
            user, is_undisturbed, ends if is_undisturbed else None, [name for name in blocked if name], rooms
        )

    async def invite(self, ref: str) -> InviteView | None:
        """The invite with the ref `from|inviteId|to`, as long as it is readable; None if there is none."""
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.hgetall(self._keys.invite(ref))
            (values,) = await _execute(pipe)
        return _invite(whole_invite(ref, values)) if values else None


async def _execute(pipe: Pipeline) -> list[Any]:
    """The replies, with None for keys of the wrong type."""
    replies = await pipe.execute(raise_on_error=False)
    for at, reply in enumerate(replies):
        if isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE"):
            replies[at] = None
        elif isinstance(reply, Exception):
            raise reply
    return replies


def text(value: bytes | None) -> str | None:
    """A value as text. Bytes that are not UTF-8 are replaced."""
    return None if value is None else value.decode(errors="replace")


def whole(value: bytes | None) -> int | None:
    """A value as a whole number; None if it is not one."""
    try:
        return None if value is None else int(value)
    except ValueError:
        return None


def _json(value: bytes | None) -> Raw:
    if value is None:
        return _NULL
    try:
        msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _NULL
    return Raw(value)


def _shared(values: _Values) -> dict[str, Any]:
    asks = values.get(b"inviteRequest")
    return {
        "invite_id": text(values.get(b"inviteId")),
        "from_": text(values.get(b"from")),
        "to": text(values.get(b"to")),
        "group": text(values.get(b"group")),
        "room": text(values.get(b"room")),
        "state": text(values.get(b"state")),
        "invite_request": None if asks is None else asks == b"1",
        "mediatypes": _json(values.get(b"mediatypes")),
        "context": _json(values.get(b"context")),
        "started_at": whole(values.get(b"createdAt")),
        "expires_at": whole(values.get(b"expiresAt")),
    }


def _invitation(values: _Values) -> Invitation:
    return Invitation(**_shared(values))


def _candidates(values: _Values) -> dict[bytes, bytes]:
    """The candidates of an invite by their id."""
    return {name[len(_CANDIDATE) :]: value for name, value in values.items() if name.startswith(_CANDIDATE)}


def _invite(values: _Values) -> InviteView:
    candidates, to = _candidates(values), text(values.get(b"to"))
    return InviteView(
        **_shared(values),
        code=whole(values.get(b"code")),
        reason=text(values.get(b"reason")),
        who_accepted=text(values.get(b"whoAccepted")),
        ended_at=whole(values.get(b"endedAt")),
        candidates=[_candidate(peer, candidates[peer], to) for peer in sorted(candidates)],
    )


def _is_out(peer: Peer, values: _Values) -> bool:
    """Whether the device must not ring, as in `lua/events/get_invitations.lua`."""
    to = text(values.get(b"to"))
    known = {
        name.decode(errors="replace"): read_candidate(value, to)
        for name, value in _candidates(values).items()
    }
    own = {name: one for name, one in known.items() if peer.user == one.get("user", one.get("address"))}
    names = [peer.id, f"|{peer.device or peer.id}"]
    names += [
        name for name, one in own.items() if peer.device is not None and one.get("device") == peer.device
    ]
    name = next((name for name in names if name in own), None)
    if name is None:
        return b"alone" in values or values.get(b"from") == values.get(b"to")
    found = own[name]
    if found.get("silenced") or found.get("followed"):
        return True
    has_declined = found.get("state") == "DECLINED"
    if has_declined and found.get("endReason") in {480, 503} and not found.get("rejected"):
        return name == peer.id
    return found.get("declined") == peer.id or has_declined or found.get("state") == "REJECTED"


def _candidate(peer: bytes, value: bytes, to: str | None) -> CandidateView:
    known = read_candidate(value, to)

    def said(name: str) -> str | None:
        found = known.get(name)
        return found if isinstance(found, str) else None

    reason = known.get("endReason")
    return CandidateView(
        peer=peer.decode(errors="replace").removeprefix("|"),  # a push candidate has the id of its device
        address=said("address"),
        type=said("type"),
        state=said("state"),
        end_reason=reason if type(reason) is int else None,
        device=said("device"),
    )
