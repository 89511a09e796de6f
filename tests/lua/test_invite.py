"""invite: who is rung, what the inviter is told, and when nobody can be rung."""

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support.shard import Json, MakeShard, Shard, peer


async def test_all_devices_are_rung_in_one_notification(shard: Shard) -> None:
    told = await e.bob_rings(shard, "phone", "tablet", "desk")

    assert e.recipients(told, "invitation") == {"phone", "tablet", "desk"}
    assert e.one(told, "invitation").users == ["bob"]


async def test_the_inviter_is_told_100_and_how_many_devices_are_called(shard: Shard) -> None:
    told = await e.bob_rings(shard, "phone", "tablet", transaction="t-7")

    progress = e.one(told, "inviteProgress")
    assert progress.peers == ["a"]
    assert progress.users == ["alice"]
    assert progress.payload == {
        "inviteId": "1", "from": "alice", "to": "bob", "code": 100, "candidates": 2, "ringing": 0, "pushed": 0,
        "transaction": "t-7",
    }  # fmt: skip


async def test_a_valid_invite_is_never_answered(shard: Shard) -> None:
    assert e.types(await e.bob_rings(shard, "phone", transaction="t")) == ["invitation", "inviteProgress"]


@pytest.mark.parametrize("transaction", ["text", 'quoted "text"', "", 7, -1, 2**53 - 1])
async def test_a_transaction_comes_back_as_it_was_sent(shard: Shard, transaction: str | int) -> None:
    told = await e.bob_rings(shard, "phone", transaction=transaction)

    assert e.one(told, "inviteProgress").payload["transaction"] == transaction


async def test_what_only_passes_through_arrives_unchanged(shard: Shard) -> None:
    context: Json = {
        "empty list": [],
        "empty object": {},
        "null": None,
        "number": 1.5e300,
        "ümläut \u2028": '𝄞 \x7f\\"',
    }
    media, details = {"audio": True, "list": [[], {}]}, [{"name": "Älice"}, []]
    told = await e.bob_rings(shard, "phone", context=context, mediatypes=media, fromDetails=details)

    payload = e.one(told, "invitation").payload
    assert (payload["context"], payload["mediatypes"], payload["fromDetails"]) == (context, media, details)


async def test_what_is_absent_is_null(shard: Shard) -> None:
    payload = e.one(await e.bob_rings(shard, "phone"), "invitation").payload

    assert (payload["context"], payload["mediatypes"], payload["fromDetails"]) == (None, None, None)


