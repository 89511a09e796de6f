"""The commit: each entry has its effects once or, when it cannot have them, not at all."""

from typing import Any

import pytest

from invites.events.arguments import Arguments
from invites.events.operation import Operation
from invites.keys import WORKERS_GROUP
from invites.store.answers import Status
from invites.store.settings import Settings
from tests.support import events as e
from tests.support.forgetting import forget_functions
from tests.support.shard import MakeShard, Shard, of_type

pytestmark = pytest.mark.one_shard

STREAMS = ("events", "notifications", "push", "relay", "dead")


async def _everything(shard: Shard) -> dict[bytes, tuple[bytes, int]]:
    """The content of every key, and when it expires."""
    return {
        key: (await shard.client.dump(key), await shard.client.pexpiretime(key))
        async for key in shard.client.scan_iter()
        if not key.endswith(b":events")  # has the pending entries, which deliveries change
    }


async def _pending(shard: Shard) -> int:
    return int((await shard.client.xpending(shard.keys.events, WORKERS_GROUP))["pending"])


async def test_an_entry_that_is_settled_is_acknowledged(shard: Shard) -> None:
    operation = await shard.publish(*e.registered("phone"))
    assert await _pending(shard) == 1
    [found] = await shard.settle(operation)
    assert found.status is Status.DONE
    assert await _pending(shard) == 0


