"""The move of each kind of key, timer and entry, from three shards to seven."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from invites.events.entry import Entry
from invites.keys import Keys, Stream, shard_of
from invites.lookup.pushes import Push, decode_push_entry
from invites.resharding.key_ownership import BY_VALUE, SPLIT, STAYING, WHOLE
from invites.resharding.procedure import move_all
from invites.resharding.shard_map import ShardMap
from invites.values.ref import callee_of
from tests.support.shard import make_groups

pytestmark = pytest.mark.leaks  # these tests write the keys themselves

BEFORE, AFTER = 3, 7
SOON = int(time.time() * 1000) + 7_200_000  # counted from the import: after the longest suite
USERS = [f"user-{number}" for number in range(30)]


class Growth:
    """Three shards that become seven."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.shard_map = ShardMap("invites", BEFORE, AFTER, lambda _: client)

    def before(self, name: str) -> Keys:
        """The shard that a name belonged to."""
        return Keys(shard=shard_of(name, BEFORE), shards=BEFORE)

    def after(self, name: str) -> Keys:
        """The shard that it belongs to."""
        return Keys(shard=shard_of(name, AFTER), shards=AFTER)

    async def move(self) -> dict[str, int]:
        """Move everything; returns the counts."""
        counts = {"keys": 0, "timers": 0, "pushes": 0}

        def moved(what: str, more: int) -> None:
            counts[what] += more

        await move_all(self.shard_map, moved)
        return counts

    async def found(self, pattern: str) -> set[str]:
        """The names of all keys of a pattern."""
        return {key.decode() async for key in self.client.scan_iter(match=pattern)}

    async def timers(self) -> dict[str, set[int]]:
        """In which shards each timer is."""
        places: dict[str, set[int]] = {}
        for keys in self.shard_map.all:
            for member in await self.client.zrange(keys.timers, 0, -1):
                places.setdefault(member.decode(), set()).add(keys.shard)
        return places


@pytest.fixture
async def growth(command_client: Any) -> Growth:
    growth = Growth(command_client)
    for keys in growth.shard_map.all:
        await make_groups(command_client, keys)
    return growth


def _id_of(kind: str, user: str) -> str:
    """The part after the kind in a key that belongs to the user, or the room, of that name."""
    if WHOLE[kind] is callee_of:
        return f"alice|1|{user}"
    return f"{user}|1|bob" if kind in ("request", "gone", "left") else user


@pytest.mark.parametrize("kind", sorted(set(WHOLE) - {"room-invites"}))
async def test_a_key_is_where_its_name_belongs_with_all_that_it_holds(growth: Growth, kind: str) -> None:
    for user in USERS:
        key = f"{growth.before(user).base}{kind}:{_id_of(kind, user)}"
        await growth.client.hset(key, mapping={"a": user, "b": b"\x00\xff"})
        await growth.client.pexpireat(key, SOON)
    await growth.client.persist(f"{growth.before(USERS[0]).base}{kind}:{_id_of(kind, USERS[0])}")
    counts = await growth.move()
    wanted = {f"{growth.after(user).base}{kind}:{_id_of(kind, user)}": user for user in USERS}
    assert await growth.found(f"*{kind}:*") == set(wanted)
    assert counts["keys"] == sum(growth.before(user).shard != growth.after(user).shard for user in USERS) > 10
    for key, user in wanted.items():
        assert await growth.client.hgetall(key) == {b"a": user.encode(), b"b": b"\x00\xff"}
        assert await growth.client.pexpiretime(key) == (-1 if user == USERS[0] else SOON)
    assert await growth.move() == {"keys": 0, "timers": 0, "pushes": 0}


