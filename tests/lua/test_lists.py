"""What the lists of invites find, by which filter, page by page."""

from __future__ import annotations

from typing import Any

import pytest

from invites.queries import lists, sources
from invites.queries.lists import CursorError, Filter, InviteLists
from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import MakeShard, Shard, peer


async def listed(shard: Shard, limit: int = lists.MOST, **asked: Any) -> set[str]:
    """The refs of all pages; no page may be longer than the limit, or repeat another."""
    read, cursor, found = InviteLists(shard.all_keys, shard.client_of), None, list[str]()
    for _ in range(1_000):
        page = await read.page(Filter(**asked), limit, cursor)
        assert len(page.invites) <= limit
        assert page.more is (page.cursor is not None)
        found += [row.ref for row in page.invites]
        cursor = page.cursor
        if cursor is None:
            break
    assert len(found) == len(set(found))
    return set(found)


async def test_what_rings_by_user_room_and_time(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await shard.event(*e.registered("c1", "carol"))
    shard.now += 1_000
    await shard.event(*e.invite(to="carol", invite_id="2", room="s"))
    await shard.event(*e.invite(peer("c1", "carol"), invite_id="3", room="s"))
    first, second, third = e.REF, "alice|2|carol", "carol|3|bob"
    assert await listed(shard) == {first, second, third}
    assert await listed(shard, user="alice") == {first, second}
    assert await listed(shard, user="bob") == {first, third}
    assert await listed(shard, user="carol") == {second, third}
    assert await listed(shard, room="s") == {second, third}
    assert await listed(shard, room="s", user="bob") == {third}
    assert await listed(shard, since=shard.now) == {second, third}
    assert await listed(shard, user="nobody") == await listed(shard, room="nowhere") == set()
    await shard.event(*e.accept("phone"))
    assert await listed(shard, user="bob") == {third}


async def test_what_has_ended(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await shard.event(*e.invite(invite_id="2", to="nobody*[", room="s"))
    await shard.event(*e.invite(peer("x", "bobby"), invite_id="3"))
    await shard.event(*e.decline("phone", errorCode=603))
    assert await listed(shard) == {"bobby|3|bob"}
    assert await listed(shard, state="ENDED") == {e.REF, "alice|2|nobody*["}
    assert await listed(shard, state="DECLINED", room="r") == {e.REF}
    assert await listed(shard, state="ACCEPTED") == set()
    assert await listed(shard, state="ALL", user="bob") == {e.REF, "bobby|3|bob"}
    assert await listed(shard, state="ALL", user="nobody*[") == {"alice|2|nobody*["}
    assert await listed(shard, state="ENDED", user="alice", room="s") == {"alice|2|nobody*["}


async def test_a_member_finds_the_call_of_its_group(called: Shard) -> None:
    rows = await InviteLists(called.all_keys, called.client_of).page(Filter(user="bob"))
    assert [(row.ref, row.kind, row.group) for row in rows.invites] == [("alice|1|bob", "leg", "team")]
    rows = await InviteLists(called.all_keys, called.client_of).page(Filter(user="alice"))
    assert [(row.ref, row.kind) for row in rows.invites] == [(groups.TEAM, "group")]
    assert {"alice|1|bob", "alice|1|carol", groups.TEAM} <= await listed(called)


@pytest.mark.one_shard
@pytest.mark.parametrize("asked", [{}, {"user": "alice"}, {"room": "r"}, {"state": "ALL"}], ids=str)
async def test_pages(make_shard: MakeShard, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Many begin in the same millisecond, and one command reads fewer than there are."""
    monkeypatch.setattr(sources, "_READ", 3)
    monkeypatch.setattr(lists, "_AT_ONCE", 2)
    shard = await make_shard(Settings(redial="ring", per_pair=0))
    await shard.event(*e.registered("phone", expires=60_000))
    refs = {f"alice|{number}|bob" for number in range(23)}
    for number in range(23):
        await shard.event(*e.invite(invite_id=str(number)))
    for limit in (1, 4, 23, 24):
        assert await listed(shard, limit, **asked) == refs


@pytest.mark.one_shard
async def test_a_page_is_bounded_however_many_timers_there_are(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_READ", 10)
    await shard.client.zadd(
        shard.keys.timers, {f"lapse|u|{number:04}": number // 50 for number in range(990)}
    )
    await e.bob_rings(shard, "phone")
    page = await InviteLists(shard.all_keys, shard.client_of).page(Filter())
    assert (page.invites, page.more) == ([], True)
    assert await listed(shard) == {e.REF}


@pytest.mark.one_shard
@pytest.mark.parametrize("cursor", ["", "x", "eHw", "OXw", "MHxpbmZ8cmluZw", "MHwtMXw", "\udcff", "é"])
async def test_a_cursor_that_no_page_has_returned(shard: Shard, cursor: str) -> None:
    with pytest.raises(CursorError):
        await InviteLists(shard.all_keys, shard.client_of).page(Filter(), cursor=cursor)


@pytest.mark.one_shard
async def test_keys_and_timers_of_a_wrong_kind_are_left_out(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await shard.client.zadd(shard.keys.timers, {b"ring|\xff": 1, "ring|a|b": 1, "ring|a|1|gone": 1, "odd": 1})
    await shard.client.set(shard.keys.invite("a|1|b"), "x", px=60_000)
    await shard.client.set(shard.keys.pending("carol"), "x", px=60_000)
    assert await listed(shard) == await listed(shard, state="ALL") == {e.REF}
    assert await listed(shard, user="carol") == set()
