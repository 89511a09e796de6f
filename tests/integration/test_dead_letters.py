"""Dead letters: listed, retried and dropped, each once."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from invites.keys import Keys
from invites.queries import streams
from invites.queries.dead_letters import DeadLetters, NotRetriableError
from tests.support.waiting import wait_until
from tests.support.worker import Streams, worker

KEYS = Keys()


def _json(value: object) -> Any:
    return json.loads(msgspec.json.encode(value))


async def _add(client: Redis, fields: dict[Any, Any]) -> str:
    entry = await client.xadd(KEYS.dead, fields)
    assert isinstance(entry, bytes)
    return entry.decode()


async def _dead_letter(client: Redis, **fields: str | bytes) -> str:
    letter = {
        "type": "invit",
        "payload": "{}",
        "error": "field type is wrong",
        "entry": "5-0",
        "deliveries": "2",
    }
    return await _add(client, {**letter, **fields})


async def test_dead_letters_are_listed_the_oldest_first(client: Redis) -> None:
    ids = [await _dead_letter(client, payload=f"{number}") for number in range(1100)]
    found = [letter async for letter in DeadLetters(client, KEYS).all()]
    assert [letter.id for letter in found] == ids
    assert [letter.payload for letter in found] == [str(number) for number in range(1100)]


async def test_letters_that_come_meanwhile_are_not_listed(client: Redis) -> None:
    await _dead_letter(client)
    found = 0
    async for _ in DeadLetters(client, KEYS).all():
        found += 1
        await _dead_letter(client)
    assert found == 1


@pytest.mark.leaks
async def test_a_retry_that_meets_another_letter_publishes_once(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction watches the dead letters, and begins again when they change."""
    entry = await _dead_letter(client, type="joined", payload='{"userId":"bob","roomId":"r"}')
    read, others = streams.read, ["1", "2"]

    async def and_another(*arguments: Any) -> Any:
        found = await read(*arguments)
        if others:
            await _dead_letter(client, payload=others.pop())
        return found

    monkeypatch.setattr(streams, "read", and_another)
    published = await DeadLetters(client, KEYS).retry(entry)
    assert published is not None
    assert [entry.id for entry in await read(client, KEYS.events, "-", "+")] == [published]
    assert [letter.payload async for letter in DeadLetters(client, KEYS).all()] == ["2", "1"]


async def test_a_letter_by_its_id(client: Redis) -> None:
    letters = DeadLetters(client, KEYS)
    entry = await _dead_letter(client)
    assert _json(await letters.get(entry)) == {
        "id": entry,
        "type": "invit",
        "payload": "{}",
        "error": "field type is wrong",
        "entry": "5-0",
        "deliveries": 2,
    }
    assert await letters.get("1-1") is None
    bare = await _add(client, {"x": b"\xff"})
    assert _json(await letters.get(bare)) == {
        "id": bare,
        "type": "",
        "payload": "",
        "error": "",
        "entry": "",
        "deliveries": None,
    }


@pytest.mark.leaks
async def test_a_retry_publishes_the_same_bytes_and_deletes(client: Redis) -> None:
    letters = DeadLetters(client, KEYS)
    entry = await _dead_letter(client, type="invite", payload=b'{"x":"\xff"}', traceparent="00-x")
    published = await letters.retry(entry)
    (event,) = await streams.read(client, KEYS.events)
    assert event.id == published
    assert event.fields == {b"type": b"invite", b"payload": b'{"x":"\xff"}', b"traceparent": b"00-x"}
    assert await client.xlen(KEYS.dead) == 0
    assert await letters.retry(entry) is None
    assert await client.xlen(KEYS.events) == 1


async def test_a_retried_timer_falls_due_now(client: Redis) -> None:
    entry = await _dead_letter(client, type="timer", entry="", payload="ring|alice|i1|bob")
    assert await DeadLetters(client, KEYS).retry(entry) == "now"
    assert await client.zrange(KEYS.timers, 0, -1) == [b"ring|alice|i1|bob"]
    due = await client.zscore(KEYS.timers, "ring|alice|i1|bob")
    assert due is not None
    assert abs(due - time.time() * 1000) < 10_000
    assert (await client.xlen(KEYS.dead), await client.exists(KEYS.events)) == (0, 0)


async def test_a_letter_without_payload_cannot_be_retried(client: Redis) -> None:
    entry = await _dead_letter(client, payload="")
    with pytest.raises(NotRetriableError, match="drop it"):
        await DeadLetters(client, KEYS).retry(entry)
    assert await client.xlen(KEYS.dead) == 1


async def test_a_drop_deletes_once(client: Redis) -> None:
    letters = DeadLetters(client, KEYS)
    entry = await _dead_letter(client)
    assert await letters.drop(entry) is True
    assert await letters.drop(entry) is False
    assert await client.xlen(KEYS.dead) == 0


