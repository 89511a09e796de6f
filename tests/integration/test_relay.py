"""Pages of group calls: settled from the relay stream by workers that may die, each page once."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from invites.keys import RELAY_GROUP
from invites.queries.dead_letters import DeadLetters
from tests.support import events as e
from tests.support.looked_up import another_worker, call_group
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Streams, is_settled, worker

MEMBERS = [f"m{number}" for number in range(70)]  # three pages behind the first


async def rung(streams: Streams) -> Counter[str]:
    """How often each device has been rung."""
    found: Counter[str] = Counter()
    for _, fields in await streams.client.xrange(KEYS.notifications):
        if fields[b"type"] == b"invitation":
            found.update(json.loads(fields[b"peers"]))
    return found


async def all_ring(streams: Streams, members: list[str]) -> None:
    """Wait until the devices of all members ring, each told once."""

    async def ring() -> bool:
        return len(await rung(streams)) >= len(members) and await settled(streams)

    await wait_until(ring, f"the devices of {len(members)} members ring")
    assert await rung(streams) == Counter(f"{member}-0" for member in members)


async def settled(streams: Streams) -> bool:
    """Whether the workers have settled all of the relay stream."""
    return await is_settled(streams.client, KEYS.relay)


async def strand(streams: Streams, consumer: str = "gone") -> str:
    """Let a consumer read the next entry of the relay stream and then die."""
    reply = await streams.client.xreadgroup(RELAY_GROUP, consumer, {KEYS.relay: ">"}, count=1)
    entry: bytes = reply[0][1][0][0]
    return entry.decode()


async def test_all_pages_of_a_group_call_ring_and_stop(streams: Streams, valkey_url: str) -> None:
    await call_group(await another_worker(streams.client), MEMBERS)
    async with worker(valkey_url) as service:
        await all_ring(streams, MEMBERS)
        progress = await streams.payloads("inviteProgress")
        assert progress[-1]["candidates"] == 70
        await streams.publish(*e.accept("m5-0", "m5", to="m5"))
        await streams.heard("invitationCancel", 69)
        await streams.heard("inviteAccepted")
        await streams.heard("INVITE_COMPLETED")
        await wait_until(lambda: settled(streams), "all pages are settled")
        await service.drain()
    told = Counter(kind for _, kind, _ in await streams.notifications())
    assert (told["invitation"], told["invitationCancel"], told["INVITE_COMPLETED"]) == (70, 69, 1)
    assert service.metrics.registry.get_sample_value("invites_relayed_total", {"outcome": "done"}) == 6


async def test_what_a_dead_worker_left_is_claimed(streams: Streams, valkey_url: str) -> None:
    await call_group(await another_worker(streams.client), MEMBERS)
    await strand(streams)
    async with worker(valkey_url), worker(valkey_url):
        await all_ring(streams, MEMBERS)


async def test_own_pending_entries_are_read_at_the_start(streams: Streams, valkey_url: str) -> None:
    await call_group(await another_worker(streams.client), MEMBERS)
    await strand(streams, "itself")
    async with worker(valkey_url, consumer="itself", claim_after=600_000):
        await all_ring(streams, MEMBERS)


async def test_a_page_whose_reply_is_lost_on_its_way_is_settled_once(streams: Streams, proxy: Proxy) -> None:
    await call_group(await another_worker(streams.client), MEMBERS)
    proxy.lose_reply(b"XREADGROUP", containing=b"legs_start")
    async with worker(proxy.url, claim_after=600_000):
        await proxy.lost.wait()
        await all_ring(streams, MEMBERS)


async def test_a_commit_whose_reply_is_lost_has_its_effects_once(streams: Streams, proxy: Proxy) -> None:
    await call_group(await another_worker(streams.client), MEMBERS)
    proxy.lose_reply(b"$1\r\n6\r\n$5\r\nrelay\r\n")
    async with worker(proxy.url):
        await proxy.lost.wait()
        await all_ring(streams, MEMBERS)


async def test_the_group_is_made_again(streams: Streams, valkey_url: str) -> None:
    shard = await another_worker(streams.client)
    async with worker(valkey_url) as service:
        await wait_until(lambda: service.readiness.state()[0], "the worker is ready")
        await streams.client.xgroup_destroy(KEYS.relay, RELAY_GROUP)
        await streams.client.xadd(KEYS.relay, _page("legs_start", "nobody|1|sales"))
        await wait_until(lambda: settled(streams), "the group is there again and the entry is settled")
        assert service.metrics.registry.get_sample_value(
            "invites_groups_recreated_total", {"group": RELAY_GROUP}
        )
    assert await shard.dead() == []


async def strand_again(streams: Streams) -> None:
    """Give the entry to a consumer that is gone, and let it be claimed."""
    await wait_until(lambda: _is_pending(streams), "a worker has it")
    [(entry, _)] = await streams.client.xrange(KEYS.relay)
    await streams.client.xclaim(KEYS.relay, RELAY_GROUP, "gone", 0, [entry], idle=600_000, justid=True)


async def _is_pending(streams: Streams) -> bool:
    return bool((await streams.client.xpending(KEYS.relay, RELAY_GROUP))["pending"])


async def test_a_message_of_another_release_waits_for_a_worker_that_knows_it(
    streams: Streams, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = await another_worker(streams.client)

    async def taken_over() -> bool:
        pending = await streams.client.xpending_range(KEYS.relay, RELAY_GROUP, "-", "+", 1)
        return any((one["consumer"], one["times_delivered"]) == (b"other-release", 0) for one in pending)

    with monkeypatch.context() as patch:
        patch.setattr("invites.store.scripts.messages", lambda _: frozenset[str]())
        async with worker(valkey_url, consumer="other-release", max_deliveries=1):
            await streams.client.xadd(KEYS.relay, _page("legs_start", "nobody|1|sales"))
            for _ in range(3):
                await strand_again(streams)
                await wait_until(taken_over, "the worker has claimed it, without counting a try")
    async with worker(valkey_url, max_deliveries=1):
        await wait_until(lambda: settled(streams), "a worker that knows it has settled it")
    assert await shard.dead() == []


def _page(kind: str, *arguments: str) -> dict[str, str]:
    return {"kind": kind, "name": "sales", "entry": "1-0", "arguments": json.dumps(arguments)}


async def test_a_worker_that_stops_leaves_nothing_of_its_own(streams: Streams, valkey_url: str) -> None:
    await call_group(await another_worker(streams.client), MEMBERS)
    async with worker(valkey_url, consumer="itself", claim_after=600_000) as service:
        await streams.heard("invitation", 30)
        await service.drain()
    (group,) = await streams.client.xinfo_groups(KEYS.relay)
    assert (group["pending"], group["consumers"]) == (0, 0)
    async with worker(valkey_url, claim_after=600_000):
        await all_ring(streams, MEMBERS)


async def test_settled_entries_are_trimmed(streams: Streams, valkey_url: str) -> None:
    await call_group(await another_worker(streams.client), MEMBERS)
    async with worker(valkey_url):
        await all_ring(streams, MEMBERS)

        async def trimmed() -> bool:
            return bool(await streams.client.xlen(KEYS.relay) == 0)

        await wait_until(trimmed, "the relay stream is empty")


# --- what cannot be settled


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"kind": "legs_start", "name": "sales", "entry": "1-0"}, "field arguments is missing"),
        ({"type": "invite", "payload": "{}"}, "field kind is missing"),
        ({**_page("legs_start"), "arguments": "{}"}, "field arguments is no list of texts in JSON"),
        ({**_page("legs_start"), "shard": "1"}, "field shard is 1, but there are only the shards 0 to 0"),
        ({**_page("legs_start"), "shard": "-1"}, "field shard is -1, but there are only the shards 0 to 0"),
        ({**_page("legs_start"), "arguments": b"\xff"}, "field arguments is not UTF-8: byte 0 is 0xff"),
    ],
)
async def test_an_entry_that_cannot_be_read_becomes_a_dead_letter(
    streams: Streams, valkey_url: str, entry: Any, sentence: str
) -> None:
    await another_worker(streams.client)
    await streams.client.xadd(KEYS.relay, entry)
    async with worker(valkey_url):
        await wait_until(streams.has_dead_letter, "the entry is a dead letter")
    (letter,) = await streams.dead()
    assert (letter["type"], letter["stream"], letter["error"]) == ("relay", "relay", sentence)
    assert await settled(streams)


async def test_an_entry_that_keeps_failing_becomes_a_dead_letter_and_can_be_retried(
    streams: Streams, valkey_url: str
) -> None:
    await another_worker(streams.client)
    page = _page("page", "no_index", "lost", "1-0")
    await streams.client.xadd(KEYS.relay, page)
    letters = DeadLetters(streams.client, KEYS)
    async with worker(valkey_url, max_deliveries=2, claim_after=200) as service:
        await wait_until(streams.has_dead_letter, "the entry is a dead letter")
        (letter,) = [letter async for letter in letters.all()]
        assert (letter.type, letter.deliveries, json.loads(letter.payload)) == ("relay", 3, page)
        await service.drain()
    entry = await letters.retry(letter.id)
    assert [found for found, _ in await streams.client.xrange(KEYS.relay, entry)] == [(entry or "").encode()]
    assert await streams.dead() == []
