"""Lists entries that no worker can process: each field of each event missing, of a wrong type or out of range."""

import json
import sys
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from tests.support import events as e
from tests.support.shard import Json

ASKING: Final = {"id": "asking", "user": "asker"}
"""The peer of all malformed events whose peer is valid."""


class Malformed(NamedTuple):
    """One entry, the field that its dead letter must name, and whether the peer can be read from it."""

    name: str
    type: bytes
    payload: bytes
    names: str
    known: bool


VALID: Final[tuple[e.Published, ...]] = (
    e.invite(
        ASKING,
        context={"n": 1},
        mediatypes=["audio"],
        expires=5_000,
        requestId="q",
        replaces="asker|0|bob",
        ringMode="all",
        probe=True,
        transaction="t",
    ),
    e.invite(ASKING, returnOf="a|b|c"),
    e.said_by("d", e.request(ASKING, expires=5_000, transaction=1)),
    e.ringing("asking", "asker", to="bob"),
    e.said_by("d", e.accept("asking", "asker", to="bob", transaction="t", context={"n": 1}, confirmed=True)),
    e.decline("asking", "asker", to="bob", errorCode=486, transaction="t", context=[]),
    e.silence("asking", "asker", to="bob", transaction="t"),
    e.stop(ASKING, from_="asker", errorCode=480, transaction="t"),
    e.invitations("asking", "asker"),
    e.registered("phone", device="d", session="s", expires=1_000),
    e.trunk("gateway", r"\+49\d+", confirm=True),
    e.unregistered("asking", "asker", session="s"),
    e.disconnected("asking", "asker", session="s"),
    e.joined("bob"),
    e.said_by("d", e.joined("asker", peer=ASKING)),
    e.left("bob"),
    e.room_closed(),
    e.user_state(dnd=True, until=5_000, block=["alice"]),
    e.calls_seen(before=5_000),
)

_OPAQUE: Final = {"context", "mediatypes", "fromDetails"}
_OPTIONAL: Final = {
    "to", "from", "errorCode", "transaction", "expires", "requestId", "returnOf", "replaces", "ringMode", "session",
    "device", "type", "trunk", "match", "peer", "dnd", "until", "block", "confirm", "confirmed", "before", "probe",
} | _OPAQUE  # fmt: skip
_MANDATORY: Final = {
    "invite": {"peer", "to"}, "inviteRequest": {"peer", "to"}, "ringing": {"peer", "from"}, "accept": {"peer", "from"},
    "decline": {"peer", "from"}, "silence": {"peer", "from"}, "stopInvite": set(), "getInvitations": {"peer"},
    "unregistered": {"peer"}, "disconnected": {"peer"},
}  # fmt: skip
"""The events in which a field of `_OPTIONAL` is mandatory."""

_NO_IDS: Final = {
    "empty": "", "space": "a b", "space around": " a", "tab": "a\tb", "line": "a\nb", "line end": "a\n", "nul": "a\0b",
    "escape": "\x1b[31m", "delete": "a\x7f", "next line": "a\x85b", "no-break space": "a\u00a0b", "em space": "a\u2003",
    "ideographic space": "\u3000a", "line separator": "a\u2028b", "brace": "a{b", "hash tag": "{0}", "closing": "a}",
    "bar": "a|b", "too long": "x" * 256, "too long and wide": "𝄞" * 256,
}  # fmt: skip
_NO_TEXTS: Final[dict[str, Any]] = {
    "number": 5, "fraction": 1.5, "true": True, "list": ["a"], "object": {"id": "a"},
}  # fmt: skip
_NO_REFS: Final = _NO_TEXTS | {
    "empty": "", "one": "a", "two": "a|b", "four": "a|b|c|d", "an empty one": "a||c", "space": "a|b |c",
    "too long": f"a|{'x' * 256}|c", "brace": "a|b|{c}", "line end": "a|b|c\n",
}  # fmt: skip


def _dump(payload: Any) -> bytes:
    return json.dumps(payload).encode()


def _known(payload: Json, path: tuple[str, ...] = ()) -> bool:
    return "peer" in payload and (path[:1] != ("peer",) or path == ("peer", "device"))


