"""A call with `probe`: it rings like any other, reaches only registered devices, and leaves no record."""

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support.shard import MakeShard, Shard, of_type, peer


async def kinds(shard: Shard, event: e.Published) -> list[str]:
    return sorted(each.type for each in await shard.event(*event))


async def test_it_rings_and_stops_as_any_call_and_has_no_record(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    await shard.event(*e.registered("tablet"))
    assert await kinds(shard, e.invite(probe=True)) == ["invitation", "inviteProgress"]
    told = await shard.event(*e.accept("phone"))
    (cancel,) = of_type(told, "invitationCancel")
    assert (cancel.peers, cancel.payload["code"]) == (["tablet"], 200)
    assert sorted(each.type for each in told) == ["answer", "invitationCancel", "inviteAccepted"]


@pytest.mark.parametrize("flag", [False, None])
async def test_without_the_flag_there_is_a_record(shard: Shard, flag: bool | None) -> None:
    await shard.event(*e.registered("phone"))
    await shard.event(*e.invite(probe=flag))
    assert "INVITE_COMPLETED" in await kinds(shard, e.accept("phone"))


async def test_it_has_no_record_however_it_ends(shard: Shard) -> None:
    assert await kinds(shard, e.invite(probe=True, invite_id="nobody")) == ["inviteRejected"]
    await shard.event(*e.registered("phone"))
    for end in (e.stop(), e.decline("phone", errorCode=603)):
        await shard.event(*e.invite(probe=True, invite_id=end[0]))
        assert "INVITE_COMPLETED" not in await kinds(shard, (end[0], end[1] | {"inviteId": end[0]}))
    await shard.event(*e.invite(probe=True, invite_id="late", expires=5_000))
    shard.now += 5_001
    assert sorted(each.type for each in await shard.fire()) == ["invitationCancel", "inviteRejected"]


async def test_a_repeat_without_the_flag_changes_nothing(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    await shard.event(*e.invite(probe=True))
    await shard.event(*e.invite())
    assert "INVITE_COMPLETED" not in await kinds(shard, e.accept("phone"))


async def test_nobody_is_asked_for_an_unknown_callee(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="all"))
    (rejected,) = await shard.event(*e.invite(probe=True))
    assert (rejected.type, rejected.payload["code"]) == ("inviteRejected", 480)


@pytest.mark.parametrize("parallel", [False, True])
async def test_no_trunk_rings(make_shard: MakeShard, parallel: bool) -> None:
    shard = await make_shard(Settings(parallel_sip=parallel))
    await shard.event(*e.trunk("gateway"))
    (rejected,) = await shard.event(*e.invite(probe=True))
    assert (rejected.type, rejected.payload["reason"]) == ("inviteRejected", "unreachable")
    await shard.event(*e.registered("phone"))
    (invitation,) = of_type(await shard.event(*e.invite(probe=True, invite_id="2")), "invitation")
    assert invitation.peers == ["phone"]


@pytest.mark.parametrize(
    "settings", [Settings(when_busy="reject"), Settings(only_one_device_with_invitations=True)]
)
async def test_it_makes_nobody_busy(make_shard: MakeShard, settings: Settings) -> None:
    shard = await make_shard(settings)
    await shard.event(*e.registered("phone"))
    await shard.event(*e.invite(probe=True))
    assert "userBusy" not in await kinds(shard, e.accept("phone"))


async def test_it_meets_no_call_of_its_callee(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(glare="merge"))
    await e.in_order(shard, e.registered("a", "alice"), e.registered("phone"), e.invite())
    told = await shard.event(*e.invite(by=peer("phone", "bob"), to="alice", invite_id="2", probe=True))
    assert e.recipients(told, "invitation") == {"a"}
    told = await shard.event(*e.invite(by=peer("tablet", "bob"), to="alice", invite_id="3"))
    assert {each.payload["from"] for each in of_type(told, "inviteAccepted")} == {"alice", "bob"}
