"""More shards for existing data: nothing is lost, nothing happens twice, and everything in progress continues."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from invites.keys import Keys, Stream, shard_of
from invites.queries import streams
from invites.resharding.procedure import move_all
from invites.resharding.shard_map import ShardMap
from invites.store.layout import LayoutError
from invites.store.settings import Settings
from tests.support import events as e
from tests.support.leaks import assert_nothing_leaks
from tests.support.shards import Failing, Shards

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from tests.support.shard import Notification

SETTINGS = Settings(remove_after=20_000, redial="ring")
USERS = [f"user-{number}" for number in range(24)]


async def move(client: Redis, former: int, target: int) -> None:
    """Move everything, as the command does once no worker is running."""
    await move_all(ShardMap("invites", former, target, lambda _: client), lambda _what, _more: None)
    for number in range(target):
        await client.set(Keys(shard=number).layout, str(target))


async def before(shards: Shards) -> None:
    """Two devices and a pending call for each user, a trunk that is called, somebody in a room, somebody away."""
    await shards.event(*e.trunk("t"))
    for user in USERS:
        await shards.event(*e.registered(f"{user}-phone", user))
        await shards.event(*e.registered(f"{user}-desk", user))
        await shards.event(*e.invite(to=user, invite_id=f"to-{user}", room=f"room-of-{user}"))
    await shards.event(*e.invite(to="+34600", invite_id="out"))
    await shards.event(*e.joined("carol", "room"))
    await shards.event(*e.disconnected(f"{USERS[0]}-phone", USERS[0]))
    await shards.event(*e.disconnected("t", "sip"))


async def grown_from(old: Shards, client: Redis, shards: int) -> Shards:
    """The same server with more shards."""
    made = await Shards.make_several(lambda _: client, SETTINGS, shards)
    await made.go_on_from(old)
    return made


async def all_ends(shards: Shards) -> list[Notification]:
    """Each call is ended in some way, by the devices that rang before."""
    told = []
    for number, user in enumerate(USERS):
        device = f"{user}-desk"
        told += await shards.event(*e.ringing(device, user, invite_id=f"to-{user}"))
        if number % 3 == 0:
            told += await shards.event(*e.accept(device, user, invite_id=f"to-{user}"))
        elif number % 3 == 1:
            told += await shards.event(*e.stop(callee=user, invite_id=f"to-{user}"))
    told += await shards.event(*e.registered(f"{USERS[0]}-phone", USERS[0]))
    told += await shards.event(*e.trunk("t"))
    told += await shards.event(*e.accept("t", "sip", to="+34600", invite_id="out"))
    shards.now += SETTINGS.ring_timeout
    return told + await shards.fire()


@pytest.mark.parametrize(
    ("former", "target", "commands"), [(1, 3, None), (3, 7, None), (2, 5, 40), (2, 5, 400)]
)
async def test_calls_go_on_over_more_shards(
    command_client: Redis, former: int, target: int, commands: int | None
) -> None:
    shards = await Shards.make_several(lambda _: command_client, SETTINGS, former)
    await before(shards)
    waiting = [
        await shards.publish_somewhere(*e.invite(to=user, invite_id=f"late-to-{user}")) for user in USERS
    ]

    if commands is not None:
        failing = Failing("invites", former, target, lambda _: command_client)
        failing.left = commands
        with pytest.raises(RedisConnectionError):
            await move_all(failing, lambda _what, _more: None)
    await move(command_client, former, target)

    grown = await grown_from(shards, command_client, target)
    for entry, shard in waiting:
        await grown.take_up(entry, shard)
    told = await all_ends(grown)

    records = Counter(each.payload["inviteId"] for each in told if each.type == "INVITE_COMPLETED")
    wanted = [f"to-{user}" for user in USERS] + [f"late-to-{user}" for user in USERS] + ["out"]
    assert records == Counter(wanted)
    ends = {
        each.payload["inviteId"]: each.payload["state"] for each in told if each.type == "INVITE_COMPLETED"
    }
    for number, user in enumerate(USERS):
        assert ends[f"to-{user}"] == ("ACCEPTED", "DECLINED_BY_CREATOR", "DECLINED_BY_TIMEOUT")[number % 3]
    assert ends["out"] == "ACCEPTED"
    assert [each.payload["userId"] for each in await grown.event(*e.joined("dave", "room"))] == ["dave"]
    for keys in grown.all_keys:
        await assert_nothing_leaks(command_client, keys)


async def test_everything_is_where_it_belongs(command_client: Redis) -> None:
    shards = await Shards.make_several(lambda _: command_client, SETTINGS, 2)
    await before(shards)
    await move(command_client, 2, 5)
    for user in USERS:
        home = Keys(shard=shard_of(user, 5), shards=5)
        assert await command_client.exists(home.registry(user))
        assert await command_client.smembers(home.pending(user)) == {f"alice|to-{user}|{user}".encode()}
        assert await command_client.pttl(home.pending(user)) > 0
        assert await command_client.zscore(home.timers, f"ring|alice|to-{user}|{user}") is not None
        for number in set(range(5)) - {home.shard}:
            assert not await command_client.exists(
                home.of(number).registry(user), home.of(number).pending(user)
            )


async def test_a_timer_that_has_failed_takes_its_due_time_along(command_client: Redis) -> None:
    shards = await Shards.make_several(lambda _: command_client, SETTINGS, 2)
    await before(shards)
    user = next(user for user in USERS if shard_of(user, 2) != shard_of(user, 5))
    timer, former = f"ring|alice|to-{user}|{user}", Keys(shard=shard_of(user, 2), shards=2)
    await command_client.zadd(former.timers, {timer: 9_000_000_000_000})
    await command_client.set(former.retry(timer), "9000000000000 4 1234567890123", px=60_000)
    await move(command_client, 2, 5)
    home = Keys(shard=shard_of(user, 5), shards=5)
    assert await command_client.zscore(home.timers, timer) == 1_234_567_890_123
    assert await command_client.zscore(former.timers, timer) is None


async def test_a_relay_that_was_taken_is_not_taken_again(command_client: Redis) -> None:
    shards = await Shards.make_several(lambda _: command_client, SETTINGS, 2)
    await before(shards)
    relay, group = shards.parts[0].keys.relay, Stream.RELAY.group
    (first,) = await streams.read(command_client, relay, count=1)
    # As if its carrier had died between the commit there and the acknowledgement here.
    await command_client.xgroup_setid(relay, group, "0")
    await command_client.xreadgroup(group, "dead", {relay: ">"}, count=1)
    await move(command_client, 2, 5)
    assert not await command_client.xpending_range(relay, group, first.id, first.id, 1)


async def test_relays_that_are_settled_and_kept_do_not_come_again(command_client: Redis) -> None:
    shards = await Shards.make_several(lambda _: command_client, SETTINGS, 2)
    await before(shards)
    relay, group = shards.parts[0].keys.relay, Stream.RELAY.group
    kept = await streams.read(command_client, relay)
    await command_client.xclaim(relay, group, "dead", 0, [kept[1].id], force=True)
    await move(command_client, 2, 5)
    left = [entry.id for entry in await streams.read(command_client, relay)]
    assert len(kept) > 2
    assert not set(left) & {entry.id for entry in kept}


@pytest.mark.leaks
async def test_who_counts_otherwise_commits_nothing(command_client: Redis) -> None:
    shards = await Shards.make_several(lambda _: command_client, SETTINGS, 2)
    await before(shards)
    await move(command_client, 2, 3)
    with pytest.raises(LayoutError, match="in 3 shards"):
        await shards.event(*e.registered("phone"))
