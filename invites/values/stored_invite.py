"""Reads an invite as the rules store it: fields and candidates that say only what does not follow from others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

_PARTS: Final = 3  # of a ref
_CANDIDATE: Final = re.compile(r"([A-Z]+)(?::([0-9]+))?(?: ([^ {]+))?(?: (\{.*\}))?", re.DOTALL)


def whole_invite(ref: str, stored: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The fields of the invite with this ref, also those that follow from others (see `lua/call/invites.lua`)."""
    parts = ref.encode().split(b"|")
    implied = dict(zip((b"from", b"inviteId", b"to"), parts, strict=False)) if len(parts) == _PARTS else {}
    implied[b"inviteRequest"] = b"0"
    if b"entry" in stored:
        implied[b"createdAt"] = stored[b"entry"].partition(b"-")[0]
    if stored.get(b"state") == b"ACCEPTED":
        implied |= {b"code": b"200", b"reason": b"accepted", b"whoAccepted": stored.get(b"to", parts[-1])}
    return {**implied, **stored}


def read_candidate(stored: bytes, to: str | None) -> dict[str, Any]:
    """A candidate (see `lua/call/candidates.lua`), with all its fields; empty if it is malformed.

    `to` is the callee of its invite.
    """
    text = stored.decode(errors="replace")
    found = _CANDIDATE.fullmatch(text)
    if found is None:
        return _object(text)  # of a release before 0.2.0, or malformed
    state, code, device, more = found.groups()
    known: dict[str, Any] = {"address": to, "type": "PEER", **_object(more or "{}"), "state": state}
    return (
        known
        | ({} if code is None else {"endReason": int(code)})
        | ({} if device is None else {"device": device})
    )


def _object(text: str) -> dict[str, Any]:
    try:
        known = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}
