"""Who has missed a call."""

from __future__ import annotations

from .state import Candidate, Invite, Payload
from .trunks import is_failure


def is_missed(code: int | None, reason: str | None) -> bool:
    """Whether a callee who has not answered misses a call that ends like this."""
    return code in {408, 480, 487} and reason != "replaced"


def has_declined(invite: Invite | None) -> bool:
    """Whether the callee has declined with a device, or with the phone behind a trunk."""
    return invite is not None and any(map(_is_no, invite.candidates.values()))


def _is_no(one: Candidate) -> bool:
    return one.state == "DECLINED" and not (one.type == "PSTN" and is_failure(one.end_reason or 0))


def missed(call: Invite, user: str, code: int | None, reason: str | None, now: int) -> Payload:
    """The notification to the user, who is the callee or a member of the group."""
    payload = {
        **call.identity(),
        "to": user,
        "kind": "group" if call.is_group else "direct",
        "fromDetails": call.from_details,
        "inviteRequest": call.request,
        "code": code,
        "reason": reason,
        "at": now,
    }
    if call.is_group:
        payload["group"] = call.group
    return payload if call.room is None else payload | {"room": call.room}