async def test_an_entry_that_is_settled_again_is_stale_and_has_no_effect(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    operation = await shard.publish(*e.accept("phone"))
    await shard.settle(operation)
    await shard.told()
    before = await _everything(shard)

    [found] = await shard.settle(operation)
    assert found.status is Status.STALE
    assert found.facts == []
    assert await shard.told() == []
    assert await _everything(shard) == before


async def test_an_entry_that_stands_twice_in_a_batch_counts_once(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    operation = await shard.publish(*e.invite())
    found = await shard.settle(operation, operation)
    assert [each.status for each in found] == [Status.DONE, Status.STALE]
    assert e.types(await shard.told()) == ["invitation", "inviteProgress"]


async def test_an_entry_that_another_worker_claimed_is_settled_by_whoever_comes_first(shard: Shard) -> None:
    operation = await shard.publish(*e.registered("phone"))
    await shard.client.xclaim(shard.keys.events, WORKERS_GROUP, "other", 0, [operation.entry])
    [first] = await shard.settle(operation)
    [second] = await shard.settle(operation)
    assert (first.status, second.status) == (Status.DONE, Status.STALE)


async def test_a_batch_is_settled_in_its_order_and_each_sees_what_the_one_before_did(shard: Shard) -> None:
    operations = [
        await shard.publish(*event) for event in (e.registered("phone"), e.invite(), e.accept("phone"))
    ]
    found = await shard.settle(*operations)
    assert [each.status for each in found] == [Status.DONE] * 3
    told = await shard.told()
    assert [each.type for each in told] == [
        "invitation", "inviteProgress", "inviteAccepted", "INVITE_COMPLETED", "answer",
    ]  # fmt: skip


async def test_an_empty_batch_is_settled(shard: Shard) -> None:
    settled = await shard.committer.commit([])
    assert (settled.outcomes, settled.next_due, settled.now) == ([], None, shard.now)


async def test_a_batch_of_many_is_settled_in_one_call(shard: Shard) -> None:
    """More arguments than a Lua function may be given (LUAI_MAXCSTACK is 8,000)."""
    operations = [await shard.publish(*e.registered(f"p{number}", f"user{number}")) for number in range(600)]
    found = await shard.settle(*operations)
    assert {each.status for each in found} == {Status.DONE}
    assert len(operations) * 10 > 5_000


async def test_a_commit_tells_how_long_the_server_has_worked(
    shard: Shard, request: pytest.FixtureRequest
) -> None:
    if "fakeredis" in request.node.name:
        pytest.skip("fakeredis has no INFO")
    about = await shard.client.info("server")
    cannot = str(about.get("valkey_version", about["redis_version"])).startswith("7.2.")
    registered = [await shard.publish(*e.registered(f"phone-{number}")) for number in range(20)]
    failing = Operation("nothing", registered[0].entry, Arguments())
    for batch in (registered, [*registered, failing]):  # one reply is a text, the other one a list
        assert ((await shard.committer.commit(batch)).server_s > 0) is not cannot


@pytest.mark.parametrize(
    ("wrong", "event"),
    [
        ("pending:bob", e.invite()),
        ("room-invites:r", e.invite()),
        ("calls:alice", e.invite()),
        ("invite:alice|1|bob", e.invite()),
        ("registry:bob", e.invite()),
        ("notifications", e.invite()),
        ("registry:bob", e.registered("phone")),
        ("gone:bob|phone", e.registered("phone")),
        ("trunks", e.trunk("t")),
        ("pending:bob", e.disconnected("phone")),
        ("calls:bob", e.disconnected("phone")),
        ("room-members:r", e.joined("bob")),
        ("room-invites:r", e.room_closed()),
        ("dead", ("nonsense", {"peer": e.ALICE})),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value[0]),
)
async def test_a_key_of_the_wrong_type_fails_the_entry_which_touches_nothing_until_it_is_repaired(
    shard: Shard, wrong: str, event: Any
) -> None:
    if wrong != "registry:bob":
        await shard.event(*e.registered("desk"))
    key = shard.keys.base + wrong
    kind = await shard.client.type(key)
    aside = await shard.client.dump(key) if kind != b"none" else None
    await shard.client.delete(key)
    await shard.client.rpush(key, "what does not belong here")
    operation = await shard.publish(*event)
    before = await _everything(shard)

    for _ in range(2):
        [found] = await shard.settle(operation)
        assert found.status is Status.FAILED
        assert found.detail
        assert await _everything(shard) == before
    assert await _pending(shard) == 1

    await shard.client.delete(key)
    if aside:
        await shard.client.restore(key, 0, aside)
    [found] = await shard.settle(operation)
    assert found.status is Status.DONE
    assert await shard.told() or event[0] in {"registered", "disconnected", "joined"}


async def test_a_failure_names_the_key_and_what_to_do(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    await shard.client.set(shard.keys.room_invites("r"), "x")
    operation = await shard.publish(*e.invite())
    [found] = await shard.settle(operation)
    assert found.detail == (
        "key invites:{0}:room-invites:r holds a string and must hold a zset: delete or rename it"
    )
    await shard.client.delete(shard.keys.room_invites("r"))
    await shard.settle(operation)


async def test_other_entries_of_the_batch_are_not_affected_by_one_that_fails(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.registered("d", "dave"))
    await shard.client.set(shard.keys.room_invites("broken"), "x")
    events = [e.invite(), e.invite(to="dave", room="broken"), e.ringing("phone")]
    operations = [await shard.publish(*event) for event in events]
    found = await shard.settle(*operations)

    assert [each.status for each in found] == [Status.DONE, Status.FAILED, Status.DONE]
    told = await shard.told()
    assert e.types(told) == ["invitation", "inviteProgress", "inviteProgress"]
    assert {each.payload["to"] for each in told} == {"bob"}
    assert await shard.invite("alice|1|dave") == {}

    await shard.client.delete(shard.keys.room_invites("broken"))
    await shard.settle(operations[1])
    assert e.recipients(await shard.told(), "invitation") == {"d"}


async def test_timers_of_the_wrong_type_fail_only_what_needs_them(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    await shard.client.set(shard.keys.timers, "x")
    operations = [await shard.publish(*event) for event in (e.joined("bob"), e.invite())]
    found = await shard.settle(*operations)
    assert [each.status for each in found] == [Status.DONE, Status.FAILED]
    assert found[1].detail.startswith("key invites:{0}:timers holds a string and must hold a zset")

    await shard.client.delete(shard.keys.timers)
    assert [each.status for each in await shard.settle(operations[1])] == [Status.DONE]


async def test_an_operation_that_no_rule_knows_fails(shard: Shard) -> None:
    operation = await shard.publish(*e.registered("phone"))
    [found] = await shard.settle(Operation("dance", operation.entry, Arguments()))
    assert (found.status, found.detail) == (Status.FAILED, "unknown rule dance")
    await shard.settle(operation)


async def test_without_its_group_nothing_is_touched(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    operation = await shard.publish(*e.invite())
    await shard.client.xgroup_destroy(shard.keys.events, WORKERS_GROUP)
    before = await _everything(shard)
    [found] = await shard.settle(operation)
    assert found.status is Status.NO_GROUP
    assert await _everything(shard) == before

    await shard.client.xgroup_create(shard.keys.events, WORKERS_GROUP, "0")
    await shard.client.xreadgroup(WORKERS_GROUP, "test", {shard.keys.events: ">"})
    [found] = await shard.settle(operation)
    assert found.status is Status.DONE
    for entry, *_ in await shard.client.xrange(shard.keys.events):
        await shard.client.xack(shard.keys.events, WORKERS_GROUP, entry)


async def test_without_its_stream_nothing_is_touched(shard: Shard) -> None:
    operation = await shard.publish(*e.registered("phone"))
    await shard.client.delete(shard.keys.events)
    before = await _everything(shard)
    [found] = await shard.settle(operation)
    assert found.status is Status.NO_GROUP
    assert await _everything(shard) == before


async def test_an_entry_of_a_stream_that_was_made_anew_is_stale(shard: Shard) -> None:
    operation = await shard.publish(*e.registered("phone"))
    await shard.client.flushall()
    await shard.client.xgroup_create(shard.keys.events, WORKERS_GROUP, "0", mkstream=True)
    [found] = await shard.settle(operation)
    assert found.status is Status.STALE


async def test_a_server_that_forgot_the_functions_is_given_them_again(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await forget_functions(shard.client)
    assert e.outcome(await shard.event(*e.accept("phone")), "answer") == (200, "accepted")
    await forget_functions(shard.client)
    assert (await shard.committer.fire()).count == 0
    await forget_functions(shard.client)
    assert await shard.committer.trim(shard.keys.events) == 3


async def test_a_retired_consumer_owes_nothing_and_was_idle(shard: Shard) -> None:
    operation = await shard.publish(*e.registered("phone"))
    assert not await shard.committer.retire_consumer("test", 0)
    await shard.settle(operation)
    assert not await shard.committer.retire_consumer("test", 3_600_000)
    assert not await shard.committer.retire_consumer("nobody", 0)
    assert await shard.committer.retire_consumer("test", 0)
    assert await shard.client.xinfo_consumers(shard.keys.events, WORKERS_GROUP) == []


async def test_trimming_keeps_what_a_group_still_needs(shard: Shard) -> None:
    operations = [await shard.publish(*e.joined(f"u{number}", f"r{number}")) for number in range(5)]
    await shard.settle(*operations[:2], operations[4])
    await shard.client.xgroup_create(shard.keys.notifications, "gateways", "0", mkstream=True)
    assert await shard.committer.trim(shard.keys.events) == 2
    left = [entry.decode() for entry, _ in await shard.client.xrange(shard.keys.events)]
    assert left == [operation.entry for operation in operations[2:]]
    await shard.settle(*operations[2:4])
    assert await shard.committer.trim(shard.keys.events) == 3


async def test_trimming_keeps_what_may_come_again(shard: Shard) -> None:
    operations = [await shard.publish(*e.joined(f"u{number}", f"r{number}")) for number in range(5)]
    await shard.settle(*operations)
    assert await shard.committer.trim(shard.keys.events, operations[3].entry) == 3
    assert await shard.committer.trim(shard.keys.events, operations[3].entry) == 0
    assert await shard.committer.trim(shard.keys.events) == 2


async def test_trimming_touches_no_notification_that_a_group_has_not_read(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    assert await shard.committer.trim(shard.keys.notifications) == 0
    await shard.client.xgroup_create(shard.keys.notifications, "gateways", "0")
    assert await shard.committer.trim(shard.keys.notifications) == 0
    read = await shard.client.xreadgroup("gateways", "g", {shard.keys.notifications: ">"}, count=1)
    [entries] = read.values() if isinstance(read, dict) else [read[0][1]]
    while isinstance(entries[0], list):
        entries = entries[0]
    assert await shard.committer.trim(shard.keys.notifications) == 0
    await shard.client.xack(shard.keys.notifications, "gateways", entries[0][0])
    assert await shard.committer.trim(shard.keys.notifications) == 1


LARGEST = 2**64 - 1


@pytest.mark.parametrize(
    ("at", "trimmed"),
    [
        (f"{LARGEST}-{LARGEST}", 3),
        (f"{LARGEST}-{LARGEST - 1}", 3),
        (f"{LARGEST - 1}-{LARGEST}", 3),
        (f"5-{LARGEST}", 1),
        (f"7-{2**53 + 1}", 3),
        (f"7-{2**53}", 2),
        ("5-9", 1),
    ],
)
async def test_streams_are_trimmed_wherever_a_group_stands(shard: Shard, at: str, trimmed: int) -> None:
    """A double does not hold such ids: 2^53 + 1 is 2^53 to it."""
    notifications = shard.keys.notifications
    for entry in ("5-9", f"7-{2**53}", f"7-{2**53 + 1}"):
        await shard.client.xadd(notifications, {"type": "x"}, id=entry)
    await shard.client.xgroup_create(notifications, "gateways", at)
    assert await shard.committer.trim(notifications) == trimmed
    assert await shard.committer.trim(notifications) == 0


async def test_a_race_of_time_out_and_accept_has_one_outcome(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    operation = await shard.publish(*e.accept("phone"))
    told = await e.later(shard, e.RING) + await e.patience_ends(shard)
    await shard.settle(operation)
    told += await shard.told()
    assert len(of_type(told, "INVITE_COMPLETED")) == 1
    assert e.outcome(told, "answer") == (410, "timeout")


async def test_a_race_of_stop_and_accept_has_one_outcome(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await e.arriving(shard, [e.accept("phone"), e.stop()], [1, 0])
    assert len(of_type(told, "INVITE_COMPLETED")) == 1
    assert [each.payload["code"] for each in of_type(told, "answer")] == [200, 410]


async def test_an_index_that_names_an_invite_that_is_gone_stops_nothing(make_shard: MakeShard) -> None:
    """An operator deleted its key, or it expired while no worker ran."""
    shard = await make_shard(Settings(remove_after=5_000, only_one_device_with_invitations=True))
    await e.bob_rings(shard, "phone", "tablet")
    for index in ("pending:bob", "parallel:bob"):
        await shard.client.sadd(shard.keys.base + index, "alice|gone|bob")
    for index in ("room-invites:r", "ended:bob"):
        await shard.client.zadd(shard.keys.base + index, {"alice|gone|bob": shard.now})
    await shard.client.hset(shard.keys.base + "calls:alice", "alice|gone|bob", "a")
    for event in (
        e.stop(None, invite_id="gone"), e.registered("phone", session="s"), e.registered("desk"),
        e.disconnected("phone"),
        e.invitations("phone"), e.accept("tablet"), e.disconnected("a", "alice"), e.left("alice"), e.room_closed(),
    ):  # fmt: skip
        await shard.event(*event)
        assert [each.status for each in shard.outcomes] == [Status.DONE], event
    await e.later(shard, e.RING)
    assert await shard.dead() == []
    await shard.client.delete(
        *(shard.keys.base + index for index in ("pending:bob", "parallel:bob", "ended:bob"))
    )
