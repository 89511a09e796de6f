"""The code that contract/gateways.md shows, run exactly as printed."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from invites.client import Invite, Peer, Publisher, Registered, Registry
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, worker

_PAGE = Path(__file__).resolve().parents[2] / "invites" / "contract" / "gateways.md"


async def test_the_gateway_of_the_page_delivers_a_call(valkey_url: str, client: Any) -> None:
    (code,) = re.findall(r"```python\n(.+?)```", _PAGE.read_text("utf-8"), re.DOTALL)
    shown: dict[str, Any] = {}
    exec(compile(code, str(_PAGE), "exec"), shown)  # noqa: S102 - our own page
    shown["URL"] = valkey_url
    delivered: list[tuple[str, str]] = []

    async def deliver(peer: str, kind: str, payload: bytes) -> None:
        assert b'"inviteId":"i1"' in payload
        delivered.append((peer, kind))

    async with worker(valkey_url), Publisher(valkey_url) as publisher:
        delivering = asyncio.create_task(shown["deliver_all"](deliver))

        async def listens() -> bool:
            found = (
                await client.xinfo_groups(KEYS.notifications)
                if await client.exists(KEYS.notifications)
                else ()
            )
            return any(one["consumers"] for one in found)

        await wait_until(listens, "the gateway listens")
        await publisher.publish(Registered(registry=Registry(id="p-phone", user="bob")))
        await publisher.publish(
            Invite(peer=Peer("p-alice", "alice"), to="bob", invite_id="i1", room="room-7")
        )
        answer = await shown["take_call"]()
        assert (answer.code, answer.reason) == (200, "accepted")
        await wait_until(lambda: ("p-phone", "answer") in delivered, "the answer is delivered")
        assert ("p-phone", "invitation") in delivered
        assert ("p-alice", "inviteAccepted") in delivered
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
