"""The messages of a commit to another shard are one entry, a bundle: each message has its effects once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from invites.events.arguments import RelayArguments
from invites.events.decoding import decode_relay_entry
from invites.events.entry import Entry
from invites.keys import RELAY_GROUP, Keys, Stream, shard_of
from invites.store.answers import Status
from invites.store.commit import SettleMode, TakeMode
from invites.store.settings import Settings
from tests.support import events as e
from tests.support.shard import Shard, make_groups, peer
from tests.support.shards import messages_of

if TYPE_CHECKING:
    from invites.events.operation import Operation
    from invites.store.answers import Outcome
    from tests.support.shard import MakeShard

pytestmark = pytest.mark.one_shard

ENTRY = "1700000000000-0"
MADE = "1600000000000-0"
SOURCE = 1
HERE = Keys(shard=0, shards=2)

Message = tuple[str, ...]


def started(user: str, made: str = MADE) -> Message:
    """The message that a call of the user has begun."""
    return ("call_started", user, made, f"{user}|1|bob", f"{user}-0", "", made)


def entered(room: str) -> Message:
    """The message that Alice's call leads into a room."""
    return ("room_entered", room, MADE, e.REF, "1", "alice", MADE)


def bundle(*messages: Message, entry: str = ENTRY) -> Operation:
    """The messages of the shard `SOURCE` to this one."""
    fields = {b"shard": b"0", b"messages": json.dumps(messages).encode()}
    return decode_relay_entry(Entry(entry, fields), max_deliveries=5, keys=Keys(shard=SOURCE, shards=2))


async def take(shard: Shard, operation: Operation) -> Outcome:
    """Take a relayed entry."""
    (outcome,) = (await shard.committer.commit([operation], TakeMode(SOURCE, "0-0"))).outcomes
    return outcome


async def calls(shard: Shard, *users: str) -> list[int]:
    """How many calls each user has made."""
    return [await shard.client.hlen(shard.keys.calls(user)) for user in users]


async def alone(shard: Shard) -> list[Entry]:
    """The new entries of the shard's relay stream."""
    reply = await shard.client.xreadgroup(RELAY_GROUP, "test", {shard.keys.relay: ">"})
    entries = reply.values() if isinstance(reply, dict) else (found for _, found in reply)
    return [Entry(name.decode(), fields) for found in entries for name, fields in found]


def own(shard: Shard, entry: Entry) -> Operation:
    """What a worker makes of it."""
    return decode_relay_entry(entry, max_deliveries=5, keys=shard.keys)


async def test_each_message_has_its_effect_once(shard: Shard) -> None:
    operation = bundle(started("alice"), entered("r"), started("carol"))
    assert (await take(shard, operation)).status is Status.DONE
    assert await calls(shard, "alice", "carol") == [1, 1]
    assert await shard.client.zcard(shard.keys.room_invites("r")) == 1
    await shard.client.delete(shard.keys.calls("alice"))
    assert (await take(shard, operation)).status is Status.STALE
    assert await calls(shard, "alice", "carol") == [0, 1]
    assert await alone(shard) == []


async def test_another_bundle_with_the_same_entry_id_is_taken_too(shard: Shard) -> None:
    # The sender's new server lacks the first one, and has given its id a second time.
    assert (await take(shard, bundle(started("alice"), started("carol")))).status is Status.DONE
    other = bundle(started("dave", "1600000000007-0"), started("carol"))
    assert (await take(shard, other)).status is Status.DONE
    assert (await take(shard, other)).status is Status.STALE
    assert await calls(shard, "alice", "carol", "dave") == [1, 1, 1]


