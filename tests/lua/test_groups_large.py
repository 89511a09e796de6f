"""Large groups: legs begin, are updated and end page by page, through the relay stream, so that no script runs long."""

import json
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from invites.events.decoding import decode_relay_entry
from invites.events.entry import Entry
from invites.events.operation import Operation
from invites.keys import Stream
from invites.lookup.result import LookupResult, Member
from invites.queries.story import story_of
from invites.store.answers import Status
from invites.store.commit import SettleMode
from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.relayed import hears
from tests.support.servers.node import Node
from tests.support.shard import MakeShard, Shard, of_type

pytestmark = pytest.mark.one_shard

SIZE = 50
MEMBERS = [f"m{at:02}" for at in range(SIZE)]
PAGE = 20


@pytest.fixture
async def large(make_shard: MakeShard) -> Shard:
    """A shard in which a group has fifty members, each with a phone."""
    shard = await make_shard(groups.GROUPS)
    groups.team(shard, *MEMBERS)
    for member in MEMBERS:
        await shard.event(*e.registered(f"{member}-phone", member))
    return shard


def phones(members: list[str]) -> list[str]:
    return [f"{member}-phone" for member in members]


async def one_page(shard: Shard) -> Operation:
    """Read the next entry of the relay stream."""
    read = await shard.client.xreadgroup("relay", "test", {shard.keys.relay: ">"}, count=1)
    ((_, [(entry, fields)]),) = read.items() if isinstance(read, dict) else read
    return decode_relay_entry(Entry(entry.decode(), fields), max_deliveries=5)


async def test_each_member_rings_once_in_three_pages(large: Shard) -> None:
    told = await large.event(*e.invite(to="team"))
    assert groups.rung(told) == phones(MEMBERS[:PAGE])
    assert e.one(told, "inviteProgress").payload["candidates"] == PAGE
    told = await large.relay()
    assert groups.rung(told) == phones(MEMBERS[PAGE:])
    assert e.one(told, "inviteProgress").payload["candidates"] == SIZE
    assert set((await groups.legs(large)).values()) == {"RINGING"}


async def test_the_pages_tell_of_the_invites_own_entry(large: Shard) -> None:
    await large.event(*e.invite(to="team"))
    [(_, fields)] = await large.client.xrange(large.keys.relay)
    assert fields[b"kind"] == b"legs_start"
    assert fields[b"entry"].decode() == (await large.invite(groups.TEAM))["entry"]


async def test_a_page_that_two_workers_take_begins_once(large: Shard) -> None:
    await large.event(*e.invite(to="team"))
    page = await one_page(large)
    settled = await large.committer.commit([page, page], SettleMode(Stream.RELAY))
    assert [each.status for each in settled.outcomes] == [Status.DONE, Status.STALE]
    assert groups.rung(await large.told()) == phones(MEMBERS[PAGE : 2 * PAGE])


async def test_ids_of_notifications_stay_unique_over_the_pages(large: Shard) -> None:
    told = await large.event(*e.invite(to="team")) + await large.relay()
    told += await large.event(*e.accept("m00-phone", "m00")) + await large.relay()
    ids = [each.id for each in told]
    assert len(ids) == len(set(ids))


async def test_all_others_stop_page_by_page(large: Shard) -> None:
    await large.event(*e.invite(to="team"))
    await large.relay()
    told = await large.event(*e.accept("m30-phone", "m30"))
    assert e.outcome(told, "answer") == (200, "accepted")
    assert len(of_type(told, "inviteAccepted")) == len(of_type(told, "INVITE_COMPLETED")) == 1
    assert len(groups.stopped(told)) == PAGE
    told += await large.relay()
    assert groups.stopped(told) == phones(MEMBERS[:30] + MEMBERS[31:])
    assert {each.payload["whoAccepted"] for each in of_type(told, "invitationCancel")} == {"m30"}
    assert set((await groups.legs(large)).values()) == {"OVER"}
    assert await large.client.zcard(large.keys.timers) == 0