@pytest.mark.parametrize("kind", sorted(SPLIT))
async def test_refs_are_where_their_invites_are(growth: Growth, kind: str) -> None:
    """A trunk's user rings in many shards: its sets are split, and merged with those in the target."""
    for number, user in enumerate(USERS):
        key, ref = f"{growth.before(user).base}{kind}:sip", f"alice|1|{user}"
        await (growth.client.zadd(key, {ref: number}) if kind == "ended" else growth.client.sadd(key, ref))
        await growth.client.pexpireat(key, SOON + number)
    await growth.move()
    for user in USERS:
        key, ref = f"{growth.after(user).base}{kind}:sip", f"alice|1|{user}"
        if kind == "ended":
            assert await growth.client.zscore(key, ref) == USERS.index(user)
        else:
            assert await growth.client.sismember(key, ref)
        assert SOON <= await growth.client.pexpiretime(key) <= SOON + len(USERS)
    total = 0
    for key in await growth.found(f"*{kind}:*"):
        total += await (growth.client.zcard(key) if kind == "ended" else growth.client.scard(key))
    assert total == len(USERS)


async def test_a_grace_is_where_its_user_is(growth: Growth) -> None:
    for user in USERS:
        await growth.client.set(f"{growth.before(user).base}{BY_VALUE}:{user}-phone", user, pxat=SOON)
    await growth.move()
    assert await growth.found("*grace:*") == {growth.after(user).grace(f"{user}-phone") for user in USERS}


async def test_what_belongs_to_a_shard_itself_stays(growth: Growth) -> None:
    await growth.client.zadd(f"{growth.shard_map.all[1].base}taken:2", {"1-1": 1})
    await growth.client.set(f"{growth.shard_map.all[1].base}strange:thing", "x")
    before = await growth.found("*")
    await growth.move()
    assert await growth.found("*") == before
    assert {name.partition(":")[0] for name in ("taken:2", "layout")} <= STAYING


async def test_copies_of_marks_of_a_trunks_user_stay_and_do_not_replace_its_own(growth: Growth) -> None:
    for user in USERS:
        for keys in growth.shard_map.old:
            told = "home" if keys.shard == growth.before(user).shard else "copy"
            await growth.client.set(f"{keys.base}gone:{user}|t", told, pxat=SOON)
    await growth.move()
    await growth.move()
    for user in USERS:
        assert await growth.client.get(f"{growth.after(user).base}gone:{user}|t") == b"home"


# --- rooms


async def test_a_room_knows_exactly_when_the_invites_of_other_shards_were_made(growth: Growth) -> None:
    made = 1_700_000_000_000
    for room in USERS[:10]:
        for number, user in enumerate(USERS):
            ref = f"alice|{room}|{user}"
            await growth.client.hset(growth.before(user).invite(ref), "entry", f"{made}-{number}")
            await growth.client.zadd(growth.before(room).room_invites(room), {ref: made})
        await growth.client.zadd(growth.before(room).room_invites(room), {"alice|2|gone": made + 7})
        await growth.client.pexpireat(growth.before(room).room_invites(room), SOON)
    await growth.move()
    assert await growth.found("*room-invites:*") == {
        growth.after(room).room_invites(room) for room in USERS[:10]
    }
    for room in USERS[:10]:
        key = growth.after(room).room_invites(room)
        wanted = {f"alice|{room}|{user}".encode(): made + number / 1024 for number, user in enumerate(USERS)}
        found = dict(await growth.client.zrange(key, 0, -1, withscores=True))
        assert found == {**wanted, b"alice|2|gone": made + 7}
        assert await growth.client.pexpiretime(key) == SOON


# --- timers


async def test_a_timer_is_where_what_it_is_about_belongs(growth: Growth) -> None:
    wanted: dict[str, set[int]] = {}
    for user in USERS:
        for timer in (
            f"ring|alice|1|{user}", f"step|alice|1|{user}", f"caller|{user}|p",
            f"grace|{user}|p", f"lapse|{user}|p",
        ):  # fmt: skip
            await growth.client.zadd(growth.before(user).timers, {timer: SOON})
            wanted[timer] = {growth.after(user).shard}
    await growth.client.zadd(growth.shard_map.all[2].timers, {"of_a_later_version|x": SOON})
    counts = await growth.move()
    assert await growth.timers() == {**wanted, "of_a_later_version|x": {2}}
    assert counts["timers"] == 5 * sum(
        growth.before(user).shard != growth.after(user).shard for user in USERS
    )  # each kind


