"""What is generated: entries of the streams that workers read, replies of sippo-server, HTTP, configurations."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from typing import Any, Final

from hypothesis import strategies as st

from invites.keys import Stream
from tests.fuzz.shapes import SHARDS, Configuration, Entry, Input, Reply, Request
from tests.fuzz.variants import variant
from tests.model.author import Author
from tests.model.histories import Publish
from tests.support.generated import published, torn, values

_LUA: Final = Path(__file__).parents[2] / "lua"
_HANDLERS: Final = re.compile(r"function internal\.([a-z_]+)")


shards = st.integers(0, SHARDS - 1)


def _event(shard: int, kind: bytes, payload: bytes) -> Entry:
    return Entry(Stream.EVENTS, shard, {b"type": kind, b"payload": payload})


any_events = st.builds(lambda shard, event: _event(shard, *event), shards, published)


@st.composite
def calls(draw: st.DrawFn) -> list[Entry]:
    """Draw some events of one story: few users, who call, answer, go and come back."""
    author = Author(Random(draw(st.integers(0, 2**32))), to_group=draw(st.booleans()))
    steps = [author.step() for _ in range(12)]
    stories = [step for step in steps if isinstance(step, Publish)]
    return [_event(draw(shards), each.kind.encode(), json.dumps(each.payload).encode()) for each in stories]


# The relay stream is the workers' own, and they trust it: faults there must not look like another user's call.
# The registrations of trunks concern everybody.
kinds = sorted(
    kind
    for file in _LUA.rglob("*.lua")
    for kind in _HANDLERS.findall(file.read_text())
    if not kind.startswith("trunk_")
)
poisoned = st.sampled_from([f"poison{number}" for number in range(6)])
refs = st.builds("|".join, st.tuples(poisoned, st.sampled_from(["i1", "i2"]), poisoned))
words = st.one_of(
    poisoned,
    refs,
    st.sampled_from(["", "0", "1", "-1", "408", "5-1", "timeout", "{}", "[]"]),
    st.text(max_size=6),
)
kind_of_message = st.sampled_from(kinds) | st.text(max_size=8)
first = st.sampled_from(["5-1", "1-0", "99999999999999-1", "now"])
message = st.tuples(st.tuples(kind_of_message, poisoned, first), st.lists(words, max_size=9)).map(
    lambda parts: [*parts[0], *parts[1]]
)
relayed = st.fixed_dictionaries(
    {
        "kind": kind_of_message,
        "name": poisoned,
        "entry": first,
        "arguments": st.lists(words, max_size=9).map(json.dumps) | st.text(max_size=9),
    },
    optional={
        "shard": st.integers(-1, SHARDS).map(str) | st.text(max_size=3),
        "type": words,
        "payload": words,
        "messages": st.lists(message, max_size=4).map(json.dumps) | st.text(max_size=9),
    },
)
jobs = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["invitation", "invitationCancel"]) | words,
        "ref": refs | words,
        "user": poisoned | words,
        "device": poisoned | words,
        "deadline": st.sampled_from(["0", "9", "1700000000000", "soon", "-5", "1e9"]),
        "payload": st.sampled_from(["{}", '{"inviteId":"i1"}', "[", "null"]) | words,
    }
)


@st.composite
def internal(draw: st.DrawFn) -> Entry:
    """Draw an entry of a stream to which only workers write; now and then a field is missing or torn."""
    stream, whole = draw(st.tuples(st.just(Stream.RELAY), relayed) | st.tuples(st.just(Stream.PUSH), jobs))
    fields = {name.encode(): value.encode(errors="surrogatepass") for name, value in whole.items()}
    name = draw(st.sampled_from(sorted(fields)))
    match draw(st.sampled_from(("whole", "whole", "torn", "missing"))):
        case "torn":
            fields[name] = draw(torn(fields[name]))
        case "missing":
            del fields[name]
    return Entry(stream, draw(shards), fields)


REPLIES: Final = tuple(
    json.dumps(reply).encode()
    for reply in (
        {"id": "team", "participants": ["bob", "carol", "bob"], "ringingStrategy": "sequential"},
        [{"id": "phone", "platform": "ios"}, {"id": "watch", "platform": "android"}],
        {"id": "bob", "type": "USER", "candidates": [{"address": "bob", "type": "PUSH", "id": "phone"}]},
        {},
    )
)
replies = st.builds(
    Reply,
    st.sampled_from((200, 200, 200, 202, 204, 301, 401, 404, 410, 429, 500, 503)),
    st.sampled_from(REPLIES)
    | st.sampled_from(REPLIES).flatmap(torn)
    | values.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=40),
)

PATHS: Final = (
    b"/healthz", b"/readyz", b"/metrics", b"/v1/users/bob/invitations", b"/v1/invites/alice/i1/bob", b"/v1/", b"/",
    b"/v1/users/%ff%00/invitations", b"/v1/invites/a%7Cb/i/c", b"*", b"http://evil.example/readyz",
)  # fmt: skip
HEADERS: Final = (
    b"Host: 127.0.0.1", b"Host: evil.example", b"Authorization: Bearer x", b"X-Forwarded-For: 1.2.3.4",
    b"Content-Length: 3", b"Content-Length: -1", b"Transfer-Encoding: chunked", b"Connection: close",
    b"Expect: 100-continue",
)  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> Request:
    method = draw(st.sampled_from((b"GET", b"GET", b"HEAD", b"POST", b"OPTIONS", b"BREW")))
    lines = [
        method + b" " + draw(st.sampled_from(PATHS)) + b" HTTP/1.1",
        *draw(st.lists(st.sampled_from(HEADERS), max_size=4)),
        b"Connection: close",
    ]
    whole = b"\r\n".join([*lines, b"", b""])
    return Request(draw(st.just(whole) | torn(whole)))


CONFIGURATION: Final[dict[str, Any]] = {
    "invites": {
        "basic": {"removeAfter": 1, "resolveGroups": True, "wac": {"address": "http://wac", "username": "a"}},
        "limits": {"perPair": 3},
        "ringTimeout": 30_000,
        "deadRetention": {"age": 604_800_001, "bytes": 65_536},
    },
    "redis": {"url": "redis://valkey:6380/2", "prefix": "calls", "shards": 3},
    "http": {"host": "192.0.2.1", "port": 9090, "token": "a-long-secret"},
}


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    """Draw a valid configuration in which one value, on any level, is another one or is named otherwise."""
    whole = json.loads(json.dumps(CONFIGURATION))
    place = whole
    while True:
        name = draw(st.sampled_from(sorted(place)))
        if not isinstance(place[name], dict) or draw(st.booleans()):
            break
        place = place[name]
    place[draw(st.just(name) | st.text(max_size=6))] = draw(values)
    return Configuration(whole)


VARIANTS: Final = 15

one: st.SearchStrategy[list[Input]] = st.one_of(
    calls(),
    st.lists(any_events, min_size=1, max_size=5),
    internal().map(lambda entry: [entry]),
    replies.map(lambda reply: [reply]),
    requests().map(lambda request: [request]),
    configurations().map(lambda configuration: [configuration]),
)


@st.composite
def several(draw: st.DrawFn) -> list[Input]:
    """Draw some inputs, and variants of each."""
    drawn = [each for group in draw(st.lists(one, min_size=1, max_size=4)) for each in group]
    random = Random(draw(st.integers(0, 2**32)))
    return [each for whole in drawn for each in (whole, *(variant(whole, random) for _ in range(VARIANTS)))]