async def test_who_accepts_before_its_cancel_hears_that_it_is_too_late(large: Shard) -> None:
    await large.event(*e.invite(to="team"))
    await large.relay()
    await large.event(*e.accept("m00-phone", "m00"))
    assert (await large.invite("alice|1|m49"))["state"] == "PENDING"
    told = await large.event(*e.accept("m49-phone", "m49"))
    assert e.types(told) == ["answer", "invitationCancel"]
    assert e.outcome(told, "answer") == (410, "accepted")
    assert e.one(told, "answer").payload["whoAccepted"] == "m00"
    assert e.outcome(told, "invitationCancel") == (200, "accepted_elsewhere")
    assert "m49-phone" not in groups.stopped(await large.relay())


async def test_who_declines_before_its_cancel_changes_nothing(large: Shard) -> None:
    await large.event(*e.invite(to="team"))
    await large.relay()
    await large.event(*e.accept("m00-phone", "m00"))
    told = await large.event(*e.decline("m49-phone", "m49"))
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (200, "declined")
    assert "m49-phone" not in groups.stopped(await large.relay())


@pytest.mark.parametrize("answer", [e.accept, e.decline])
async def test_an_end_while_the_pages_are_still_beginning_begins_no_more(
    large: Shard, answer: object
) -> None:
    await large.event(*e.invite(to="team"))
    end = e.accept("m00-phone", "m00") if answer is e.accept else e.stop(callee="team")
    told = await large.event(*end) + await large.relay()
    assert groups.rung(told) == []
    assert groups.stopped(told) == phones(MEMBERS[1 if answer is e.accept else 0 : PAGE])
    ends = {each["endReason"] for each in e.one(told, "INVITE_COMPLETED").payload["candidates"]}
    assert ends == ({200, 487} if answer is e.accept else {487})
    assert len(e.one(told, "INVITE_COMPLETED").payload["candidates"]) == SIZE


async def test_a_page_that_comes_after_the_deadline_rings_nobody(large: Shard) -> None:
    await large.event(*e.invite(to="team"))
    large.now += 60_000
    assert groups.rung(await large.relay()) == []
    told = await large.fire() + await large.relay()
    assert e.outcome(told, "inviteRejected") == (408, "timeout")
    assert groups.stopped(told) == phones(MEMBERS[:PAGE])


async def test_news_reaches_all_page_by_page_once(large: Shard) -> None:
    await large.event(*e.invite(to="team"))
    await large.relay()
    told = await large.event(*e.invite(to="team", context="new"))
    assert groups.rung(told) == phones(MEMBERS[:PAGE])
    told += await large.relay()
    assert groups.rung(told) == phones(MEMBERS)
    assert {each.payload["context"] for each in of_type(told, "invitation")} == {"new"}


async def test_news_that_meets_pages_that_have_not_begun_is_in_their_invitations(large: Shard) -> None:
    told = (
        await e.in_order(large, e.invite(to="team"), e.invite(to="team", context="new")) + await large.relay()
    )
    last = {each.peers[0]: each.payload["context"] for each in of_type(told, "invitation")}
    assert sorted(last) == phones(MEMBERS)
    assert set(last.values()) == {"new"}


async def test_a_story_has_each_member_once(large: Shard) -> None:
    await large.event(*e.invite(to="team"))
    found = await story_of(large.client, large.keys, groups.TEAM)
    assert found is not None
    assert [each.member for each in found.legs] == MEMBERS
    assert [each.state for each in found.legs] == ["RINGING"] * PAGE + ["WAITING"] * (SIZE - PAGE)


async def test_a_time_out_ends_all(large: Shard) -> None:
    await large.event(*e.invite(to="team"))
    await large.relay()
    told = await e.later(large, 60_000) + await large.relay()
    assert groups.stopped(told) == phones(MEMBERS)
    assert e.outcome(told, "inviteRejected") == (408, "timeout")
    record = e.one(told, "INVITE_COMPLETED").payload["candidates"]
    assert [each["address"] for each in record] == MEMBERS
    assert {each["endReason"] for each in record} == {408}


async def test_legs_whose_cancel_never_came_end_by_themselves(large: Shard) -> None:
    await large.event(*e.invite(to="team"))
    await large.relay()
    told = await large.event(*e.accept("m00-phone", "m00")) + await e.later(large, 62_000)
    assert groups.stopped(told) == phones(MEMBERS[1:])
    assert len(of_type(told, "INVITE_COMPLETED")) == 1
    assert await large.relay() == []


