"""`invites list`, `--watch`, and the story that `invites show` prints, on what the rules have written."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from tests.support import events as e
from tests.support.shard import Shard
from tests.support.waiting import wait_until_sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from tests.support.commands import Commands


async def _play(url: str) -> None:
    """Bob's second phone has rung when the first one accepts; Carol rings; one gateway has not acknowledged all."""
    async with Redis.from_url(url) as client:
        shard = await Shard.make(client)
        keys = shard.keys.notifications
        for group in ("gateway-1", "gateway-2", "gateway-3"):
            await client.xgroup_create(keys, group, "0", mkstream=True)
        await e.bob_rings(shard, "b1", "b2")
        for group in ("gateway-1", "gateway-2"):
            await _read(client, keys, group)
        shard.now += 300
        await shard.event(*e.ringing("b2"))
        await _read(client, keys, "gateway-1")
        shard.now += 3_900
        await shard.event(*e.accept("b1"))
        await _read(client, keys, "gateway-1")
        await client.xreadgroup("gateway-2", "reader", {keys: ">"})
        await shard.event(*e.registered("c1", "carol"))
        await shard.event(*e.invite(to="carol", invite_id="2", room="s"))
        await client.xtrim(keys, maxlen=0)


async def _read(client: Redis, stream: str, group: str) -> None:
    reply: Any = await client.xreadgroup(group, "reader", {stream: ">"})
    entries = [entry for _, found in (reply or {}) for entry, _ in found]
    await client.xack(stream, group, *entries)


@pytest.fixture
def played(database: redis.Redis, valkey_server: str) -> None:
    database.ping()
    asyncio.run(_play(valkey_server))


@pytest.mark.usefixtures("played")
def test_show_tells_the_story_although_the_notifications_are_gone(commands: Commands) -> None:
    found = commands.on_server("show", e.REF)
    assert (found.status, found.err) == (0, "")
    story = found.out.partition("story:\n")[2].partition("gateways:\n")[0]
    heads = [re.sub(r"^\S+ *", "", line[2:]) for line in story.splitlines() if line[2] != " "]
    assert heads == ["invite by a", "+300 ms  ringing by b2", "+3.9 s  accept by b1"]
    assert "invitationCancel 200 to b2\n" in story
    accepted, cancelled = re.findall(r"^  (b\d  PEER.*)$", found.out, re.MULTILINE)
    assert re.fullmatch(r"b1  PEER of bob  ACCEPTED 200  rung \S+, accepted \S+", accepted)
    assert re.fullmatch(
        r"b2  PEER of bob  CANCELLED 487  rung \S+, ringing \S+, cancelled \(200\) \S+", cancelled
    )
    gateways = found.out.partition("gateways:\n")[2].partition("events:\n")[0]
    assert re.fullmatch(
        r"  gateway-1  has acknowledged all notifications of these steps\n"
        r"  gateway-2  has not acknowledged those of ringing \(\S+\), accept \(\S+\)\n"
        r"  gateway-3  has not read those of invite \(\S+\), ringing \(\S+\), accept \(\S+\)\n",
        gateways,
    )
    shown = json.loads(commands.on_server("show", e.REF, "--json").out)
    assert [step["what"] for step in shown["story"]["steps"]] == ["invite", "ringing", "accept"]
    assert shown["notifications"] == []


@pytest.mark.usefixtures("played")
def test_list(commands: Commands) -> None:
    ringing = commands.on_server("list")
    assert re.fullmatch(r"\S+  PENDING  +for \S+ \w+  'alice\|2\|carol'  room s\n", ringing.out)
    ended = commands.on_server("list", "--state", "ended", "--user", "bob", "--since", "1h")
    assert re.fullmatch(r"\S+  ACCEPTED  +200 accepted after 4.2 s  'alice\|1\|bob'  room r\n", ended.out)
    assert commands.on_server("list", "--user", "bob").out == "nothing rings\n"
    assert commands.on_server("list", "--state", "declined").out == "no such invite is readable\n"
    both = commands.on_server("list", "--state", "ALL", "--limit", "1")
    assert both.out.endswith("There are more: --limit 2 lists more of them.\n")
    assert "alice|2|carol" in both.out, "the newest one"
    found = json.loads(commands.on_server("list", "--state", "ALL", "--json").out)
    assert ([row["ref"] for row in found["invites"]], found["more"]) == (
        ["alice|2|carol", "alice|1|bob"],
        False,
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(("--state", "busy"), "--state must be one of"), (("--since", "soon"), "--since must be a time")],
)
def test_list_refuses_what_it_cannot_read(commands: Commands, words: tuple[str, ...], sentence: str) -> None:
    ended = commands.on_server("list", *words)
    assert (ended.status, ended.out) == (2, "")
    assert sentence in ended.err


@pytest.fixture
def watching(valkey_server: str, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    file = tmp_path / "out"
    words = ["list", "--watch", "0.1", "--json", "--redis-url", valkey_server]
    with file.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "workers", *words], stdout=out)
    yield process, file
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.usefixtures("played")
def test_watch_follows_until_it_is_stopped(
    watching: tuple[subprocess.Popen[bytes], Path], database: redis.Redis
) -> None:
    process, file = watching

    def last() -> list[str]:
        lines = file.read_text("utf-8").splitlines()
        return [row["ref"] for row in json.loads(lines[-1])["invites"]] if lines else ["nothing yet"]

    wait_until_sync(lambda: last() == ["alice|2|carol"], "it lists what rings")
    database.zrem("invites:{0}:timers", "ring|alice|2|carol")
    wait_until_sync(lambda: last() == [], "it lists that nothing rings any more")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 0
