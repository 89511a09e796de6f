"""The number that a trunk must dial."""

import pytest

from invites.lookup.result import LookupResult
from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import MakeShard, Notification, Shard, of_type

NUMBER = "+4930123456"


def numbers(told: list[Notification]) -> dict[tuple[str, ...], str | None]:
    """The peers of each invitation, with the number that it carries."""
    return {tuple(one.peers): one.payload.get("number") for one in of_type(told, "invitation")}


@pytest.fixture
async def phones(make_shard: MakeShard) -> Shard:
    """A shard whose Reachability service knows a number of Bob's; he has a device and there is a trunk."""
    shard = await make_shard(Settings(look_up="reachability", remove_after=5_000))
    shard.found["bob"] = LookupResult(known=True, phone=NUMBER)
    await e.in_order(shard, e.trunk("gw", r"\+49\d+"), e.registered("phone"))
    return shard


async def test_a_trunk_hears_the_number_of_a_user_in_an_entry_of_its_own(phones: Shard) -> None:
    told = await phones.event(*e.invite())
    assert numbers(told) == {("phone",): None, ("gw",): NUMBER}
    first, second = of_type(told, "invitation")
    assert first.payload | second.payload == first.payload | {"number": NUMBER}
    assert [one.users for one in of_type(told, "invitation") if one.peers == ["gw"]] == [["sip"]]


async def test_an_update_tells_the_number_once_more(phones: Shard) -> None:
    await phones.event(*e.invite())
    told = await phones.event(*e.invite(context="new"))
    assert numbers(told) == {("phone",): None, ("gw",): NUMBER}


async def test_a_trunk_that_is_back_hears_the_number(phones: Shard) -> None:
    await e.in_order(phones, e.invite(), e.disconnected("gw", "sip"))
    assert numbers(await phones.event(*e.trunk("gw", r"\+49\d+"))) == {("gw",): NUMBER}


async def test_all_stop_at_once(phones: Shard) -> None:
    told = await e.in_order(phones, e.invite(), e.stop())
    assert e.recipients(told, "invitationCancel") == {"phone", "gw"}
    assert "number" not in e.one(told, "invitationCancel").payload


async def test_a_number_that_is_called_is_told_like_any_other(shard: Shard) -> None:
    assert numbers(await e.in_order(shard, e.trunk("gw"), e.invite(to=NUMBER))) == {("gw",): NUMBER}


async def test_a_group_calls_the_number_of_a_member(home: Shard) -> None:
    groups.last_member_is(home, NUMBER)
    await home.event(*e.trunk("gw", r"\+49\d+"))
    assert numbers(await home.event(*e.invite(to="team")))[("gw",)] == NUMBER
