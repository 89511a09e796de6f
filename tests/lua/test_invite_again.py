"""The same ref again: updates and repeats while it is pending, and after its end."""

import pytest

from tests.support import events as e
from tests.support.shard import MakeShard, Shard, of_type, peer


async def test_a_plain_repeat_rings_nobody_and_tells_the_progress_again(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", context={"n": 1}, transaction="t1")
    told = await shard.event(*e.invite(context={"n": 1}, transaction="t2"))

    assert e.types(told) == ["inviteProgress"]
    payload = e.one(told, "inviteProgress").payload
    assert (payload["code"], payload["candidates"], payload["transaction"]) == (100, 1, "t2")


async def test_a_repeat_while_a_device_rings_is_told_180(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.registered("tablet"), e.invite(), e.ringing("phone"))
    payload = e.one(await shard.event(*e.invite()), "inviteProgress").payload
    assert (payload["code"], payload["candidates"], payload["ringing"]) == (180, 2, 1)


async def test_a_repeat_after_the_only_ringing_device_is_out_is_told_100(shard: Shard) -> None:
    await e.in_order(
        shard,
        e.registered("phone"),
        e.registered("tablet"),
        e.invite(),
        e.ringing("phone"),
        e.disconnected("phone"),
    )
    payload = e.one(await shard.event(*e.invite()), "inviteProgress").payload
    assert (payload["code"], payload["candidates"], payload["ringing"]) == (100, 1, 0)


@pytest.mark.parametrize("field", ["context", "mediatypes"])
async def test_an_update_is_sent_to_the_devices_that_ring(shard: Shard, field: str) -> None:
    await e.in_order(shard, e.registered("phone"), e.registered("tablet"), e.registered("desk"))
    await e.in_order(
        shard,
        ("invite", e.invite()[1] | {field: ["old"]}),
        e.ringing("phone"),
        e.decline("desk", errorCode=486),
    )
    told = await shard.event("invite", e.invite()[1] | {field: ["new"]})

    assert e.types(told) == ["invitation", "inviteProgress"]
    invitation = e.one(told, "invitation")
    assert set(invitation.peers) == {"phone", "tablet"}
    assert (invitation.payload[field], invitation.payload["resumed"]) == (["new"], True)


async def test_an_update_keeps_what_it_does_not_name(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", context={"n": 1}, mediatypes=["audio"], fromDetails={"name": "A"})
    told = await shard.event(*e.invite(mediatypes=["audio", "video"]))

    payload = e.one(told, "invitation").payload
    assert (payload["context"], payload["mediatypes"], payload["fromDetails"]) == (
        {"n": 1}, ["audio", "video"], {"name": "A"},
    )  # fmt: skip


async def test_an_update_moves_no_deadline_and_no_room(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await e.later(shard, 20_000)
    told = await shard.event(*e.invite(room="elsewhere", expires=100_000, context={"n": 2}))

    payload = e.one(told, "invitation").payload
    assert (payload["expiresIn"], payload["room"]) == (e.RING - 20_000, "r")


async def test_white_space_alone_is_no_update(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", context={"n": [1, 2]})
    raw = (
        b'{ "peer": {"id":"a","user":"alice"}, "to":"bob","inviteId":"1","room":"r",'
        b'\n"context": {"n" : [1 ,\t2]} }'
    )
    assert e.types(await shard.event("invite", raw)) == ["inviteProgress"]


async def test_details_of_the_inviter_alone_ring_nobody_but_are_kept(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    assert e.types(await shard.event(*e.invite(fromDetails={"name": "A"}))) == ["inviteProgress"]
    told = await shard.event(*e.registered("tablet"))
    assert e.one(told, "invitation").payload["fromDetails"] == {"name": "A"}


async def test_a_device_within_its_grace_is_not_sent_an_update_but_hears_it_when_it_is_back(
    make_shard: MakeShard,
) -> None:
    shard = await make_shard(e.GRACE)
    await e.in_order(shard, e.registered("phone"), e.invite(context=1), e.disconnected("phone"))
    assert e.types(await shard.event(*e.invite(context=2))) == ["inviteProgress"]
    assert e.one(await shard.event(*e.registered("phone")), "invitation").payload["context"] == 2


async def test_an_update_that_was_overtaken_by_a_later_one_changes_nothing(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", context="first")
    told = await e.arriving(shard, [e.invite(context="second"), e.invite(context="third")], [1, 0])

    assert e.one(told, "invitation").payload["context"] == "third"
    assert len(of_type(told, "inviteProgress")) == 2
    assert (await shard.invite(e.REF))["context"] == '"third"'


async def test_an_update_that_overtakes_its_invite_keeps_its_word(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    told = await e.arriving(shard, [e.invite(context="first"), e.invite(context="second")], [1, 0])

    assert e.one(told, "invitation").payload["context"] == "second"
    assert (await shard.invite(e.REF))["context"] == '"second"'


async def test_a_repeat_from_another_device_of_the_inviter_makes_that_one_hear_the_outcome(
    shard: Shard,
) -> None:
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.invite(by=peer("a2", "alice")))
    assert e.one(told, "inviteProgress").peers == ["a2"]

    told = await shard.event(*e.accept("phone"))
    assert e.one(told, "inviteAccepted").peers == ["a2"]


async def test_an_overtaken_repeat_from_another_device_is_told_but_does_not_become_the_caller(
    shard: Shard,
) -> None:
    await e.bob_rings(shard, "phone")
    told = await e.arriving(
        shard, [e.invite(by=peer("a2", "alice")), e.invite(by=peer("a3", "alice"))], [1, 0]
    )
    assert [notification.peers for notification in told] == [["a3"], ["a2"]]

    assert e.one(await shard.event(*e.accept("phone")), "inviteAccepted").peers == ["a3"]


async def test_after_an_accept_a_repeat_is_told_who_accepted_again(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    first = e.one(await shard.event(*e.accept("phone")), "inviteAccepted")
    told = await shard.event(*e.invite())

    assert e.types(told) == ["inviteAccepted"]
    assert e.one(told, "inviteAccepted").payload == first.payload
    assert e.one(told, "inviteAccepted").id != first.id


async def test_after_the_end_a_repeat_from_another_device_is_told_there_alone(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(), e.decline("phone"))
    told = await shard.event(*e.invite(by=peer("a2", "alice"), context="new"))

    assert e.types(told) == ["inviteRejected"]
    assert e.recipients(told, "inviteRejected") == {"a2"}
    assert e.outcome(told, "inviteRejected") == (603, "declined")


async def test_after_a_time_out_a_repeat_is_told_408_and_rings_nobody(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await e.later(shard, e.RING)
    told = await shard.event(*e.invite())
    assert e.types(told) == ["inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (408, "timeout")


@pytest.mark.one_shard
async def test_a_ref_may_be_used_again_once_the_ended_invite_is_forgotten(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(), e.stop())
    await e.later(shard, 300_000)
    assert e.types(await shard.event(*e.invite())) == ["invitation", "inviteProgress"]


async def test_a_repeat_of_what_nobody_could_answer_is_told_again_and_recorded_once(shard: Shard) -> None:
    await shard.event(*e.invite())
    told = await shard.event(*e.invite(by=e.ALICE))
    assert e.types(told) == ["inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (404, "not_found")


async def test_the_same_ref_as_a_request_stays_the_invite_that_it_was(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", context="old")
    told = await shard.event(
        "inviteRequest", {"peer": e.ALICE, "to": "bob", "inviteId": "1", "context": "new"}
    )

    payload = e.one(told, "invitation").payload
    assert (payload["inviteRequest"], payload["room"], payload["context"]) == (False, "r", "new")
