"""A call on the server of deploy/, where each part of the service has its own user: nothing is refused."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from invites import config
from invites.client import (
    Accept,
    Invite,
    Notifications,
    Peer,
    Publisher,
    Registered,
    Registry,
)
from invites.connection.clients import Clients
from invites.keys import Keys
from invites.queries.dead_letters import DeadLetters
from invites.queries.invites import InviteQueries
from invites.queries.overview import overview
from tests.deploy import installations
from tests.support.waiting import wait_until
from workers.http.installation import Installation
from workers.probe import Place, measure
from workers.service import Service

KEYS = Keys()
ALICE = {"id": "p-alice", "user": "alice"}
PHONE = {"id": "p-phone", "user": "bob"}
DESK = {"id": "p-desk", "user": "bob"}


@pytest.fixture
async def admin(installation: installations.Installation) -> AsyncIterator[Redis]:
    """An administrator of an empty server whose log of refused commands is empty too."""
    async with Redis.from_url(installation.admin_url) as client:
        await client.flushall()
        await client.script_flush()
        await client.acl_log_reset()
        yield client


@asynccontextmanager
async def working(url: str) -> AsyncIterator[Service]:
    service = Service(config.load(installations.DEPLOY / "config.json", redis_url=url, environ={}), url)
    try:
        await service.start()
        yield service
        await service.drain()
    finally:
        await service.aclose()


class Gateway:
    """Publishes devices' events, and reads their notifications, with a group of its own."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self.heard: list[tuple[str, Any]] = []

    async def publish(self, kind: str, payload: dict[str, Any]) -> None:
        await self.client.xadd(KEYS.events, {"type": kind, "payload": json.dumps(payload)})

    async def hears(self, kind: str) -> Any:
        """Read on until a notification of this type comes; returns its payload."""

        async def came() -> bool:
            reply: Any = await self.client.xreadgroup("gateway-1", "me", {KEYS.notifications: ">"}, block=50)
            for _, entries in reply:
                for entry, fields in entries:
                    self.heard.append((fields[b"type"].decode(), json.loads(fields[b"payload"])))
                    await self.client.xack(KEYS.notifications, "gateway-1", entry)
            return any(heard == kind for heard, _ in self.heard)

        await wait_until(came, f"the gateway hears {kind}")
        at = next(at for at, (heard, _) in enumerate(self.heard) if heard == kind)
        return self.heard.pop(at)[1]


async def test_no_part_of_a_call_is_refused(installation: installations.Installation, admin: Redis) -> None:
    """If the server refused anybody a command, its log would name it."""
    async with (
        working(installation.url("worker")) as service,
        Redis.from_url(installation.url("gateway"), protocol=2, driver_info=None) as client,
        Redis.from_url(installation.url("operator"), protocol=2, driver_info=None) as operator,
    ):
        gateway = Gateway(client)
        await client.xgroup_create(KEYS.notifications, "gateway-1", id="0", mkstream=True)
        for device in (PHONE, DESK):
            registry = {**device, "device": device["id"], "expires": 60_000}
            await gateway.publish("registered", {"registry": registry})
        for user in ("alice", "bob"):
            await gateway.publish("joined", {"userId": user, "roomId": "r1"})
        assert (await gateway.hears("userJoined"))["userId"] == "bob"

        await gateway.publish("invite", {"peer": ALICE, "to": "bob", "inviteId": "i1", "room": "r1"})
        assert (await gateway.hears("invitation"))["inviteId"] == "i1"
        assert await InviteQueries(operator, KEYS).invite("alice|i1|bob") is not None
        await gateway.publish("ringing", {"peer": PHONE, "from": "alice", "inviteId": "i1"})
        await gateway.publish("getInvitations", {"peer": DESK, "transaction": "t1"})
        assert (await gateway.hears("answer"))["transaction"] == "t1"
        await gateway.publish("accept", {"peer": PHONE, "from": "alice", "inviteId": "i1"})
        assert (await gateway.hears("invitationCancel"))["reason"] == "accepted_elsewhere"

        await gateway.publish("inviteRequest", {"peer": ALICE, "to": "bob", "inviteId": "i2", "expires": 50})
        while (await gateway.hears("INVITE_COMPLETED"))["inviteId"] != "i2":
            pass
        await gateway.publish("invite", {"peer": ALICE, "to": "bob", "inviteId": "i3", "room": "r1"})
        await gateway.publish("decline", {"peer": DESK, "from": "alice", "inviteId": "i3", "errorCode": 486})
        await gateway.publish("disconnected", {"peer": PHONE})
        await gateway.publish("stopInvite", {"peer": ALICE, "callee": "bob", "inviteId": "i3"})
        await gateway.publish("left", {"userId": "alice", "roomId": "r1"})
        await gateway.publish("roomClosed", {"roomId": "r1"})
        assert (await gateway.hears("roomCleaned"))["roomId"] == "r1"

        trunk = {"id": "p-trunk", "user": "trunk", "type": "PSTN", "trunk": True, "match": "[+]34[0-9]+"}
        await gateway.publish("registered", {"registry": trunk})
        await gateway.publish("invite", {"peer": ALICE, "to": "+34600", "inviteId": "i4", "room": "r2"})
        while (await gateway.hears("invitation"))["inviteId"] != "i4":
            pass

        await gateway.publish("nonsense", {})
        letters = DeadLetters(operator, KEYS)
        await wait_until(lambda: _has_letters(letters), "the dead letter is there")
        (letter,) = [letter async for letter in letters.all()]
        assert await letters.retry(letter.id)
        await wait_until(lambda: _has_letters(letters), "the dead letter is back")
        (letter,) = [letter async for letter in letters.all()]
        assert await letters.drop(letter.id)
        assert (await overview(operator, KEYS)).dead_letters == 0
        async with Clients(installation.url("worker"), "http") as clients:
            shown = Installation([KEYS], clients, asyncio.Semaphore(1))
            assert [one.shard for one in (await shown.overview())["shards"]] == [0]
            assert await shown.dead_letters(1) == []

            async def counted() -> bool:
                return bool((await shown.minutes())["minutes"])

            await wait_until(counted, "the worker has written what it has counted")
        await wait_until(lambda: service.readiness.state() == (True, ""), "the worker is ready")

    refused = [(entry["username"], entry["object"]) for entry in await admin.acl_log()]
    assert refused == []