async def test_a_retried_timer_that_still_fails_fires_at_its_own_time(client: Redis) -> None:
    entry = await _dead_letter(client, type="timer", entry="", payload="ring|alice|i1|bob", due="1000")
    await client.zadd(KEYS.timers, {"ring|alice|i1|bob": 9e12})
    assert await DeadLetters(client, KEYS).retry(entry) == "now"
    assert await client.zscore(KEYS.timers, "ring|alice|i1|bob") == 1000
    assert await client.xlen(KEYS.dead) == 0


async def test_a_timer_that_is_gone_cannot_be_retried(client: Redis) -> None:
    entry = await _dead_letter(client, type="timer", entry="", payload="ring|alice|i1|bob", due="1000")
    with pytest.raises(NotRetriableError, match="applied or removed: drop it"):
        await DeadLetters(client, KEYS).retry(entry)
    assert (await client.xlen(KEYS.dead), await client.exists(KEYS.timers)) == (1, 0)


async def _dead_letter_of_a_worker(streams: Streams, url: str, fields: dict[Any, Any]) -> str:
    """Publish an entry, let a worker make a dead letter of it, and return the letter's id."""
    await streams.client.xadd(KEYS.events, fields)

    async def there() -> bool:
        return int(await streams.client.xlen(KEYS.dead)) == 1

    async with worker(url) as service:
        await wait_until(there, "the event is a dead letter")
        await service.drain()
    [(letter, _)] = await streams.client.xrange(KEYS.dead)
    return str(letter.decode())


@pytest.mark.leaks
@pytest.mark.parametrize(
    "fields",
    [
        {b"typ": b"invite", b"paylod": b'{"to":"bob"}'},
        {b"type": b"joined", b"payload": b'{"userId":"\xff"}', b"traceparent": b"00-x", b"\xff": b"\xff"},
        {b"type": b"timer", b"payload": b"ring|a|b|c"},
    ],
)
async def test_an_event_keeps_all_its_fields_and_is_retried_exactly(
    streams: Streams, valkey_url: str, fields: dict[bytes, bytes]
) -> None:
    letter = await _dead_letter_of_a_worker(streams, valkey_url, fields)
    found = await DeadLetters(streams.client, KEYS).get(letter)
    assert found is not None
    misnamed = {name: value for name, value in fields.items() if name not in {b"type", b"payload"}}
    assert list(found.fields.values()) == [value.decode(errors="replace") for value in misnamed.values()]
    entry = await DeadLetters(streams.client, KEYS).retry(letter)
    assert entry is not None
    assert await streams.client.xrange(KEYS.events, entry, entry) == [(entry.encode(), fields)]
    assert (await streams.client.exists(KEYS.timers), await streams.client.xlen(KEYS.dead)) == (0, 0)


async def test_a_large_event_is_cut_and_not_retried(streams: Streams, valkey_url: str) -> None:
    payload = json.dumps({"peer": {"id": "p", "user": "u"}, "unknown": "x" * 2_000_000})
    letter = await _dead_letter_of_a_worker(
        streams, valkey_url, {"type": "getInvitations", "payload": payload, "paylod": "y" * 5_000}
    )
    found = await DeadLetters(streams.client, KEYS).get(letter)
    assert found is not None
    assert found.error == f"field payload has {len(payload)} bytes; at most 65536 are allowed"
    assert (found.payload, found.fields) == (payload[:4096], {"paylod": "y" * 4096})
    digest = hashlib.sha256(payload.encode()).hexdigest()
    assert found.cut["payload"] == f"{len(payload)} bytes, SHA-256 {digest}"
    assert found.cut["paylod"].startswith("5000 bytes, SHA-256 ")
    assert (await streams.client.memory_usage(KEYS.dead, samples=0) or 0) < 20_000
    with pytest.raises(
        NotRetriableError, match="keeps only the first 4096 bytes of payload, paylod: publish"
    ):
        await DeadLetters(streams.client, KEYS).retry(letter)
    assert await streams.client.xlen(KEYS.dead) == 1
    [answer] = await streams.payloads("answer")
    assert (answer["code"], answer["reason"]) == (400, "invalid")


@pytest.mark.leaks
async def test_a_letter_of_the_release_before_is_put_back_into_the_relay_stream(client: Redis) -> None:
    fields = {"kind": "x", "name": "bob", "entry": "1-0", "arguments": "[]"}
    entry = await _dead_letter(client, type="relay", stream="relay", payload=json.dumps(fields))
    found = await DeadLetters(client, KEYS).get(entry)
    assert found is not None
    assert json.loads(found.payload) == fields
    assert await DeadLetters(client, KEYS).retry(entry)
    [put_back] = await streams.read(client, KEYS.relay)
    assert put_back.fields == {name.encode(): value.encode() for name, value in fields.items()}
