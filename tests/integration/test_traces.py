"""A call with traces, from the client through workers of three shards and back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from invites.client import Accept, Invite, Notifications, Peer, Publisher, Registered, Registry
from invites.config import Config, Redis, parse
from tests.support import pushes
from tests.support.worker import KEYS, running

if TYPE_CHECKING:
    from tests.support.worker import Streams
    from workers.lab.fake_sippo import FakeSippo

SHARDS = 3
CALL = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ANSWER = "00-11111111111111111111111111111111-1111111111111111-00"
ALICE = Peer("a", "alice")
PHONE = Peer("phone", "bob")


async def test_notifications_of_all_shards_carry_the_trace_of_their_event(valkey_url: str) -> None:
    """A repeat with a malformed one is answered without any."""
    async with (
        running(Config(redis=Redis(shards=SHARDS)), valkey_url),
        Publisher(valkey_url, shards=SHARDS) as publisher,
        Notifications(valkey_url, shards=SHARDS) as notifications,
    ):
        await publisher.publish(Registered(registry=Registry(id="phone", user="bob")))
        invite = Invite(peer=ALICE, to="bob", invite_id="1", room="r")
        await publisher.publish(invite, traceparent=CALL)
        assert await told(notifications, "invitation") == CALL
        accept = Accept(peer=PHONE, from_="alice", invite_id="1")
        assert (await publisher.ask(accept, traceparent=ANSWER)).code == 200
        assert await told(notifications, "INVITE_COMPLETED") == ANSWER
        await publisher.publish(invite, traceparent="00-malformed")
        assert await told(notifications, "inviteAccepted") is None


async def told(notifications: Notifications, kind: str) -> str | None:
    """The traceparent of the next notification of a type."""
    async with asyncio.timeout(15):
        async for one in notifications:
            notifications.done(one)
            if one.type == kind:
                return one.traceparent
    raise AssertionError(kind)


async def test_an_event_in_a_foreign_stream_keeps_its_trace(client: Any, valkey_url: str) -> None:
    fields = {"type": "roomClosed", "payload": '{"roomId":"r"}', "traceparent": CALL}
    async with (
        running(Config(redis=Redis(shards=SHARDS)), valkey_url),
        Notifications(valkey_url, shards=SHARDS) as notifications,
    ):
        for shard in range(SHARDS):
            await client.xadd(f"invites:{{{shard}}}:events", fields)
        assert [await told(notifications, "roomCleaned") for _ in range(SHARDS)] == [CALL] * SHARDS


async def test_sippo_server_hears_of_the_trace(
    streams: Streams, valkey_url: str, fake_sippo: FakeSippo, jobs: pushes.Jobs
) -> None:
    payload = '{"peer":{"id":"a","user":"alice"},"to":"bob","inviteId":"1","room":"r"}'
    config = parse({"invites": {"basic": {"resolvePush": True, "wac": fake_sippo.wac}}})
    async with running(config, valkey_url):
        await streams.client.xadd(KEYS.events, {"type": "invite", "payload": payload, "traceparent": CALL})
        for device in ("phone", "tablet"):
            assert (await fake_sippo.pushed(device)).traceparent == CALL
        await jobs.settled()