async def test_the_grace_of_a_trunk_is_wherever_it_rings(growth: Growth) -> None:
    """Its user is at home in one shard, its calls are in all of them."""
    for user in USERS:
        await growth.client.sadd(growth.before(user).pending("sip"), f"alice|1|{user}")
    for keys in growth.shard_map.old:
        await growth.client.zadd(keys.timers, {"grace|sip|t": SOON + keys.shard})
    await growth.move()
    assert (await growth.timers())["grace|sip|t"] >= {growth.after(user).shard for user in USERS}


# --- trunks


def _trunk(peer: str, **more: Any) -> str:
    return json.dumps({"id": peer, "user": "sip", "trunk": True, "match": "*", **more})


async def test_every_shard_knows_the_trunks_as_their_users_shard_does(growth: Growth) -> None:
    home = growth.before("sip")
    for keys in growth.shard_map.old:
        at = "2-0" if keys.shard == home.shard else "1-0"
        await growth.client.hset(keys.trunks, "sip|t", _trunk("t", at=at, expires=9_000))
        await growth.client.hset(
            keys.trunks, "t", _trunk("t", at="0-5", expires=9_000)
        )  # of an older release
        await growth.client.set(keys.trunks_version, at)
        await growth.client.zadd(keys.timers, {"lapse|sip|t": SOON + 5 * (keys.shard == home.shard)})
    await growth.move()
    for keys in growth.shard_map.all:
        assert json.loads(await growth.client.hget(keys.trunks, "sip|t"))["at"] == "2-0"
        assert await growth.client.hkeys(keys.trunks) == [b"sip|t"]
        assert await growth.client.zscore(keys.timers, "lapse|sip|t") == SOON + 5
        assert await growth.client.get(keys.trunks_version) not in (None, b"1-0", b"2-0")


async def _news(site: Growth, kind: str, arguments: list[str], shard: int) -> None:
    await site.client.xadd(
        site.before("sip").relay,
        {
            "kind": kind,
            "name": "sip",
            "entry": "5-0",
            "arguments": json.dumps(arguments),
            "shard": shard,
        },
    )


async def _told(site: Growth) -> list[tuple[str, int]]:
    entries = await site.client.xrange(site.before("sip").relay)
    return sorted((fields[b"kind"].decode(), int(fields[b"shard"])) for _, fields in entries)


async def test_all_shards_hear_what_is_new_of_trunks_and_only_that(growth: Growth) -> None:
    home, raw = growth.before("sip").shard, _trunk("t", at="5-0")
    others = [shard for shard in range(BEFORE) if shard != home]
    await growth.client.hset(growth.before("sip").trunks, "t", raw)
    await _news(growth, "trunk_registered", ["sip", "t", raw, "", "", ""], others[0])
    await _news(growth, "trunk_registered", ["sip", "t", _trunk("t", at="4-0"), "", "", ""], others[1])
    await _news(growth, "trunk_ended", ["sip", "t", "4-0", ""], others[1])
    await _news(growth, "trunk_ended", ["sip", "gone", "5-0", ""], others[1])
    await growth.client.xreadgroup(Stream.RELAY.group, "w", {growth.before("sip").relay: ">"}, count=2)
    await growth.move()
    await growth.move()
    all_others = [shard for shard in range(AFTER) if shard != home]
    assert await _told(growth) == sorted(
        [("trunk_registered", shard) for shard in all_others]
        + [("trunk_registered", others[1])]  # outdated: told as it was addressed
        + [("trunk_ended", others[1])]
        + [("trunk_ended", shard) for shard in all_others]
    )


# --- messages between shards, and push jobs