async def test_nobody_such_is_rejected_at_once_with_404(shard: Shard) -> None:
    told = await shard.event(*e.invite())

    assert e.types(told) == ["INVITE_COMPLETED", "inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (404, "not_found")
    assert e.one(told, "inviteRejected").peers == ["a"]
    record = e.one(told, "INVITE_COMPLETED").payload
    assert (record["state"], record["error"], record["candidates"]) == ("DECLINED", 404, [])


async def test_a_known_user_without_devices_is_rejected_at_once_with_480(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.disconnected("phone"))
    told = await shard.event(*e.invite())

    assert e.types(told) == ["INVITE_COMPLETED", "callMissed", "inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")


async def test_a_guest_that_was_there_is_not_known(shard: Shard) -> None:
    await shard.event(*e.disconnected("phone"))
    assert e.outcome(await shard.event(*e.invite()), "inviteRejected") == (404, "not_found")


async def test_a_registration_that_its_end_has_overtaken_makes_the_user_known(shard: Shard) -> None:
    came, went = await shard.publish(*e.registered("phone")), await shard.publish(*e.disconnected("phone"))
    await shard.settle(went)
    await shard.settle(came)
    assert e.outcome(await shard.event(*e.invite()), "inviteRejected") == (480, "unreachable")


@pytest.mark.one_shard
async def test_a_user_who_was_last_there_an_hour_ago_is_known_no_more(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.disconnected("phone"))
    await e.later(shard, 3_599_999)
    assert e.outcome(await shard.event(*e.invite()), "inviteRejected") == (480, "unreachable")
    await e.later(shard, 1)
    assert e.outcome(await shard.event(*e.invite(invite_id="2")), "inviteRejected") == (404, "not_found")


async def test_the_inviting_peer_is_never_its_own_candidate_nor_are_the_inviters_other_devices(
    shard: Shard,
) -> None:
    await e.in_order(shard, e.registered("a", "alice"), e.registered("a2", "alice"))
    told = await shard.event(*e.invite(to="alice"))

    assert e.types(told) == ["INVITE_COMPLETED", "inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")


async def test_a_peer_of_the_callee_under_the_inviting_peers_id_is_not_rung(shard: Shard) -> None:
    await e.in_order(shard, e.registered("a", "bob"), e.registered("phone"))
    assert e.recipients(await shard.event(*e.invite()), "invitation") == {"phone"}


async def test_the_inviter_needs_no_registration(shard: Shard) -> None:
    told = await e.bob_rings(shard, "phone", by=peer("guest-peer", "guest"))
    assert e.one(told, "inviteProgress").peers == ["guest-peer"]


async def test_two_inviters_may_choose_the_same_invite_id(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.invite(by=peer("c", "carol")))

    assert e.one(told, "invitation").payload["from"] == "carol"
    assert (await shard.invite(e.REF))["state"] == (await shard.invite("carol|1|bob"))["state"] == "PENDING"


async def test_one_inviter_may_call_two_callees_under_one_invite_id(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.registered("c", "carol"), e.invite())
    told = await shard.event(*e.invite(to="carol"))
    assert e.recipients(told, "invitation") == {"c"}


async def test_ids_of_any_script_work(shard: Shard) -> None:
    user, device, room = "bøb@例え.jp", 'te"l\\1', "𝄞:/?#[]"
    await shard.event(*e.registered(device, user))
    told = await shard.event(*e.invite(to=user, room=room, invite_id="'%d"))

    assert e.recipients(told, "invitation") == {device}
    assert (e.one(told, "invitation").payload["to"], e.one(told, "invitation").payload["room"]) == (
        user,
        room,
    )
    assert await e.states(shard, f"alice|'%d|{user}") == {device: "CALLED"}


async def test_the_ring_time_counts_from_the_entry_of_the_event(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    operation = await shard.publish(*e.invite())
    shard.now += 20_000
    await shard.settle(operation)

    assert e.one(await shard.told(), "invitation").payload["expiresIn"] == e.RING - 20_000
    assert e.outcome(await e.later(shard, e.RING - 20_000), "inviteRejected") == (408, "timeout")


async def test_an_invite_out_of_a_backlog_is_born_ended_and_rings_nobody(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    operation = await shard.publish(*e.invite(mediatypes=["audio"]))
    shard.now += e.RING
    await shard.settle(operation)
    told = await shard.told()

    assert e.types(told) == ["INVITE_COMPLETED", "callMissed", "inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (408, "timeout")
    record = e.one(told, "INVITE_COMPLETED").payload
    assert (record["state"], record["error"], record["candidates"]) == ("DECLINED_BY_TIMEOUT", 408, [])
    assert (record["startedAt"], record["endedAt"]) == (shard.now - e.RING, shard.now)


async def test_an_invite_in_the_last_moment_of_its_ring_time_rings(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    operation = await shard.publish(*e.invite())
    shard.now += e.RING - 1
    await shard.settle(operation)
    assert e.one(await shard.told(), "invitation").payload["expiresIn"] == 1


async def test_an_invite_out_of_a_clock_that_is_ahead_rings_no_longer_than_others(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    kind, payload = e.invite()
    await shard.settle(await shard.publish(kind, payload, entry=f"{shard.now + 3_600_000}-0"))
    assert e.one(await shard.told(), "invitation").payload["expiresIn"] == e.RING


async def test_every_candidate_is_in_the_record_of_the_end(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    assert e.end_reasons(await e.later(shard, e.RING)) == {"phone": 408, "tablet": 408}


async def test_a_call_of_a_guest_peer_that_has_the_id_of_a_device_of_the_callee(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    told = await shard.event(*e.invite(by=peer("phone", "carol")))
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")


async def test_many_calls_to_one_user_ring_beside_each_other(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(per_pair=0, redial="ring"))
    await shard.event(*e.registered("phone"))
    for number in range(30):
        told = await shard.event(*e.invite(by=e.ALICE, invite_id=str(number)))
        assert e.recipients(told, "invitation") == {"phone"}
    assert await shard.client.scard(shard.keys.pending("bob")) == 30