async def test_the_client_for_gateways_needs_no_other_right(
    installation: installations.Installation, admin: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invites.client.reader._LONGEST_KEEP_S", 0.05)
    url = installation.url("gateway")
    async with (
        working(installation.url("worker")),
        Publisher(url) as publisher,
        Notifications(url) as notifications,
    ):
        for device in (PHONE, DESK):
            await publisher.publish(Registered(registry=Registry(id=device["id"], user="bob")))
        await publisher.publish(Invite(peer=Peer(**ALICE), to="bob", invite_id="i1", room="r1"))
        assert (await publisher.ask(Accept(peer=Peer(**PHONE), from_="alice", invite_id="i1"))).code == 200
        async with asyncio.timeout(15):
            async for one in notifications:
                notifications.done(one)
                if one.type == "INVITE_COMPLETED":
                    break
        await asyncio.sleep(0.1)  # for a claim
    assert await admin.acl_log() == []


async def test_a_probe_needs_no_other_right(installation: installations.Installation, admin: Redis) -> None:
    async with working(installation.url("worker")):
        measured = await measure(Place(installation.url("probe"), "invites", 0, 1, "probed"), 15)
    assert measured.error is None
    assert await admin.acl_log() == []


async def _has_letters(letters: DeadLetters) -> bool:
    return bool([letter async for letter in letters.all()])


def run_command(url: str, *arguments: str) -> str:
    """Run `invites …` with the example configuration; returns what it prints."""
    options = ("--config", str(installations.DEPLOY / "config.json"), "--redis-url", url)
    command = [sys.executable, "-m", "workers", *arguments, *options]
    done = subprocess.run(command, cwd=installations.ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def test_operator_needs_no_other_user(installation: installations.Installation, admin: Redis) -> None:
    url = installation.url("operator")
    async with working(installation.url("worker")):
        invite = {"peer": ALICE, "to": "bob", "inviteId": "i1", "room": "r1"}
        entry = await asyncio.to_thread(run_command, url, "publish", "invite", json.dumps(invite))
        assert entry.strip()

        async def known() -> bool:
            return await InviteQueries(admin, KEYS).invite("alice|i1|bob") is not None

        await wait_until(known, "the invite is there")
        assert "404" in await asyncio.to_thread(run_command, url, "show", "alice|i1|bob")
        assert "pending invites" in (await asyncio.to_thread(run_command, url, "status")).lower()
        await admin.xadd(KEYS.events, {"type": "nonsense", "payload": "{}"})
        await wait_until(lambda: _has_letters(DeadLetters(admin, KEYS)), "the dead letter is there")
        assert "nonsense" in await asyncio.to_thread(run_command, url, "dead", "list")
        # `check` is about one user's permissions, so it takes the credentials of that user.
        checked = await asyncio.to_thread(run_command, installation.url("worker"), "check")
        assert "FAIL" not in checked
        assert "All of a worker's commands" in checked
        for role in ("publisher", "gateway", "operator"):
            checked = await asyncio.to_thread(run_command, installation.url(role), "check", "--role", role)
            assert f"{role}'s commands on invites:{{0}}:* are allowed" in checked
    assert await admin.acl_log() == []


async def test_users_are_loaded_while_calls_go_on(
    installation: installations.Installation, admin: Redis
) -> None:
    """The server disconnects a worker whose line has changed. It connects again, and misses no event."""
    users = installation.secrets.parent / "users.acl"
    before = users.read_text()
    line = next(line for line in before.splitlines() if line.startswith("user worker "))
    async with (
        working(installation.url("worker")),
        Redis.from_url(installation.url("admin"), protocol=2, driver_info=None) as administrator,
    ):
        for number in range(10):
            users.write_text(before.replace(line, line.replace("#", f"#{number:064x} #", 1)))
            try:
                await administrator.execute_command("ACL", "LOAD")
            finally:
                users.write_text(before)
            for client in (admin, administrator):  # Redis 7.0 disconnects everybody
                await client.connection_pool.disconnect()
            invite = {"peer": ALICE, "to": "bob", "inviteId": f"i{number}", "room": "r1"}
            await admin.xadd(KEYS.events, {"type": "invite", "payload": json.dumps(invite)})
        queries = InviteQueries(admin, KEYS)

        async def all_known() -> bool:
            found = [await queries.invite(f"alice|i{number}|bob") for number in range(10)]
            return None not in found

        await wait_until(all_known, "every invite is there")
        await administrator.execute_command("ACL", "LOAD")
        for client in (admin, administrator):
            await client.connection_pool.disconnect()
        users.write_text("user nobody on +nonsense\n")
        try:
            with pytest.raises(ResponseError, match="WARNING: ACL errors detected, no change"):
                await administrator.execute_command("ACL", "LOAD")
        finally:
            users.write_text(before)
    assert await admin.acl_log() == []
