"""The fake sippo-server, as the server of another client and as a command."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from invites.sippo import PushResult, SippoServer
from tests.support import sippo
from workers.lab.fake_sippo import GARBAGE, HANG, FakeSippo, ReceivedPush, slow

_HOME = Path(__file__).resolve().parents[2]


async def _token(http: aiohttp.ClientSession, password: str = sippo.PASSWORD) -> str:
    credentials = {"username": "admin@quobis", "password": password}
    async with http.post("/sapi/login", json=credentials) as answer:
        assert answer.status == 200
        granted = await answer.json()
        assert granted["expiresIn"] == 3600
        return str(granted["token"])


async def test_its_api_is_that_of_the_contract() -> None:
    async with (
        FakeSippo(sippo.directory(), password=sippo.PASSWORD) as fake_sippo,
        aiohttp.ClientSession(fake_sippo.address) as http,
    ):

        async def get(path: str) -> tuple[int, Any]:
            async with http.get(path) as answer:
                return answer.status, await answer.json() if answer.status == 200 else None

        assert (await get("/sapi/groups/sales"))[0] == 401
        http.headers["Authorization"] = f"Bearer {await _token(http)}"
        assert await get("/sapi/groups/sales") == (
            200,
            {"id": "sales", "name": "Sales", "participants": ["alice", "bob"]},
        )
        assert (await get("/sapi/groups/night"))[1]["ringingStrategy"] == "sequential"
        assert await get("/sapi/groups/none") == (404, None)
        devices = [{"id": "alice-phone", "platform": "ios"}, {"id": "alice-web", "platform": "web"}]
        assert await get("/sapi/users/alice/push-devices") == (200, {"devices": devices})
        assert await get("/sapi/users/none/push-devices") == (404, None)
        assert await get("/sapi/reachability/bob") == (
            200,
            {"candidatesType": "user", "candidates": [{"address": "bob", "type": "PEER"}]},
        )
        assert await get("/sapi/nothing") == (404, None)
        assert await get("/sapi/login") == (404, None), "GET is not how one logs in"
        fake_sippo.revoke_tokens()
        assert (await get("/sapi/groups/sales"))[0] == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"username":"admin@quobis","password":"wrong"}', 401),
        (b'{"username":"admin@quobis"}', 400),
        (b"[]", 400),
        (b"", 400),
    ],
)
async def test_who_is_not_let_in(body: bytes, status: int) -> None:
    async with (
        FakeSippo() as fake_sippo,
        aiohttp.ClientSession(fake_sippo.address) as http,
        http.post("/sapi/login", data=body) as answer,
    ):
        assert answer.status == status


async def test_a_push_that_is_none_is_refused() -> None:
    async with (
        FakeSippo(sippo.directory(), password=sippo.PASSWORD) as fake_sippo,
        aiohttp.ClientSession(fake_sippo.address) as http,
    ):
        http.headers["Authorization"] = f"Bearer {await _token(http)}"
        for body in (b"{}", b"x", b'{"user":"alice","device":"alice-phone","type":"ring"}'):
            async with http.post("/sapi/push", data=body) as answer:
                assert answer.status == 400
        assert fake_sippo.pushes == []


async def test_a_sleeping_phone_waits_for_its_push() -> None:
    async with sippo.pair() as pair:
        assert await pair.client.push(sippo.job()) is PushResult.TAKEN
        push: ReceivedPush = await pair.fake_sippo.pushed("alice-phone")
        assert push.job == sippo.job()
        with pytest.raises(TimeoutError):
            await pair.fake_sippo.pushed("alice-phone", nth=2, within_ms=20)
        with pytest.raises(TimeoutError):
            await pair.fake_sippo.pushed("alice-phone", "invitationCancel", within_ms=20)


async def test_faults_are_set_and_seen_over_http_too() -> None:
    async with sippo.pair() as pair, aiohttp.ClientSession(pair.fake_sippo.address) as http:
        wanted = {"fault": {"kind": "slow", "ms": 5}, "call": "groups", "times": 2}
        async with http.post("/fake-sippo/faults", json=wanted) as answer:
            assert answer.status == 204
        assert pair.fake_sippo.faults == {"groups": slow(5)}
        await pair.client.group("sales")
        await pair.client.group("sales")
        assert pair.fake_sippo.faults == {}
        refused: list[object] = [
            {"fault": {"kind": "meteor"}},
            {"fault": {"kind": "hang"}, "call": "tea"},
            {},
            [],
        ]
        for wrong in refused:
            async with http.post("/fake-sippo/faults", json=wrong) as answer:
                assert answer.status == 400
        async with http.post("/fake-sippo/faults", json={"fault": {"kind": "hang"}}) as answer:
            assert pair.fake_sippo.faults == {"*": HANG}
        async with http.delete("/fake-sippo/faults") as answer:
            assert answer.status == 204
        assert pair.fake_sippo.faults == {}
        assert await pair.client.push(sippo.job()) is PushResult.TAKEN
        async with http.get("/fake-sippo") as answer:
            state = await answer.json()
        assert state["requests"] == {"login": 1, "groups": 2, "push": 1}
        assert state["pushes"][0]["job"]["device"] == "alice-phone"


async def test_faults_belong_to_a_call_that_exists() -> None:
    with pytest.raises(ValueError, match="tea"):
        FakeSippo().fault(GARBAGE, "tea")


async def test_it_stops_at_once_whatever_hangs() -> None:
    async with (
        FakeSippo(password=sippo.PASSWORD) as fake_sippo,
        aiohttp.ClientSession(fake_sippo.address) as http,
    ):
        fake_sippo.fault(HANG)
        async with aiohttp.ClientSession() as other:
            with pytest.raises(TimeoutError):
                await other.get(f"{fake_sippo.address}/sapi/groups/x", timeout=aiohttp.ClientTimeout(0.05))
        assert http is not None
    with pytest.raises(RuntimeError, match="not been started"):
        _ = fake_sippo.address


def _start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "workers.lab.fake_sippo", *arguments],
        cwd=_HOME,
        env={**os.environ, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def test_it_runs_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "directory.json"
    file.write_text(
        json.dumps({"users": {"eve": [{"id": "eve-phone", "platform": "android"}]}, "numbers": ["112"]}),
        "utf-8",
    )
    with _start("--port", "0", "--directory", str(file), "--password", sippo.PASSWORD) as process:
        assert process.stdout is not None
        wac = json.loads(process.stdout.readline())
        try:
            async with SippoServer(sippo.wac_of(**wac)) as client:
                devices = await client.push_devices("eve")
                assert [device.platform for device in devices or ()] == ["android"]
                number = await client.reachability("112")
                assert number is not None
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_directory_that_is_none_and_a_port_in_use_are_said(tmp_path: Path) -> None:
    file = tmp_path / "directory.json"
    file.write_text('{"users": 3}', "utf-8")
    with _start("--directory", str(file)) as process:
        _, said = process.communicate(timeout=20)
        assert process.returncode == 2
        assert "Expected `object`, got `int`" in said
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with _start("--port", port) as process:
            _, said = process.communicate(timeout=20)
            assert process.returncode == 1
            assert f"port {port} cannot be used: Address already in use" in said
