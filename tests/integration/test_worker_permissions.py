"""Workers whose Redis user may not write, from the start or from a later moment."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from invites.connection.errors import RefusedError
from invites.store.answers import CommitResult, Outcome, Status
from invites.store.commit import Committer
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Streams, configured, process, worker
from workers.service import Service

Allow = Callable[[str], Awaitable[None]]

BOB = {"registry": {"id": "b1", "user": "bob"}}
INVITE = {"peer": {"id": "a1", "user": "alice"}, "to": "bob", "inviteId": "call", "room": "r1"}


@pytest.fixture
async def allow(client: Redis) -> AsyncIterator[Allow]:
    """Changes the ACL of a user `limited`, who may do everything at first."""

    async def change(rule: str) -> None:
        await client.execute_command("ACL", "SETUSER", "limited", *rule.split())

    await change("reset on >x ~* &* +@all")
    yield change
    await client.execute_command("ACL", "DELUSER", "limited")


@pytest.fixture
def limited_url(valkey_url: str) -> str:
    """The URL for this user."""
    return valkey_url.replace("redis://", "redis://limited:x@")


async def test_a_worker_that_may_not_write_does_not_start(
    allow: Allow, limited_url: str, client: Redis
) -> None:
    await allow("-zadd -hset")
    service = Service(configured(), limited_url)
    try:
        with pytest.raises(RefusedError, match="denies the Redis user HSET, ZADD: allow"):
            await service.start()
    finally:
        await service.aclose()
    assert not await client.exists(KEYS.events)


async def test_the_process_ends_with_status_1_and_the_sentence(
    allow: Allow, limited_url: str, tmp_path: Path
) -> None:
    await allow("-xadd")
    async with process(limited_url, tmp_path, {}) as running:
        _, errors = await running.communicate()
    assert running.returncode == 1
    assert b"denies the Redis user XADD" in errors


async def test_a_worker_that_may_no_longer_write_waits_and_loses_nothing(
    allow: Allow, limited_url: str, streams: Streams, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with worker(limited_url) as service:
        await streams.publish("registered", BOB)
        await wait_until(lambda: _settled(streams), "the registration is settled")
        for number, command in enumerate(("zadd", "hset", "xadd")):
            await allow(f"-{command}")
            await streams.publish("invite", {**INVITE, "inviteId": f"call-{number}"})
            await wait_until(partial(_says, service, command.upper()), "the worker says what is missing")
            await allow("+@all")
            await streams.heard("invitation", number + 1)
            await wait_until(lambda: service.readiness.state()[0], "the worker is ready")
            await wait_until(lambda: _settled(streams), "the invite is settled")
    assert [payload["inviteId"] for payload in await streams.payloads("invitation")] == [
        "call-0", "call-1", "call-2",
    ]  # fmt: skip
    assert await streams.dead() == []
    assert any(record.levelname == "ERROR" and "ZADD" in record.message for record in caplog.records)


def _says(service: Service, words: str) -> bool:
    return words in service.readiness.state()[1]


async def _settled(streams: Streams) -> bool:
    return await streams.client.exists(KEYS.events) and await streams.pending() == 0


async def test_an_event_that_loses_effects_is_an_alarm_and_a_dead_letter(
    streams: Streams, valkey_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    commit = Committer.commit

    async def lose(self: Committer, *arguments: object) -> CommitResult:
        result = await commit(self, *arguments)  # type: ignore[arg-type] # as it was called
        result.outcomes = [Outcome(Status.LOST, "disk on fire") for _ in result.outcomes]
        return result

    monkeypatch.setattr(Committer, "commit", lose)
    async with worker(valkey_url) as service:
        entry = await streams.publish("registered", BOB)
        counted = service.metrics.registry.get_sample_value
        await wait_until(lambda: counted("invites_dead_letters_total") == 1, "the dead letter is counted")
    [letter] = await streams.dead()
    assert (letter["type"], letter["entry"]) == ("registered", entry)
    assert '"b1"' in letter["payload"]
    assert "disk on fire" in letter["error"]
    assert any(record.levelname == "ERROR" and entry in record.message for record in caplog.records)
