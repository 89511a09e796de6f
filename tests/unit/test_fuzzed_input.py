"""Whatever is published: decoding never raises, no rule fails, and notifications stay JSON."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from invites.events.dead_letter import dead_event
from invites.events.decoding import decode_event_entry
from invites.events.entry import Entry
from invites.events.fields import BadEvent
from invites.events.protocol import decode_event
from invites.store.answers import Status
from invites.store.settings import Settings
from tests.support.generated import published
from tests.support.leaks import assert_nothing_leaks
from tests.support.shard import Shard

QUICK: Final = settings(deadline=None, database=None, derandomize=True, max_examples=300)
SLOW: Final = settings(QUICK, max_examples=40)


@QUICK
@given(published, st.integers(0, 9))
def test_decoding_never_raises(event: tuple[bytes, bytes], deliveries: int) -> None:
    kind, payload = event
    operation = decode_event_entry(
        Entry("1-1", {b"type": kind, b"payload": payload}, deliveries), max_deliveries=5
    )
    assert operation.entry == "1-1"
    if operation.rule == "dead":
        assert payload in operation.arguments.flat()
        assert str(operation.arguments.flat()[1]).isprintable()
    dead_event(Entry("1-1", {b"type": kind, b"payload": payload}), "it failed")


@QUICK
@given(
    st.dictionaries(st.binary(max_size=8) | st.sampled_from([b"type", b"payload"]), st.binary(max_size=30))
)
def test_decoding_never_raises_whatever_the_fields_are(fields: dict[bytes, bytes]) -> None:
    assert decode_event_entry(Entry("1-1", fields), max_deliveries=5).rule == "dead"


@QUICK
@given(published)
def test_what_is_refused_is_refused_with_a_sentence(event: tuple[bytes, bytes]) -> None:
    kind, payload = event
    problem = ""
    try:
        decode_event(kind.decode(errors="replace"), payload)
    except BadEvent as error:
        problem = str(error)
    assert problem[:6] in {"", "field "}


@SLOW
@given(st.lists(published, min_size=20, max_size=40))
def test_nothing_that_is_published_fails_in_the_script(
    valkey_server: str, events: list[tuple[bytes, bytes]]
) -> None:
    asyncio.run(_settle_all(valkey_server, events))


async def _settle_all(url: str, events: Sequence[tuple[bytes, bytes]]) -> None:
    async with Redis.from_url(url) as client:
        await client.flushall()
        shard = await Shard.make(client)
        operations = []
        for kind, payload in events:
            found = shard.entry_id()
            await client.xadd(shard.keys.events, {"type": kind, "payload": payload}, id=found)
            fields = {b"type": kind, b"payload": payload}
            operations.append(decode_event_entry(Entry(found, fields), max_deliveries=5))
        await client.xreadgroup("workers", "test", {shard.keys.events: ">"})
        assert {outcome.status for outcome in await shard.settle(*operations)} <= {Status.DONE}
        assert len(await shard.dead()) == sum(operation.rule == "dead" for operation in operations)
        await shard.told()
        await assert_nothing_leaks(client, shard.keys)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
contexts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
ids = st.text(
    st.characters(exclude_characters="{}|", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]),
    min_size=1,
    max_size=8,
)


@SLOW
@given(user=ids, device=ids, invite_id=ids, room=ids, context=contexts, transaction=ids | st.integers(-9, 9))
def test_ids_and_contexts_of_any_kind_come_through_unchanged(
    valkey_server: str, user: str, device: str, invite_id: str, room: str, context: Any, transaction: Any
) -> None:
    async def play() -> None:
        async with Redis.from_url(valkey_server) as client:
            await client.flushall()
            shard = await Shard.make(client, Settings(remove_after=5_000))
            caller, callee = {"id": f"{device}0", "user": f"{user}0"}, {"id": device, "user": user}
            await shard.event("registered", {"registry": callee | {"device": device, "session": room}})
            await shard.event("joined", {"userId": user, "roomId": room})
            invitation, progress = await shard.event(
                "invite",
                {"peer": caller, "to": user, "inviteId": invite_id, "room": room, "context": context,
                 "transaction": transaction},
            )  # fmt: skip
            assert (invitation.peers, invitation.users) == ([device], [user])
            assert invitation.payload["room"] == room
            assert invitation.payload["context"] == context
            assert progress.payload["transaction"] == transaction
            told = await shard.event("accept", {"peer": callee, "from": f"{user}0", "inviteId": invite_id})
            assert [one.type for one in told] == ["inviteAccepted", "INVITE_COMPLETED", "answer"]
            assert told[0].payload["peer"] == device
            await shard.event("roomClosed", {"roomId": room})
            assert await shard.dead() == []
            await assert_nothing_leaks(client, shard.keys)

    asyncio.run(play())
