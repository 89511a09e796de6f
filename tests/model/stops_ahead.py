"""Which invites of one commit end as they begin: a stop follows them, without an answer of the callee before it."""

from __future__ import annotations

from collections.abc import Sequence

from .state import Payload


def stop_ahead(published: tuple[str, Payload], behind: Sequence[tuple[str, Payload]]) -> int | None:
    """The code of the stop for an invite, given the later events of its commit."""
    kind, payload = published
    if kind not in {"invite", "inviteRequest"} or "returnOf" in payload:
        return None
    inviter = payload["peer"]["user"]
    for other, event in behind:
        if event.get("inviteId") != payload["inviteId"]:
            continue
        if other == "stopInvite" and event["callee"] == payload["to"]:
            speaker = event.get("peer", {}).get("user")
            if speaker in {None, inviter} and event.get("from") in {None, inviter}:
                return event.get("errorCode") or 487
        elif other in {"accept", "decline"} and event["from"] == inviter:
            return None
    return None