def _fields(payload: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in payload.items():
        if name in _OPAQUE:
            continue
        yield (*path, name), value
        if isinstance(value, dict):
            yield from _fields(value, (*path, name))


def _changed(payload: Json, path: tuple[str, ...], value: Any) -> Json:
    copy: Json = json.loads(json.dumps(payload))
    place = copy
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return copy


def _without(payload: Json, path: tuple[str, ...]) -> Json:
    copy: Json = json.loads(json.dumps(payload))
    place = copy
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    return copy


def _is_id(name: str) -> bool:
    return name not in {
        "transaction",
        "expires",
        "errorCode",
        "type",
        "match",
        "trunk",
        "peer",
        "registry",
        "returnOf",
        "replaces",
        "ringMode",
        "dnd",
        "until",
        "before",
        "block",
        "confirm",
        "confirmed",
        "probe",
    }


def _wrong_values(name: str) -> dict[str, Any]:
    """Return invalid values for a field, each with a name."""
    if name in {"peer", "registry"}:
        return {"number": 5, "text": "a", "list": [], "empty": {}}
    if _is_id(name):
        return _NO_IDS | _NO_TEXTS
    whole = {"fraction": 1.5, "text": "5", "true": True, "list": [5], "object": {}, "huge": 10**400}
    return {
        "expires": whole | {"zero": 0, "negative": -1, "beyond 2^53": 2**53},
        "errorCode": whole | {"too low": 399, "too high": 700, "negative": -486, "zero": 0},
        "transaction": {"true": True, "list": [], "object": {}, "fraction": 1.5, "too long": "x" * 256, "huge": 2**53},
        "type": _NO_TEXTS | {"empty": "", "too long": "x" * 256},
        "ringMode": _NO_TEXTS | {"empty": "", "another": "both", "case": "All"},
        "until": whole | {"zero": 0, "negative": -1, "beyond 2^53": 2**53},
        "before": whole | {"zero": 0, "negative": -1, "beyond 2^53": 2**53},
        "block": {
            "text": "alice", "number": 5, "object": {}, "true": True, "number in it": ["a", 5], "no id in it": ["a|b"],
            "list in it": [["a"]], "null in it": [None], "too long": ["a"] * 1_001,
        },
        **{
            flag: {"text": "true", "number": 1, "list": []}
            for flag in ("trunk", "confirm", "confirmed", "dnd", "probe")
        },
        "match": _NO_TEXTS | {
            "empty": "", "too long": "x" * 1025, "open": "(", "open set": "[", "nothing to repeat": "+49",
            "look": "(?=a)", "back reference": r"(a)\1", "escape": "\\", "too many": "a{1001}",
        },
        "returnOf": _NO_REFS,
        "replaces": _NO_REFS,
    }[name]  # fmt: skip


def _of_one(kind: str, payload: Json) -> Iterator[Malformed]:
    for path, _ in _fields(payload):
        where = ".".join(path)
        name = path[-1]
        known = _known(payload, path)
        optional = name in _OPTIONAL - (_MANDATORY.get(kind, set()) if len(path) == 1 else set())
        if not optional:
            yield Malformed(f"{where} missing", kind.encode(), _dump(_without(payload, path)), where, known)
        if not optional or name in {"errorCode", "type", "trunk", "match"}:
            nothing = _dump(_changed(payload, path, None))
            if (kind, name) != ("decline", "errorCode"):
                yield Malformed(f"{where} null", kind.encode(), nothing, where, known)
        for what, value in _wrong_values(name).items():
            names = f"{where}.id" if value == {} and name in {"peer", "registry"} else where
            wrong = _dump(_changed(payload, path, value))
            yield Malformed(f"{where} {what}", kind.encode(), wrong, names, known)


def _of_all() -> Iterator[Malformed]:
    """Yield the possible faults of any event's payload."""
    kind, payload = e.invite(ASKING)
    good = _dump(payload)
    texts: dict[str, bytes] = {
        "empty": b"", "space": b" ", "nothing but a nul": b"\0", "word": b"hello", "truncated": good[:-1],
        "truncated text": good[:-5], "half": good[: len(good) // 2], "opened": b"{",
        "trailing comma": good[:-1] + b",}",
        "trailing text": good + b" x", "two objects": good + good, "single quotes": good.replace(b'"', b"'"),
        "byte order mark": b"\xef\xbb\xbf" + good, "comment": good + b"// done", "NaN": good[:-1] + b',"expires":NaN}',
        "array": b"[" + good + b"]", "number": b"5", "text": b'"invite"', "null": b"null", "true": b"true",
        "deep list": b"[" * 100_000, "deep object": b'{"a":' * 10_000, "UTF-16": good.decode().encode("utf-16"),
        "not UTF-8": good.replace(b"bob", b"b\xffb"), "Latin-1": good.replace(b"bob", "b\xf6b".encode("latin-1")),
        "overlong": good.replace(b"bob", b"\xc0\xafb"), "encoded surrogate": good.replace(b"bob", b"\xed\xa0\x80"),
        "lone surrogate": good.replace(b"bob", rb"b\ud800"), "second half": good.replace(b"bob", rb"\udc00b"),
        "halves in the wrong order": good.replace(b"bob", rb"\udc00\ud800"),
        "bad escape": good.replace(b"bob", rb"\x41"),
        "short escape": good.replace(b"bob", rb"\u12"), "raw line end": good.replace(b"bob", b"b\nb"),
        "compressed": bytes.fromhex("1f8b0800000000000003"), "zeros": bytes(1000),
    }  # fmt: skip
    fields = {
        "NaN": "expires",
        "lone surrogate": "to",
        "second half": "to",
        "halves in the wrong order": "to",
    }
    for name, text in texts.items():
        yield Malformed(name, kind.encode(), text, fields.get(name, "payload"), known=False)

    def more(name: str, field: bytes, names: str, *, known: bool = True) -> Malformed:
        return Malformed(name, kind.encode(), good[:-1] + b"," + field + b"}", names, known)

    yield more("context too large", b'"context":"' + b"x" * (16 * 1024 - 1) + b'"', "context")
    yield more("context too large in UTF-8", b'"context":"' + "ü".encode() * (8 * 1024) + b'"', "context")
    for reply in (e.accept("asking", "asker"), e.decline("asking", "asker")):
        large = _dump(reply[1] | {"context": "x" * (4 * 1024 - 1)})
        yield Malformed("context too large", reply[0].encode(), large, "context", known=True)
    other = _dump(e.joined("bob", peer=ASKING)[1])
    yield Malformed("the peer of another user", b"joined", other, "peer.user", known=True)
    yield more("payload too large", b'"unknown":"' + b"x" * (64 * 1024) + b'"', "payload")
    deep = b"[" * 5_000 + b"]" * 5_000
    readable = sys.version_info >= (3, 13)  # the decoder reads as deeply as Python recurses
    yield more("context nested too deeply", b'"context":' + deep, "payload", known=readable)
    yield more("unknown field nested too deeply", b'"new":' + deep, "payload", known=readable)
    yield more("context not UTF-8", b'"context":"\xff"', "payload", known=False)
    yield more("context with a lone surrogate", rb'"context":"\ud800"', "context", known=False)
    yield more("NaN in a context", b'"context":[NaN]', "payload", known=False)
    yield more("NaN in an unknown field", b'"new":NaN', "payload", known=False)
    yield more("surrogate in an unknown field", rb'"new":"\ud800"', "payload", known=False)
    yield more("surrogate in a name", rb'"\udc00":1', "payload", known=False)
    yield more("surrogate in a peer", rb'"peer":{"id":"a","user":"\ud800"}', "peer.user", known=False)
    yield more(
        "surrogate in a part of a peer that is unknown", rb'"peer":{"new":"\ud800"}', "peer", known=False
    )
    yield more("second one of two fields wrong", b'"to":"a b"', "to")
    yield Malformed("first one of two fields wrong", kind.encode(), b'{"to":"",' + good[1:], "to", known=True)
    yield more("middle one of three fields wrong", b'"to":5,"to":"bob"', "payload")
    yield more("peer twice and wrong", b'"peer":{"id":"a b","user":"u"}', "peer.id", known=False)
    for name, strange in {
        "no type": b"", "unknown": b"dance", "case": b"Invite", "space": b"invite ", "plural": b"invites", "nul": b"\0",
        "not UTF-8": b"\xff\xfe", "timer": b"timer", "of notifications": b"invitation", "line": b"invite\n",
        "long": b"x" * 10_000, "escape": b"\x1b[31minvite",
    }.items():  # fmt: skip
        yield Malformed(f"type {name}", strange, good, "type", known=True)


def malformed() -> list[Malformed]:
    """Return all malformed entries without duplicates."""
    found = [bad for kind, payload in VALID for bad in _of_one(kind, payload)]
    return list({(bad.type, bad.payload): bad for bad in (*found, *_of_all())}.values())
