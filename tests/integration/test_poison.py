"""Entries and timers that no correct program writes: each becomes a dead letter with a sentence, and nothing stops."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from invites.keys import Keys, Stream, shard_of
from tests.support import events as e
from tests.support import pushes
from tests.support.waiting import wait_until
from tests.support.worker import is_settled, running
from workers import shard_worker

if TYPE_CHECKING:
    from invites.events.entry import Entry
    from workers.lab.fake_sippo import FakeSippo
    from workers.service import Service

SHARDS = 3
HOME = shard_of("bob", SHARDS)
ALL = [Keys(shard=number, shards=SHARDS) for number in range(SHARDS)]
KEYS = ALL[HOME]

PAGE = {"kind": "legs_start", "name": "bob", "entry": "5-1", "arguments": '["a|1|b","0"]'}
_TYPE, _PAYLOAD = e.accept("phone")
EVENT = {"kind": "event", "name": "bob", "entry": "5-1", "type": _TYPE, "payload": json.dumps(_PAYLOAD)}
PUSH = {
    "type": "invitation", "ref": "alice|1|bob", "user": "bob", "device": "phone", "deadline": "9", "payload": "{}",
}  # fmt: skip
NOT_UTF_8 = b"\xff\xfe"

RELAY: list[tuple[Any, str]] = [
    (PAGE | {"shard": str(SHARDS)}, "field shard is 3, but there are only the shards 0 to 2"),
    (PAGE | {"shard": "-1"}, "field shard is -1, but there are only the shards 0 to 2"),
    (PAGE | {"shard": "9" * 5_000}, "field shard is no number"),
    (EVENT | {"shard": "1000000"}, "field shard is 1000000, but there are only the shards 0 to 2"),
    *(({name: value for name, value in PAGE.items() if name != missing}, f"field {missing} is missing")
      for missing in PAGE),
    *((PAGE | {name: NOT_UTF_8}, f"field {name} is not UTF-8") for name in PAGE),
    (PAGE | {"shard": NOT_UTF_8}, "field shard is not UTF-8"),
    *((PAGE | {"shard": str(shard), "name": NOT_UTF_8}, "field name is not UTF-8") for shard in range(SHARDS)),
    *((EVENT | {name: NOT_UTF_8}, f"field {name} is not UTF-8") for name in ("name", "entry", "type", "payload")),
    (PAGE | {"arguments": "[" * 100_000}, "field arguments is no list of texts in JSON"),
    (PAGE | {"entry": "now"}, "field entry is no entry id"),
    (PAGE | {"arguments": json.dumps(["x"] * 10_000)}, "the entry failed 1 times"),
    *((PAGE | {"kind": "of_a_later_version", "shard": str(shard)}, "the entry failed 1 times")
      for shard in range(SHARDS)),
    ({"x": "y"}, "field kind is missing"),
    ({NOT_UTF_8: NOT_UTF_8}, "field \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER} is not UTF-8"),
]  # fmt: skip

PUSHES: list[tuple[Any, str]] = [
    *(({name: value for name, value in PUSH.items() if name != missing}, f"field {missing} is missing")
      for missing in PUSH),
    *((PUSH | {name: NOT_UTF_8}, f"field {name} is not UTF-8") for name in PUSH),
    (PUSH | {"deadline": "soon"}, "field deadline must be a time in ms since 1970"),
    (PUSH | {"payload": "[" * 100_000}, "field payload is no JSON object"),
    ({"x": "y"}, "field type is missing"),
]  # fmt: skip

EVENTS: list[tuple[Any, str]] = [
    ({NOT_UTF_8: NOT_UTF_8}, "field payload is missing"),
    ({"type": NOT_UTF_8, "payload": "{}"}, "field type is the text"),
    ({"type": "joined", "payload": NOT_UTF_8}, "field payload is not UTF-8"),
]

POISON = {Stream.RELAY: RELAY, Stream.PUSH: PUSHES, Stream.EVENTS: EVENTS}

UNKNOWN_TIMERS = ("ring", "ring|", "caller|", "lapse|", "close|", "grace|x", "of a later version", NOT_UTF_8)
TIMERS: dict[Any, float] = dict.fromkeys(UNKNOWN_TIMERS, 1.0) | {
    b"dance|" + NOT_UTF_8: float("-inf"),
    "dance": -5.5,
}
NEVER_DUE: dict[bytes, float] = {b"ring|alice|1|bob": 1e300, b"ring|alice|2|bob": float("inf")}


async def test_poison_in_the_streams_becomes_dead_letters_and_stops_nothing(
    client: Any,
    valkey_url: str,
    fake_sippo: FakeSippo,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.roles.relay.OTHERS_MS", -1)
    async with _worker(valkey_url, fake_sippo) as service:
        for stream, entries in POISON.items():
            for entry, _ in entries:
                await client.xadd(stream.key(KEYS), entry)
        expected = sorted(sentence for entries in POISON.values() for _, sentence in entries)
        await wait_until(lambda: _has_dead(client, len(expected)), "every entry is a dead letter")
        await _assert_works(service, client)
    sentences = sorted([letter[b"error"].decode() for letter in await _dead(client)])
    for sentence, beginning in zip(sentences, expected, strict=True):
        assert sentence.startswith(beginning)
    assert "Traceback" not in caplog.text


async def test_poison_among_the_timers_becomes_dead_letters_and_stops_nothing(
    client: Any, valkey_url: str, fake_sippo: FakeSippo, caplog: pytest.LogCaptureFixture
) -> None:
    async with _worker(valkey_url, fake_sippo) as service:
        await client.zadd(KEYS.timers, TIMERS | NEVER_DUE)
        await wait_until(lambda: _has_dead(client, len(TIMERS)), "every timer that is due is a dead letter")
        await _assert_works(service, client)
        left = dict(await client.zrange(KEYS.timers, 0, -1, withscores=True))
        assert {name: left[name] for name in NEVER_DUE} == NEVER_DUE
        assert len(left) == len(TIMERS) + len(NEVER_DUE), "a timer that fails comes again"
        await client.delete(KEYS.timers)
    assert {letter[b"type"] for letter in await _dead(client)} == {b"timer"}
    assert "Traceback" not in caplog.text
    assert "cannot be used" not in caplog.text


class _Unknown(msgspec.Struct):
    """An error that no role expects: a fault in the worker's own code."""

    entry: str