async def test_all_declining_ends_it_with_the_last(large: Shard) -> None:
    await large.event(*e.invite(to="team"))
    await large.relay()
    told = await e.in_order(large, *(e.decline(f"{one}-phone", one, errorCode=486) for one in MEMBERS[:-1]))
    assert set(e.types(told)) == {"answer"}
    told = await large.event(*e.decline("m49-phone", "m49", errorCode=480))
    assert e.outcome(told, "inviteRejected") == (486, "busy")


async def test_a_group_as_large_as_may_be_is_called(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="all", max_group_size=2_000))
    members = [f"m{at:04}" for at in range(2_000)]
    groups.team(shard, *members)
    await e.in_order(shard, e.joined("somebody"), e.registered("phone", members[-1]))
    told = await shard.event(*e.invite(to="team")) + await shard.relay()
    assert groups.rung(told) == ["phone"]
    told = await shard.event(*e.accept("phone", members[-1]))
    assert len(e.one(told, "INVITE_COMPLETED").payload["candidates"]) == 2_000


async def test_a_call_that_a_former_release_has_made_goes_on(large: Shard) -> None:
    """It has no pages, another word for a leg that rings, and messages with fewer arguments."""
    await large.event(*e.invite(to="team"))
    await one_page(large)
    key = large.keys.legs(groups.TEAM)
    for name, raw in (await large.hash(key)).items():
        leg = json.loads(raw) if "|" not in name else {}
        if leg.get("state") == "RINGING":
            await large.client.hset(key, name, json.dumps({"at": leg["at"], "state": "OPEN"}))
        elif not leg:
            await large.client.hdel(key, name)
    await large.client.hdel(large.keys.invite(groups.TEAM), "called", "begun")

    told = await hears(large, "leg_counts", "team", groups.TEAM, "m00", "0", "1", "0")
    assert e.one(told, "inviteProgress").payload["code"] == 180
    assert await hears(large, "leg_began", "team", groups.TEAM) == []
    told = await hears(large, "legs_start", "team", groups.TEAM) + await large.relay()
    assert groups.rung(told) == phones(MEMBERS[PAGE:])
    told = await large.event(*e.accept("m30-phone", "m30")) + await large.relay()
    assert groups.stopped(told) == phones(MEMBERS[:30] + MEMBERS[31:])


# -- what pages read


@pytest.fixture
async def huge() -> AsyncIterator[Shard]:
    """A shard in which a group has 5,000 members, each with a phone. The server's slow log keeps all commands."""
    with Node({"slowlog-log-slower-than": "0", "slowlog-max-len": "10000"}) as node:
        async with Redis.from_url(node.url) as client:
            shard = await Shard.make(client, Settings(look_up="all", max_group_size=5_000))
            members = [Member(f"m{at:04}", peers=(f"m{at:04}-phone",)) for at in range(5_000)]
            shard.found["team"] = LookupResult(known=True, members=members)
            yield shard


async def legs_read(shard: Shard) -> tuple[int, int]:
    """Settle the next page; return how many devices hear of it, and how many fields of the legs it reads."""
    page = await one_page(shard)
    await shard.client.slowlog_reset()
    await shard.committer.commit([page], SettleMode(Stream.RELAY))
    commands = [each["command"].split(b" ") for each in await shard.client.slowlog_get(10_000)]
    about = [each for each in commands if len(each) > 1 and each[1].endswith(b":legs:alice|1|team")]
    reads = [each for each in about if each[0] in {b"HGET", b"HMGET", b"HGETALL", b"HVALS", b"HSCAN"}]
    assert {each[0] for each in reads} <= {b"HGET", b"HMGET"}
    return sum(len(each.peers) for each in await shard.told()), sum(len(each) - 2 for each in reads)


async def test_a_page_reads_no_other_legs(huge: Shard) -> None:
    await huge.event(*e.invite(to="team"))
    for _ in range(2):
        assert await legs_read(huge) == (PAGE, PAGE + 1)
    await one_page(huge)  # the next ones would start
    await huge.event(*e.invite(to="team", context="new"))
    assert await legs_read(huge) == (PAGE, PAGE + 1)
    await one_page(huge)  # the next ones would hear the news
    await huge.event(*e.stop(callee="team"))
    assert await legs_read(huge) == (0, 10)  # ten have missed the call
    assert await legs_read(huge) == (PAGE, PAGE + 1)