async def test_every_shard_goes_on_with_the_invites_that_it_gets(growth: Growth) -> None:
    source = growth.before("sip")
    refs = [f"alice|1|{user}" for user in USERS if growth.before(user).shard == source.shard]
    copy = "todo:sip|lost|5-0"
    await growth.client.sadd(source.base + copy, *refs)
    await growth.client.pexpireat(source.base + copy, SOON)
    await _news(growth, "page", ["pending", "lost", "5-0", "t", "5-0", "0"], source.shard)
    await growth.move()
    for keys in growth.shard_map.all:
        there = {ref.decode() for ref in await growth.client.smembers(keys.base + copy)}
        assert there == {ref for ref in refs if growth.after(callee_of(ref)).shard == keys.shard}
    assert await _told(growth) == [("page", shard) for shard in range(AFTER)]


async def test_what_was_taken_and_not_acknowledged_is_not_taken_again(growth: Growth) -> None:
    source = growth.shard_map.all[0]
    elsewhere = [user for user in USERS if growth.before(user).shard != 0]
    entries = [
        await growth.client.xadd(source.relay, {"kind": "k", "name": user, "entry": "1-0", "arguments": "[]"})
        for user in (*elsewhere, "only-unread")
    ]
    await growth.client.xadd(source.relay, {"kind": "nonsense"})
    await growth.client.xreadgroup(Stream.RELAY.group, "w", {source.relay: ">"}, count=len(elsewhere))
    for user, entry in list(zip(elsewhere, entries, strict=False))[::2]:
        await growth.client.zadd(f"{growth.before(user).base}taken:0", {entry: 1})
    await growth.move()
    left = await growth.client.xpending_range(source.relay, Stream.RELAY.group, "-", "+", 100)
    assert [one["message_id"] for one in left] == entries[: len(elsewhere)][1::2]