@pytest.mark.parametrize("stream", list(Stream))
async def test_an_entry_that_breaks_its_role_is_left_and_claimed_and_stops_nothing(
    client: Any, valkey_url: str, fake_sippo: FakeSippo, monkeypatch: pytest.MonkeyPatch, stream: Stream
) -> None:
    name = f"decode_{'event' if stream is Stream.EVENTS else stream.value}_entry"
    decode = getattr(shard_worker, name)

    def breaking(entry: Entry, **options: Any) -> Any:
        return (
            _Unknown(entry.id) if b"x" in entry.fields and entry.deliveries == 1 else decode(entry, **options)
        )

    monkeypatch.setattr(shard_worker, name, breaking)
    async with _worker(valkey_url, fake_sippo) as service:
        await client.xadd(stream.key(KEYS), {"x": "y"})
        await wait_until(lambda: _has_dead(client, 1), "the entry is a dead letter")
        await _assert_works(service, client)


def _worker(url: str, fake_sippo: FakeSippo) -> contextlib.AbstractAsyncContextManager[Service]:
    config = pushes.configured(fake_sippo.wac, maxDeliveries=1)
    config = msgspec.structs.replace(config, redis=msgspec.structs.replace(config.redis, shards=SHARDS))
    return running(config, url)


async def _assert_works(service: Service, client: Any) -> None:
    """Assert that no loop has ended, that each stream is settled, and that the next event is answered."""
    question = {"peer": {"id": "p-1", "user": "bob"}}
    await client.xadd(KEYS.events, {"type": "getInvitations", "payload": json.dumps(question)})
    await wait_until(lambda: _told(client, b"answer"), "the next event is answered")
    every = [stream.key(keys) for keys in ALL for stream in Stream]
    await wait_until(lambda: is_settled(client, *every), "all streams are settled")
    assert not [task.get_name() for task in service._tasks if task.done()]
    await wait_until(lambda: service.readiness.state()[0], "the worker is ready")


async def _told(client: Any, kind: bytes) -> bool:
    return any(fields[b"type"] == kind for _, fields in await client.xrange(KEYS.notifications))


async def _dead(client: Any) -> list[dict[bytes, bytes]]:
    return [fields for _, fields in await client.xrange(KEYS.dead)]


async def _has_dead(client: Any, count: int) -> bool:
    return len(await _dead(client)) >= count
