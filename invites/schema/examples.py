"""An example of each event, notification and frame, for readers of the AsyncAPI document."""

from __future__ import annotations

from typing import Any, Final

_ALICE: Final = {"id": "p-alice", "user": "alice"}
_PHONE: Final = {"id": "p-phone", "user": "bob", "device": "dev-1"}
_CALL: Final = {"inviteId": "i1", "from": "alice", "to": "bob"}
_ASK: Final = {"peer": _ALICE, "to": "bob", "inviteId": "i1", "mediatypes": ["audio", "video"]}
_ANSWER: Final = {"peer": _PHONE, "from": "alice", "inviteId": "i1", "transaction": "t-2"}
_AT: Final = 1_795_600_275_384

EVENTS: Final[dict[str, dict[str, Any]]] = {
    "invite": {**_ASK, "room": "room-7", "fromDetails": {"name": "Alice"}, "transaction": "t-1"},
    "inviteRequest": {**_ASK, "context": {"subject": "support"}},
    "ringing": {"peer": _PHONE, "from": "alice", "inviteId": "i1"},
    "accept": _ANSWER,
    "decline": {**_ANSWER, "errorCode": 486, "context": "I call you back at five"},
    "silence": {"peer": _PHONE, "from": "alice", "inviteId": "i1", "transaction": "t-4"},
    "stopInvite": {"peer": _ALICE, "inviteId": "i1", "callee": "bob", "transaction": "t-3"},
    "getInvitations": {"peer": _PHONE, "transaction": 12},
    "registered": {"registry": {**_PHONE, "session": "s-1", "expires": 600_000}},
    "unregistered": {"peer": _PHONE, "session": "s-1"},
    "disconnected": {"peer": _PHONE, "session": "s-1"},
    "joined": {"userId": "bob", "roomId": "room-7", "peer": _PHONE},
    "left": {"userId": "bob", "roomId": "room-7"},
    "roomClosed": {"roomId": "room-7"},
    "userState": {"userId": "bob", "dnd": True, "until": _AT + 3_600_000, "block": ["mallory"]},
    "callsSeen": {"userId": "bob", "before": _AT},
}

NOTIFICATIONS: Final[dict[str, dict[str, Any]]] = {
    "invitation": {
        **_CALL,
        "room": "room-7",
        "mediatypes": ["audio", "video"],
        "fromDetails": {"name": "Alice"},
        "context": None,
        "inviteRequest": False,
        "expiresIn": 59_997,
        "resumed": False,
    },
    "invitationCancel": {
        **_CALL,
        "code": 200,
        "reason": "accepted_elsewhere",
        "whoAccepted": "bob",
        "peer": "p-phone",
    },
    "inviteProgress": {**_CALL, "code": 180, "candidates": 2, "ringing": 1, "pushed": 0},
    "inviteAccepted": {**_CALL, "room": "room-7", "code": 200, "whoAccepted": "bob", "peer": "p-phone"},
    "inviteRejected": {**_CALL, "code": 408, "reason": "timeout"},
    "answer": {
        **_CALL,
        "request": "accept",
        "transaction": "t-2",
        "code": 200,
        "reason": "accepted",
        "whoAccepted": "bob",
    },
    "callMissed": {
        **_CALL,
        "kind": "direct",
        "room": "room-7",
        "fromDetails": {"name": "Alice"},
        "inviteRequest": False,
        "code": 408,
        "reason": "timeout",
        "at": _AT + 60_000,
    },
    "INVITE_COMPLETED": {
        **_CALL,
        "room": "room-7",
        "group": False,
        "inviteRequest": False,
        "mediatypes": ["audio", "video"],
        "state": "ACCEPTED",
        "error": 200,
        "whoAccepted": "bob",
        "startedAt": _AT,
        "endedAt": _AT + 4_226,
        "candidates": [
            {"address": "bob", "peer": "p-tablet", "endReason": 487},
            {"address": "bob", "peer": "p-phone", "endReason": 200},
        ],
    },
    "userJoined": {"userId": "bob", "roomId": "room-7"},
    "userLeft": {"userId": "bob", "roomId": "room-7"},
    "roomCleaned": {"roomId": "room-7", "invites": 1},
    "userBusy": {"userId": "bob", "room": "room-7"},
    "userFree": {"userId": "bob", "room": "room-7"},
    "serverEmptied": {"shard": 0},
}

FRAMES: Final[dict[str, dict[str, Any]]] = {
    "login": {
        "token": "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl",
        "resume": "1b16b1df538ba12d.3f0c9a7be2f14d5a8c6e7b01",
    },
    "welcome": {
        "peer": "1b16b1df538ba12d.3f0c9a7be2f14d5a8c6e7b01",
        "user": "bob",
        "device": "dev-1",
        "expires": 60_000,
    },
    "error": {"message": "field from is missing", "request": "accept", "transaction": "t-2"},
}