@pytest.mark.parametrize("read", [0, 10, 30])
async def test_push_jobs_are_where_their_invites_are(growth: Growth, read: int) -> None:
    for user in USERS:
        job = {"type": "invitation", "ref": f"alice|1|{user}", "user": user, "device": "d"}
        await growth.client.xadd(growth.before(user).push, job)
    for keys in growth.shard_map.old:
        await growth.client.xadd(keys.push, {"type": "nonsense"})
        if read:
            await growth.client.xreadgroup(Stream.PUSH.group, "w", {keys.push: ">"}, count=read // BEFORE)
    await growth.move()
    jobs: dict[str, int] = {}
    for keys in growth.shard_map.all:
        jobs |= {
            fields[b"user"].decode(): keys.shard
            for _, fields in await growth.client.xrange(keys.push)
            if b"user" in fields
        }
        pending = await growth.client.xpending_range(keys.push, Stream.PUSH.group, "-", "+", 100)
        entries = {entry for entry, _ in await growth.client.xrange(keys.push)}
        assert {one["message_id"] for one in pending} <= entries
    assert jobs == {user: growth.after(user).shard for user in USERS}


async def test_a_push_that_may_have_been_sent_is_still_known_to_be_such(growth: Growth) -> None:
    """Otherwise a phone would keep ringing whose call is over when its job is looked at again."""
    user = next(user for user in USERS if growth.before(user).shard != growth.after(user).shard)
    job = {"type": "invitation", "ref": f"alice|1|{user}", "user": user, "deadline": "1", "payload": "{}"}
    for device in ("taken", "new"):
        await growth.client.xadd(growth.before(user).push, {**job, "device": device})
    await growth.client.xreadgroup(Stream.PUSH.group, "w", {growth.before(user).push: ">"}, count=1)
    await growth.move()
    found = {}
    for entry, fields in await growth.client.xrange(growth.after(user).push):
        push = decode_push_entry(Entry(entry.decode(), fields), max_deliveries=5)
        assert isinstance(push, Push)
        found[push.device] = push.unsure
    assert found == {"taken": True, "new": False}


async def test_push_jobs_that_nobody_reads_are_moved_as_well(growth: Growth) -> None:
    for keys in growth.shard_map.old:
        await growth.client.xgroup_destroy(keys.push, Stream.PUSH.group)
    user = next(user for user in USERS if growth.before(user).shard != growth.after(user).shard)
    await growth.client.xadd(growth.before(user).push, {"type": "invitation", "ref": f"alice|1|{user}"})
    await growth.move()
    assert await growth.client.xlen(growth.before(user).push) == 0
    assert await growth.client.xlen(growth.after(user).push) == 1


async def test_that_an_invite_is_over_is_known_everywhere(growth: Growth) -> None:
    key = "over:alice|1|bob"
    await growth.client.set(growth.shard_map.all[1].base + key, "5-2", pxat=SOON)
    await growth.client.set(growth.shard_map.all[2].base + key, "5-10", pxat=SOON)
    await growth.move()
    assert {await growth.client.get(keys.base + key) for keys in growth.shard_map.all} == {b"5-10"}
    assert {await growth.client.pexpiretime(keys.base + key) for keys in growth.shard_map.all} == {SOON}


# --- prefixes


async def test_a_prefix_is_no_pattern(growth: Growth) -> None:
    user = next(user for user in USERS if growth.before(user).shard != growth.after(user).shard)
    shard_map = ShardMap("in?[v]*", BEFORE, AFTER, lambda _: growth.client)
    ours = Keys("in?[v]*", growth.before(user).shard).registry(user)
    others = Keys("inxvvv", growth.before(user).shard).registry(user)
    for key in (ours, others):
        await growth.client.hset(key, "p", "{}")
    await move_all(shard_map, lambda _what, _more: None)
    assert await growth.client.exists(others) == 1
    assert await growth.client.exists(Keys("in?[v]*", growth.after(user).shard).registry(user), ours) == 1


# --- foreign keys


WRONG = [
    ("push", "xadd", {"type": "nonsense"}),
    ("relay", "xadd", {"kind": "k", "shard": "no", "name": "bob"}),
    (
        "relay",
        "xadd",
        {"kind": "trunk_ended", "shard": "no", "name": "n", "entry": "e", "arguments": '["a","b","c"]'},
    ),
    ("relay", "xadd", {"kind": "trunk_ended", "shard": "1", "name": "n", "entry": "e", "arguments": "["}),
    ("timers", "zadd", {"ring|x": 1, "grace|x": 1, "lapse": 1, "|": 1, b"ring|\xff": 1}),
    ("trunks", "hset", {"t": "x", "u": "{}"}),
    ("stopped:x", "set", "1"),
    ("over:x", "set", "1"),
    ("over:y", "set", "nonsense"),
    ("room-invites:r", "set", "1"),
    ("grace:p", "hset", {"a": "b"}),
    ("pending:bob", "set", "1"),
    ("ended:bob", "hset", {"a": "b"}),
    ("invite:", "set", "1"),
]


@pytest.mark.parametrize("delivered", [False, True])
async def test_what_is_none_of_ours_is_in_nobodys_way(growth: Growth, *, delivered: bool) -> None:
    """A command that cannot finish would leave everybody waiting."""
    for keys in growth.shard_map.old:
        for name, command, value in WRONG:
            arguments = {"mapping": value} if command == "hset" else {}
            await getattr(growth.client, command)(
                keys.base + name, *([] if arguments else [value]), **arguments
            )
        await growth.client.set(keys.base.encode() + b"invite:\xff", "1")
        for source in Stream if delivered else ():
            await growth.client.xreadgroup(source.group, "w", {source.key(keys): ">"})
    user = next(user for user in USERS if growth.before(user).shard != growth.after(user).shard)
    await growth.client.hset(growth.before(user).registry(user), "p", "{}")
    await growth.move()
    assert await growth.client.exists(growth.after(user).registry(user))
    for keys in growth.shard_map.old:
        assert await growth.client.exists(keys.base.encode() + b"invite:\xff")