async def test_after_a_fail_over_of_the_target_a_bundle_is_taken_again_with_the_same_ids(
    make_shard: MakeShard,
) -> None:
    shard = await make_shard(Settings())
    await e.bob_rings(shard, "phone")
    keys = [each async for each in shard.client.scan_iter()]
    copy = {key: await shard.client.dump(key) for key in keys}
    made = await shard.client.hget(shard.keys.invite(e.REF), "entry")
    over = ("room_is_over", "bob", MADE, e.REF, "room_closed", f"{shard.now + 9}-0")
    operation = bundle(started("carol"), over)
    assert made
    await take(shard, operation)
    told = await shard.told()
    assert "invitationCancel" in e.types(told)

    for key, value in copy.items():
        await shard.client.restore(key, 0, value, replace=True)
    await shard.client.delete(shard.keys.taken(SOURCE))
    assert (await take(shard, operation)).status is Status.DONE
    again = await shard.client.xrange(shard.keys.notifications)
    assert {each.id for each in told} <= {fields[b"id"].decode() for _, fields in again}
    assert all(each.id.startswith(f"0-relay{SOURCE}.{ENTRY}.2-") for each in told)


async def test_a_message_that_fails_goes_on_alone_and_takes_no_other_with_it(shard: Shard) -> None:
    await shard.client.set(shard.keys.calls("carol"), "no hash")
    outcome = await take(shard, bundle(started("alice"), started("carol"), entered("r")))
    assert outcome.status is Status.DONE
    assert await calls(shard, "alice") == [1]
    assert await shard.client.zcard(shard.keys.room_invites("r")) == 1

    [entry] = await alone(shard)
    [message] = messages_of(entry)
    kind, name, first, *arguments = started("carol")
    assert (message["kind"], message["name"], message["entry"]) == (kind, name, first)
    assert json.loads(message["arguments"]) == arguments
    mode = SettleMode(Stream.RELAY)
    [failed] = (await shard.committer.commit([own(shard, entry)], mode)).outcomes
    assert failed.status is Status.FAILED
    await shard.client.delete(shard.keys.calls("carol"))
    [done] = (await shard.committer.commit([own(shard, entry)], mode)).outcomes
    assert done.status is Status.DONE
    assert await calls(shard, "carol") == [1]


async def test_a_message_that_this_release_does_not_know_goes_on_alone(shard: Shard) -> None:
    unknown = ("dance", "bob", MADE)
    assert (await take(shard, bundle(unknown, started("alice")))).status is Status.DONE
    assert await calls(shard, "alice") == [1]
    [entry] = await alone(shard)
    assert [one["kind"] for one in messages_of(entry)] == ["dance"]
    assert json.loads(entry.fields[b"arguments"]) == []


async def test_a_bundle_waits_while_the_relay_stream_cannot_take_what_it_lets_go(shard: Shard) -> None:
    await shard.client.delete(shard.keys.relay)
    await shard.client.set(shard.keys.relay, "no stream")
    operation = bundle(started("alice"), started("carol"))
    assert (await take(shard, operation)).status is Status.FAILED
    assert await calls(shard, "alice", "carol") == [0, 0]
    await shard.client.delete(shard.keys.relay)
    assert (await take(shard, operation)).status is Status.DONE


async def test_an_entry_with_one_message_is_taken_as_well(shard: Shard) -> None:
    kind, name, first, *arguments = started("alice")
    texts = {"kind": kind, "name": name, "entry": first, "arguments": json.dumps(arguments)}
    entry = Entry(ENTRY, {word.encode(): text.encode() for word, text in texts.items()})
    source = next(number for number in (0, 1) if shard_of(name, 2) != number)
    operation = decode_relay_entry(entry, max_deliveries=5, keys=Keys(shard=source, shards=2))
    assert [(await take(shard, operation)).status for _ in range(2)] == [Status.DONE, Status.STALE]
    assert await calls(shard, "alice") == [1]


# --- how bundles are made


def names_of(shard: int, count: int) -> list[str]:
    """Names that belong to this of two shards."""
    found = (name for name in map("n{}".format, range(1_000)) if shard_of(name, 2) == shard)
    return [next(found) for _ in range(count)]


