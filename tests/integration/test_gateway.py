"""The WebSocket gateway: real devices, a real server, a worker in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any

import aiohttp
import pytest

from invites.client import Event, Joined, Publisher, Registered
from tests.support.devices import SECRET, Device, token
from tests.support.gateways import configuration, gateway, is_ready, platform
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, running
from workers.gateway.service import GatewayError
from workers.lab.gateway_process import port_of, start_gateway
from workers.lab.worker_process import start_worker

CALL = {"to": "bob", "inviteId": "1", "room": "r"}
ANSWER = {"from": "alice", "inviteId": "1"}


async def registered(client: Any, user: str) -> dict[str, Any]:
    """The registrations of a user, by peer."""
    return {
        peer.decode(): json.loads(raw) for peer, raw in (await client.hgetall(KEYS.registry(user))).items()
    }


@pytest.mark.parametrize("shards", [1, 3])
async def test_a_call_rings_all_devices_and_stops_all_but_the_first_that_accepts(
    valkey_url: str, shards: int
) -> None:
    async with (
        platform(valkey_url, shards) as service,
        Device(service.port, "alice") as alice,
        Device(service.port, "bob", device="dev-1") as phone,
        Device(service.port, "bob") as tablet,
    ):
        await alice.send("invite", **CALL, peer={"id": tablet.peer, "user": "bob"}, transaction="t")
        rung = await phone.hears("invitation")
        assert (rung["from"], rung["to"], rung["resumed"]) == ("alice", "bob", False)
        assert 0 < rung["expiresIn"] <= 60_000
        await tablet.hears("invitation")
        await phone.send("ringing", **ANSWER)
        while (await alice.hears("inviteProgress"))["code"] != 180:
            pass
        await phone.send("accept", **ANSWER, transaction=1)
        assert (await phone.hears("answer"))["code"] == 200
        assert (await tablet.hears("invitationCancel"))["reason"] == "accepted_elsewhere"
        taken = await alice.hears("inviteAccepted")
        assert (taken["whoAccepted"], taken["peer"]) == ("bob", phone.peer)
        assert len([one for one in phone.heard if one["type"] == "invitation"]) == 1


async def test_a_device_is_registered_before_it_is_welcome_and_before_its_own_events(
    valkey_url: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, overtaken = Publisher.publish, asyncio.Event()

    async def slow(self: Publisher, event: Event, **more: Any) -> str:
        if isinstance(event, Registered):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await overtaken.wait()
        entry = await publish(self, event, **more)
        overtaken.set()
        return entry

    monkeypatch.setattr(Publisher, "publish", slow)
    async with (
        gateway(valkey_url, configuration()) as service,
        aiohttp.ClientSession() as http,
        http.ws_connect(f"http://127.0.0.1:{service.port}/ws") as socket,
    ):
        await socket.send_json({"type": "login", "payload": {"token": token("bob")}})
        await socket.send_json({"type": "userState", "payload": {"dnd": True}})
        assert (await socket.receive_json(timeout=15))["type"] == "welcome"
        assert [fields[b"type"] for _, fields in await client.xrange(KEYS.events)][:1] == [b"registered"]
        await wait_until(lambda: _has_events(client, 2), "the device's event follows")
        await client.delete(KEYS.events)


async def test_a_device_that_comes_back_goes_on_as_the_same_peer(valkey_url: str, client: Any) -> None:
    async with platform(valkey_url) as service, Device(service.port, "alice") as alice:
        async with Device(service.port, "bob") as phone:
            await wait_until(lambda: _is_registered(client, phone.peer), "the phone is registered")
            await alice.send("invite", **CALL)
            await phone.hears("invitation")
        await wait_until(lambda: _is_gone(client), "the phone is gone")
        async with Device(service.port, "bob", resume=phone.peer) as again:
            assert again.peer == phone.peer
            assert (await again.hears("invitation"))["resumed"] is True
            await again.send("accept", **ANSWER)
            assert (await again.hears("answer"))["code"] == 200
        # Nobody else can take the peer, although others know its id.
        async with Device(service.port, "mallory", resume=phone.peer) as other:
            assert other.peer != phone.peer


async def _is_registered(client: Any, peer: str) -> bool:
    return peer in await registered(client, "bob")


async def _is_gone(client: Any) -> bool:
    return not await registered(client, "bob")


async def test_a_second_connection_of_a_peer_takes_the_place_of_the_first(
    valkey_url: str, client: Any
) -> None:
    async with (
        platform(valkey_url) as service,
        Device(service.port, "bob") as first,
        Device(service.port, "bob", resume=first.peer) as second,
    ):
        assert await first.ends() == (4409, "the device has connected again")
        await second.send("getInvitations")
        await second.hears("answer")
        assert set(await registered(client, "bob")) == {second.peer}


async def test_the_latest_connection_of_a_peer_closes_the_one_at_another_gateway(
    valkey_url: str, client: Any
) -> None:
    """A duplicated tab: only the latest one rings, and the end of the other one leaves it registered."""
    config = configuration()
    async with (
        running(config, valkey_url),
        gateway(valkey_url, config) as one,
        gateway(valkey_url, config) as other,
        Device(one.port, "bob") as first,
        Device(other.port, "bob", resume=first.peer) as second,
    ):
        assert await first.ends() == (4409, "the device has connected again")
        async with Device(one.port, "bob", resume=first.peer) as third, Device(other.port, "alice") as alice:
            assert await second.ends() == (4409, "the device has connected again")
            await third.send("getInvitations", transaction=1)
            await third.hears("answer")
            assert list(await registered(client, "bob")) == [first.peer]
            await alice.send("invite", **CALL)
            await third.hears("invitation")
            await third.send("accept", **ANSWER, transaction=2)
            await third.hears("answer")
            answers = [one["payload"]["transaction"] for one in third.heard if one["type"] == "answer"]
            assert answers == [1, 2]
            assert {one["type"] for one in (*first.heard, *second.heard)} == {"welcome"}
            assert list(await registered(client, "bob")) == [first.peer]


async def test_all_devices_of_a_user_in_a_room_hear_who_joins_it(valkey_url: str) -> None:
    async with (
        platform(valkey_url) as service,
        Device(service.port, "alice") as laptop,
        Device(service.port, "alice") as phone,
    ):
        for device in (laptop, phone):
            await device.send("getInvitations")
            await device.hears("answer")
        async with Publisher(valkey_url) as room_server:
            await room_server.publish(Joined(user_id="alice", room_id="r"))
            await room_server.publish(Joined(user_id="bob", room_id="r"))
        for device in (laptop, phone):
            assert await device.hears("userJoined") == {"userId": "bob", "roomId": "r"}


async def test_a_message_that_cannot_be_published_is_refused_and_the_device_stays(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Proxy(int(valkey_url.rpartition(":")[2].partition("/")[0])) as proxy:
        config = configuration()
        async with (
            running(config, valkey_url),
            gateway(proxy.url, config) as service,
            Device(service.port, "bob") as phone,
        ):
            await proxy.down()
            with monkeypatch.context() as patch:
                patch.setattr("workers.gateway.connection.WITHIN_S", 0.3)
                await phone.send("getInvitations", transaction="t")
                assert await phone.hears("error") == {
                    "message": "the service cannot be reached: send it again later",
                    "request": "getInvitations",
                    "transaction": "t",
                }
            await proxy.up()
            await phone.send("getInvitations", transaction="u")
            assert (await phone.hears("answer"))["transaction"] == "u"


async def test_a_registration_is_renewed_and_ends_with_the_connection(valkey_url: str, client: Any) -> None:
    async with platform(valkey_url, expires=400) as service:
        async with Device(service.port, "bob", device="dev-1") as phone:
            ending = asyncio.create_task(phone.ends())  # it replies to pings
            found: list[dict[str, Any]] = []

            async def renewed() -> bool:
                found[:] = (await registered(client, "bob")).values()
                return bool(found) and (await client.xinfo_stream(KEYS.events))["entries-added"] >= 3

            await wait_until(renewed, "the registration has been renewed twice")
            assert [(one["device"], one["user"]) for one in found] == [("dev-1", "bob")]
            await phone.send("logout")
            assert (await ending)[0] == 1000
        await wait_until(lambda: _is_gone(client), "the phone has signed off")


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ("{", 'a message is {"type": …, "payload": {…}}: Input data was truncated'),
        (b"{}", "a message is text, not binary"),
        (
            '{"type":"registered"}',
            "a device cannot send 'registered'; it can send accept, callsSeen, decline, getInv",
        ),
        ('{"type":"joined","payload":{"roomId":"r"}}', "a device cannot send 'joined'"),
        ('{"type":"roomClosed","payload":{"roomId":"r"}}', "a device cannot send 'roomClosed'"),
        ('{"type":"accept","payload":{"transaction":5}}', "field from is missing"),
        (
            '{"type":"invite","payload":{"to":"b","inviteId":"1","room":"r","context":[1e999]}}',
            "field context has the number 1e999",
        ),
        ('{"type":"invite","payload":{"to":"a b"}}', "field to must be a text of 1 to 255 characters"),
        (
            '{"type":"invite","payload":' + '{"a":' * 2_000 + "1" + "}" * 2_001,
            "the message is nested too deeply",
        ),
    ],
)
async def test_a_wrong_message_is_refused_with_a_sentence_and_the_device_stays(
    valkey_url: str, sent: str | bytes, sentence: str
) -> None:
    async with platform(valkey_url) as service, Device(service.port, "bob") as phone:
        await phone.send_raw(sent)
        error = await phone.hears("error")
        assert error["message"].startswith(sentence)
        assert error.get("transaction") == (5 if "accept" in str(sent) and "5" in str(sent) else None)
        await phone.send("getInvitations")
        assert (await phone.hears("answer"))["code"] == 200


async def test_a_device_speaks_only_for_itself(valkey_url: str, client: Any) -> None:
    async with gateway(valkey_url, configuration()) as service, Device(service.port, "bob") as phone:
        mallory = {"id": "x", "user": "mallory"}
        await phone.send("accept", peer=mallory, **ANSWER)
        await phone.send("stopInvite", peer=mallory, **{"from": "mallory"}, callee="eve", inviteId="1")
        await phone.send("userState", userId="mallory", dnd=True)
        await wait_until(lambda: _has_events(client, 4), "all is published")
        published = [json.loads(fields[b"payload"]) for _, fields in await client.xrange(KEYS.events)]
        assert "mallory" not in json.dumps(published)
        await client.delete(KEYS.events)


async def _has_events(client: Any, count: int) -> bool:
    return int(await client.xlen(KEYS.events)) == count


async def test_a_gateway_that_stops_sends_its_devices_to_another_one_and_they_ring_on(
    valkey_url: str, client: Any
) -> None:
    config = configuration()
    async with running(config, valkey_url), gateway(valkey_url, config) as second:
        async with gateway(valkey_url, config) as first:
            phone = Device(first.port, "bob", device="dev-1")
            async with Device(second.port, "alice") as alice, phone:
                await wait_until(lambda: _is_registered(client, phone.peer), "the phone is registered")
                await alice.send("invite", **CALL)
                await phone.hears("invitation")
                (code, _), _ = await asyncio.gather(phone.ends(), first.aclose())
                assert code == 1012
                async with Device(second.port, "bob", device="dev-1", resume=phone.peer) as again:
                    assert (await again.hears("invitation"))["resumed"] is True
                    await again.send("accept", **ANSWER)
                    assert (await alice.hears("inviteAccepted"))["peer"] == phone.peer
        groups = await client.xinfo_groups(KEYS.notifications)
        assert len(groups) == 1, "the stopped gateway has removed its group"


async def test_devices_of_a_gateway_that_is_killed_ring_on_at_another_one(valkey_url: str) -> None:
    with (
        start_worker(valkey_url, {"invites": {"basic": {"removeAfter": 60_000}}}),
        start_gateway(valkey_url, {"gateway": {"secret": SECRET}}) as first,
        start_gateway(valkey_url, {"gateway": {"secret": SECRET}}) as second,
    ):
        await wait_until(lambda: None not in {port_of(first), port_of(second)}, "both gateways listen")
        one, other = port_of(first) or 0, port_of(second) or 0
        async with Device(one, "bob") as phone, Device(other, "alice") as alice:
            await phone.send("getInvitations")
            await phone.hears("answer")
            await alice.send("invite", **CALL)
            await phone.hears("invitation")
            first.stop()
            assert (await phone.ends())[0] == 1006
            async with Device(other, "bob", resume=phone.peer) as again:
                assert (await again.hears("invitation"))["resumed"] is True
                await again.send("accept", **ANSWER)
                assert (await again.hears("answer"))["code"] == 200
                assert (await alice.hears("inviteAccepted"))["peer"] == phone.peer
            assert [one["type"] for one in alice.heard].count("inviteAccepted") == 1
        second.terminate()
        await wait_until(lambda: not second.running(), "the other one has stopped")
        assert "Traceback" not in second.output()


async def test_after_a_loss_of_data_all_devices_are_registered_again(valkey_url: str, client: Any) -> None:
    async with (
        platform(valkey_url) as service,
        Device(service.port, "bob") as phone,
        Device(service.port, "alice") as alice,
    ):
        await wait_until(lambda: _is_registered(client, phone.peer), "the phone is registered")
        await client.flushall()
        await wait_until(lambda: _is_registered(client, phone.peer), "the phone is registered again")
        await alice.send("invite", **CALL)
        await phone.hears("invitation")


async def test_a_device_that_does_not_reply_is_not_registered_again(valkey_url: str, client: Any) -> None:
    """It may have continued elsewhere: a half-open connection must not take its peer back."""
    async with platform(valkey_url, expires=400) as service, Device(service.port, "bob") as phone:
        await wait_until(lambda: _is_registered(client, phone.peer), "the phone is registered")
        await wait_until(lambda: _is_gone(client), "its registration has lapsed")


async def test_a_device_that_replies_late_is_registered_again_without_another_ping(
    valkey_url: str, client: Any
) -> None:
    async with (
        gateway(valkey_url, configuration(expires=400)) as service,
        aiohttp.ClientSession(f"http://127.0.0.1:{service.port}") as http,
        http.ws_connect("/ws", autoping=False) as socket,
    ):
        await socket.send_json({"type": "login", "payload": {"token": token("bob")}})
        assert (await socket.receive_json())["type"] == "welcome"
        assert (await socket.receive()).type is aiohttp.WSMsgType.PING
        await asyncio.sleep(0.1)  # it is late
        await socket.pong()
        assert (await socket.receive()).type is aiohttp.WSMsgType.PING
        assert await client.xlen(KEYS.events) == 2
    await client.delete(KEYS.events)


async def test_a_device_that_reads_nothing_holds_up_neither_its_end_nor_the_gateway(valkey_url: str) -> None:
    async with platform(valkey_url, messages_per_second=10_000) as service:
        phone = Device(service.port, "bob")
        async with phone:
            for _ in range(600):
                await phone.send("accept", transaction="x" * 255)
            await wait_until(lambda: len(service._connections) == 0, "it is disconnected")


async def test_a_port_that_is_taken_is_named(valkey_url: str) -> None:
    async with gateway(valkey_url, configuration()) as service:
        with pytest.raises(
            GatewayError, match=r"cannot listen on 127\.0\.0\.1 port \d+: .* Set gateway\.host"
        ):
            async with gateway(valkey_url, configuration(port=service.port)):
                pass


# --- the number of shards


@pytest.mark.leaks  # the layout is written by hand
@pytest.mark.parametrize("shards", [1, 3])
async def test_a_gateway_that_reads_other_shards_than_the_workers_does_not_start(
    valkey_url: str, client: Any, shards: int
) -> None:
    await client.set(KEYS.layout, "2")
    with pytest.raises(
        GatewayError, match=rf"in 2 shards, but redis\.shards is {shards}: set redis\.shards to 2"
    ):
        async with gateway(valkey_url, configuration(shards)):
            pass
    assert await client.keys() == [KEYS.layout.encode()]


@pytest.mark.leaks
async def test_a_gateway_is_not_ready_once_the_calls_are_in_other_shards(
    valkey_url: str, client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """From the beginning of a reshard to its end the old and the new number are right."""
    monkeypatch.setattr("workers.gateway.shards._EVERY_S", 0.01)
    await client.set(KEYS.layout, "1>3")
    async with (
        gateway(valkey_url, configuration(1)) as former,
        gateway(valkey_url, configuration(3)) as latter,
        aiohttp.ClientSession(f"http://127.0.0.1:{former.port}") as old,
        aiohttp.ClientSession(f"http://127.0.0.1:{latter.port}") as new,
    ):
        await wait_until(lambda: is_ready(old), "the old one is ready")
        await wait_until(lambda: is_ready(new), "the new one is ready")
        await client.set(KEYS.layout, "3")

        async def is_told() -> bool:
            found = await (await old.get("/readyz")).json()
            return "set redis.shards to 3" in found.get("reason", "")

        await wait_until(is_told, "the old one says why it is not ready")
        assert await is_ready(new)
        (error,) = [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]
        assert "The calls in Redis are in 3 shards, but redis.shards is 1" in error
        await client.set(KEYS.layout, "1")
        await wait_until(lambda: is_ready(old), "the old one is ready again")


@pytest.mark.leaks
async def test_a_gateway_that_may_not_read_the_number_of_shards_goes_on_with_a_warning(
    valkey_url: str, client: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it may: an operator completes the ACL."""
    monkeypatch.setattr("workers.gateway.shards.DENIED_S", 0.01)
    await client.set(KEYS.layout, "3")
    rules = ("reset", "on", ">x", "~*", "+@all", "-get")
    await client.execute_command("ACL", "SETUSER", "shards", *rules)
    try:
        url = valkey_url.replace("redis://", "redis://shards:x@")
        async with (
            gateway(url, configuration()) as service,
            aiohttp.ClientSession(f"http://127.0.0.1:{service.port}") as http,
        ):
            await wait_until(lambda: is_ready(http), "it is ready")
            await client.execute_command("ACL", "SETUSER", "shards", "+get")

            async def is_told() -> bool:
                return "set redis.shards to 3" in await (await http.get("/readyz")).text()

            await wait_until(is_told, "it says why it is not ready")
    finally:
        await client.execute_command("ACL", "DELUSER", "shards")
    (warning,) = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert warning.startswith(f"The server's user may not GET {KEYS.layout}")
