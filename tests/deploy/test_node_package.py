"""The package of deploy/node: what it contains, its types, its README; and AsyncAPI's own parser."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import zlib
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from invites.events.protocol import decode_event
from invites.events.routing import routing_key
from invites.schema.examples import EVENTS
from tests.deploy import installations, programs
from tests.support.waiting import wait_until
from workers.lab.worker_process import start_worker

README = (programs.CLIENT / "README.md").read_text("utf-8")
_INFORMATION = 2  # as that there is a later version of AsyncAPI
EXAMPLES = re.findall(r"```js\n(.+?)```", README, re.DOTALL)


def test_only_what_runs_is_packed(project: Path) -> None:
    package = project / "node_modules" / "@invites" / "client"
    assert {path.name for path in package.iterdir()} == {"dist", "README.md", "package.json"}
    names = {path.name for path in (package / "dist").iterdir()}
    assert {"index.js", "index.d.ts"} <= names
    assert {re.sub(r"\.(d\.ts|js)$", "", name) for name in names} == {
        path.stem for path in (programs.CLIENT / "src").iterdir()
    }


def test_the_types_hold_for_an_application(project: Path) -> None:
    """The README's examples are right, and each of these lines is wrong."""
    wrong = [
        'await publisher.publish("invitte", { roomId: "r" });',
        'await publisher.publish("roomClosed", { room: "r" });',
        'await publisher.ask("invite", { peer: { id: "p", user: "u" }, to: "b", inviteId: "i", room: "r" });',
        'for await (const one of notifications) if (one.type === "roomCleaned") one.payload.inviteId;',
    ]
    names = []
    for number, example in enumerate(EXAMPLES):
        names.append(f"example{number}.ts")
        (project / names[-1]).write_text(example)
    head = EXAMPLES[0].partition("const phone")[0]
    names.append("wrong.ts")
    (project / names[-1]).write_text(head + "".join(f"// @ts-expect-error\n{line}\n" for line in wrong))
    compiler = programs.CLIENT / "node_modules" / ".bin" / "tsc"
    options = ("--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--types", "node")
    done = subprocess.run(
        [compiler, *options, *names], cwd=project, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_events_go_to_the_shards_of_the_workers(project: Path) -> None:
    peer = {"id": "p", "user": "älice@ёж.example"}
    answer = {"peer": peer, "from": "alice", "inviteId": "i1"}
    events: list[tuple[str, Any]] = [
        *EVENTS.items(),
        *(
            (kind, {**answer, "to": to})
            for kind in ("ringing", "accept", "decline")
            for to in (None, "💶", "bob")
        ),
        ("invite", {**EVENTS["invite"], "to": "bob", "returnOf": "alice|i1|+49300"}),
        ("invite", {**EVENTS["invite"], "to": "bob", "returnOf": None}),
        ("getInvitations", {"peer": peer}),
    ]
    cases = [(kind, payload, shards) for kind, payload in events for shards in (1, 2, 7, 1030)]
    expected = [
        zlib.crc32(routing_key(decode_event(kind, json.dumps(payload).encode())).encode()) % shards
        for kind, payload, shards in cases
    ]
    assert programs.run(project, "routing.mjs", json.dumps(cases)) == expected


def test_asyncapi_accepts_the_document(project: Path) -> None:
    text = (installations.DEPLOY / "schema" / "asyncapi.json").read_text("utf-8")
    broken = json.loads(text)
    del broken["info"]["title"]
    found, about_broken = programs.run(project, "asyncapi.mjs", json.dumps([text, json.dumps(broken)]))
    assert [one for one in found if one["severity"] < _INFORMATION] == []
    assert [one["severity"] for one in about_broken if "title" in one["message"]] == [0]


async def test_the_examples_of_the_readme_call_each_other(
    project: Path, client: Redis, valkey_url: str
) -> None:
    assert len(EXAMPLES) == 2
    for name, example in zip(("callee.mjs", "caller.mjs"), EXAMPLES, strict=True):
        (project / name).write_text(example)
    environment = {**os.environ, "REDIS_URL": valkey_url}
    started = []
    try:
        with start_worker(valkey_url, {}):
            callee = await _start(project, "callee.mjs", environment)
            started.append(callee)
            await wait_until(lambda: _is_registered(client), "bob's phone is registered")
            caller = await _start(project, "caller.mjs", environment)
            started.append(caller)
            said, _ = await asyncio.wait_for(caller.communicate(), 20)
            assert (caller.returncode, said) == (0, b"bob: 200\n")
            assert callee.stdout is not None
            heard = [await asyncio.wait_for(callee.stdout.readline(), 20) for _ in range(2)]
            assert heard == [b"alice calls bob\n", b"accepted: 200\n"]
            callee.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(callee.wait(), 20) == 0
            assert await client.xinfo_groups("invites:{0}:notifications") == []
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def _start(project: Path, name: str, environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        "node", name, cwd=project, env=environment, stdout=asyncio.subprocess.PIPE
    )


async def _is_registered(client: Redis) -> bool:
    return bool(await client.exists("invites:{0}:registry:bob"))