[CALLEE, PHONE], [CALLER, ROOM] = names_of(0, 2), names_of(1, 2)


def call(invite_id: str = "1") -> e.Published:
    """A call of which the other shard must know."""
    return e.invite(peer("c", CALLER), CALLEE, invite_id, ROOM)


async def one_of_two(shard: Shard) -> Shard:
    """The first of two shards on the same server."""
    settings = Settings(redial="ring", per_pair=0)
    first = Shard(shard.client, settings, shard.committer._scripts, HERE)
    await make_groups(first.client, first.keys)
    await first.event(*e.registered(PHONE, CALLEE))
    return first


async def test_what_a_commit_has_for_a_shard_is_one_entry(shard: Shard) -> None:
    first = await one_of_two(shard)
    await first.settle(*[await first.publish(*call(invite_id)) for invite_id in ("1", "2")])
    [entry] = await alone(first)
    operation = own(first, entry)
    assert operation.shard == 1
    told = [(one["kind"], one["name"]) for one in messages_of(entry)]
    assert told == [("call_started", CALLER), ("room_entered", ROOM)] * 2


async def test_a_bundle_is_no_larger_than_a_dead_letter_keeps(shard: Shard) -> None:
    first = await one_of_two(shard)
    many = [call(f"{number}-{'x' * 200}") for number in range(9)]
    await first.settle(*[await first.publish(*each) for each in many])
    entries = await alone(first)
    sizes = [len(entry.fields[b"messages"]) for entry in entries]
    assert len(sizes) > 1
    assert max(sizes) <= 4096
    assert sum(len(messages_of(entry)) for entry in entries) == 18


async def test_an_earlier_release_takes_a_bundle_for_a_message_that_it_does_not_know(shard: Shard) -> None:
    """So its workers leave it to others (workers/roles/relay.py). They read no field that is new to them."""
    first = await one_of_two(shard)
    await first.settle(await first.publish(*call()))
    [entry] = await alone(first)
    read = {name: value for name, value in entry.fields.items() if name != b"messages"}
    operation = own(first, Entry(entry.id, read))
    assert isinstance(operation.arguments, RelayArguments)
    assert operation.arguments.message == "bundle"
    assert operation.arguments.message not in shard.committer._scripts.messages
    assert operation.shard == 1


async def test_the_messages_of_a_traced_event_go_alone_and_carry_its_trace(shard: Shard) -> None:
    first = await one_of_two(shard)
    await first.settle(await first.publish(*call(), traced=True))
    entries = await alone(first)
    assert [entry.fields[b"kind"] for entry in entries] == [b"call_started", b"room_entered"]
    assert all(own(first, entry).trace for entry in entries)


async def test_a_message_whose_name_has_moved_to_another_shard_is_passed_on(shard: Shard) -> None:
    first = await one_of_two(shard)
    assert (await take(first, bundle(started(CALLER), started(CALLEE)))).status is Status.DONE
    assert await calls(first, CALLEE, CALLER) == [1, 0]
    [entry] = await alone(first)
    assert own(first, entry).shard == 1
    assert [(one["name"], one["entry"]) for one in messages_of(entry)] == [(CALLER, MADE)]


async def test_rules_and_workers_agree_on_the_shard_of_a_name(shard: Shard) -> None:
    names = ["", "ü", "名前", "😀-1", *("0f3c9a7e-41d2"[:length] for length in range(1, 14)), "p" * 255]
    seventh = Shard(shard.client, Settings(), shard.committer._scripts, Keys(shard=0, shards=7))
    await make_groups(seventh.client, seventh.keys)
    assert (await take(seventh, bundle(*map(entered, names)))).status is Status.DONE
    passed_on = {
        message["name"]: int(entry.fields[b"shard"])
        for entry in await alone(seventh)
        for message in messages_of(entry)
    }
    assert len(set(passed_on.values())) > 3
    assert passed_on == {name: shard_of(name, 7) for name in names if shard_of(name, 7)}
