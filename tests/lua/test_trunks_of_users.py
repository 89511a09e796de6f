"""Trunks of several users, and those that a release before 0.2.0 has registered: its fields name the peer alone."""

import pytest

from tests.support import events as e
from tests.support.shard import MakeShard, Shard, of_type, peer

GERMANY, AUSTRIA = "+4930123456", "+431234567"


async def former(shard: Shard, id_: str = "t", user: str = "sip") -> None:
    """Name the field of a trunk as a release before 0.2.0 does."""
    for keys in shard.all_keys:
        client = shard.client_of(keys)
        raw = await client.hget(keys.trunks, f"{user}|{id_}")
        if raw is not None:
            await client.hdel(keys.trunks, f"{user}|{id_}")
            await client.hset(keys.trunks, id_, raw)
            await client.set(keys.trunks_version, "former")


async def fields(shard: Shard) -> list[str]:
    return sorted(await shard.hash(shard.keys.trunks))


@pytest.fixture
async def two(shard: Shard) -> Shard:
    """Two users have a trunk each, with one peer id."""
    await e.in_order(shard, e.trunk("t", r"\+49\d+"), e.trunk("t", r"\+43\d+", user="tel"))
    return shard


async def test_trunks_of_two_users_may_have_one_peer_id(two: Shard) -> None:
    for number, user in ((GERMANY, "sip"), (AUSTRIA, "tel")):
        invitation = e.one(await two.event(*e.invite(to=number)), "invitation")
        assert (invitation.peers, invitation.users) == (["t"], [user])


async def test_the_end_of_one_of_them_leaves_the_other_alone(two: Shard) -> None:
    await e.in_order(two, e.invite(to=GERMANY), e.invite(to=AUSTRIA))
    told = await two.event(*e.disconnected("t", "tel"))
    assert e.one(told, "inviteRejected").payload["to"] == AUSTRIA
    assert "invitation" in e.types(await two.event(*e.invite(to=GERMANY, invite_id="2")))


async def test_a_call_of_one_of_them_is_not_the_others(two: Shard) -> None:
    await two.event(*e.invite(to=AUSTRIA))
    assert e.outcome(await two.event(*e.accept("t", "sip", to=AUSTRIA)), "answer") == (403, "forbidden")
    assert e.outcome(await two.event(*e.accept("t", "tel", to=AUSTRIA)), "answer") == (200, "accepted")


async def test_one_of_them_may_call_over_the_other(two: Shard) -> None:
    invitation = e.one(await two.event(*e.invite(by=peer("t", "sip"), to=AUSTRIA)), "invitation")
    assert invitation.users == ["tel"]


# --- during an upgrade


async def test_a_trunk_that_a_former_release_has_registered_leads_to_its_numbers(shard: Shard) -> None:
    await shard.event(*e.trunk("t"))
    await former(shard)
    told = await e.in_order(shard, e.invite(to=GERMANY), e.accept("t", "sip", to=GERMANY))
    assert e.recipients(told, "invitation") == {"t"}
    assert e.outcome(told, "answer") == (200, "accepted")


@pytest.mark.one_shard
async def test_while_it_is_registered_workers_of_both_releases_find_it_under_its_name(shard: Shard) -> None:
    await shard.event(*e.trunk("t", r"\+43\d+"))
    await former(shard)
    told = await e.in_order(shard, e.trunk("t", r"\+49\d+"), e.invite(to=GERMANY))
    assert e.recipients(told, "invitation") == {"t"}
    assert await fields(shard) == ["t"]


@pytest.mark.one_shard
@pytest.mark.parametrize(
    "ends", [e.disconnected("t", "sip"), e.registered("t", "sip")], ids=["end", "no-trunk"]
)
async def test_its_end_ends_the_name(shard: Shard, ends: e.Published) -> None:
    await shard.event(*e.trunk("t"))
    await former(shard)
    await shard.event(*ends)
    assert await fields(shard) == []
    await shard.event(*e.trunk("t"))
    assert await fields(shard) == ["sip|t"]


@pytest.mark.one_shard
async def test_its_device_under_another_peer_id_ends_the_name(make_shard: MakeShard) -> None:
    shard = await make_shard(e.GRACE)
    await shard.event(*e.trunk("t", device="box"))
    await former(shard)
    await e.in_order(shard, e.invite(to=GERMANY), e.trunk("t2", device="box"))
    assert await fields(shard) == ["sip|t2"]
    assert await e.states(shard, f"alice|1|{GERMANY}") == {"t2": "CALLED"}


async def test_it_lapses(shard: Shard) -> None:
    await shard.event(*e.trunk("t", expires=1_000))
    await former(shard)
    await e.later(shard, 1_000)
    assert await fields(shard) == []


async def test_a_trunk_of_another_user_has_a_field_of_its_own(shard: Shard) -> None:
    await shard.event(*e.trunk("t", r"\+49\d+"))
    await former(shard)
    told = await e.in_order(
        shard, e.trunk("t", r"\+43\d+", user="tel"), e.invite(to=GERMANY), e.invite(to=AUSTRIA)
    )
    assert [one.users for one in of_type(told, "invitation")] == [["sip"], ["tel"]]


@pytest.mark.one_shard
async def test_of_two_fields_of_a_trunk_the_later_registration_counts_and_an_end_ends_both(
    shard: Shard,
) -> None:
    """A worker of the older release does not see the first one."""
    await shard.event(*e.trunk("t", r"\+43\d+"))
    first = await shard.client.hget(shard.keys.trunks, "sip|t")
    await shard.event(*e.trunk("t", r"\+49\d+"))
    await former(shard)
    await shard.client.hset(shard.keys.trunks, "sip|t", first)
    assert e.recipients(await shard.event(*e.invite(to=GERMANY)), "invitation") == {"t"}
    assert e.outcome(await shard.event(*e.invite(to=AUSTRIA)), "inviteRejected") == (404, "not_found")
    await shard.event(*e.disconnected("t", "sip"))
    assert await fields(shard) == []
