"""invite: who is rung, what the inviter hears, and when nobody can be rung."""

import pytest

from tests.conftest import MakeShard
from tests.support.events import (
    ALICE,
    REF,
    RING,
    bob_rings,
    disconnected,
    end_reasons,
    in_order,
    invite,
    later,
    one,
    outcome,
    recipients,
    registered,
    states,
    types,
)
from tests.support.shard import Json, Shard, peer


async def test_all_devices_are_rung_in_one_notification(shard: Shard) -> None:
    told = await bob_rings(shard, "phone", "tablet", "desk")

    assert recipients(told, "invitation") == {"phone", "tablet", "desk"}
    assert one(told, "invitation").users == ["bob"]


async def test_the_inviter_is_told_100_and_how_many_devices_are_called(shard: Shard) -> None:
    told = await bob_rings(shard, "phone", "tablet", transaction="t-7")

    progress = one(told, "inviteProgress")
    assert progress.peers == ["a"]
    assert progress.users == ["alice"]
    assert progress.payload == {
        "inviteId": "1", "from": "alice", "to": "bob", "code": 100, "candidates": 2, "ringing": 0, "pushed": 0,
        "transaction": "t-7",
    }  # fmt: skip


async def test_a_valid_invite_is_never_answered(shard: Shard) -> None:
    assert types(await bob_rings(shard, "phone", transaction="t")) == ["invitation", "inviteProgress"]


@pytest.mark.parametrize("transaction", ["text", 'quoted "text"', "", 7, -1, 2**53 - 1])
async def test_a_transaction_comes_back_as_it_was_sent(shard: Shard, transaction: str | int) -> None:
    told = await bob_rings(shard, "phone", transaction=transaction)

    assert one(told, "inviteProgress").payload["transaction"] == transaction


async def test_what_only_passes_through_arrives_unchanged(shard: Shard) -> None:
    context: Json = {
        "empty list": [],
        "empty object": {},
        "null": None,
        "number": 1.5e300,
        "ümläut \u2028": '𝄞 \x7f\\"',
    }
    media, details = {"audio": True, "list": [[], {}]}, [{"name": "Älice"}, []]
    told = await bob_rings(shard, "phone", context=context, mediatypes=media, fromDetails=details)

    payload = one(told, "invitation").payload
    assert (payload["context"], payload["mediatypes"], payload["fromDetails"]) == (context, media, details)


async def test_what_is_absent_is_null(shard: Shard) -> None:
    payload = one(await bob_rings(shard, "phone"), "invitation").payload

    assert (payload["context"], payload["mediatypes"], payload["fromDetails"]) == (None, None, None)


async def test_nobody_such_is_rejected_at_once_with_404(shard: Shard) -> None:
    told = await shard.event(*invite())

    assert types(told) == ["INVITE_COMPLETED", "inviteRejected"]
    assert outcome(told, "inviteRejected") == (404, "not_found")
    assert one(told, "inviteRejected").peers == ["a"]
    record = one(told, "INVITE_COMPLETED").payload
    assert (record["state"], record["error"], record["candidates"]) == ("DECLINED", 404, [])


async def test_a_known_user_without_devices_is_rejected_at_once_with_480(shard: Shard) -> None:
    await in_order(shard, registered("phone"), disconnected("phone"))
    told = await shard.event(*invite())

    assert types(told) == ["INVITE_COMPLETED", "inviteRejected"]
    assert outcome(told, "inviteRejected") == (480, "unreachable")


@pytest.mark.one_shard
async def test_a_user_who_was_last_there_an_hour_ago_is_known_no_more(shard: Shard) -> None:
    await in_order(shard, registered("phone"), disconnected("phone"))
    await later(shard, 3_599_999)
    assert outcome(await shard.event(*invite()), "inviteRejected") == (480, "unreachable")
    await later(shard, 1)
    assert outcome(await shard.event(*invite(invite_id="2")), "inviteRejected") == (404, "not_found")


async def test_the_inviting_peer_is_never_its_own_candidate_nor_are_the_inviters_other_devices(
    shard: Shard,
) -> None:
    await in_order(shard, registered("a", "alice"), registered("a2", "alice"))
    told = await shard.event(*invite(to="alice"))

    assert types(told) == ["INVITE_COMPLETED", "inviteRejected"]
    assert outcome(told, "inviteRejected") == (480, "unreachable")


async def test_a_peer_of_the_callee_under_the_inviting_peers_id_is_not_rung(shard: Shard) -> None:
    await in_order(shard, registered("a", "bob"), registered("phone"))
    assert recipients(await shard.event(*invite()), "invitation") == {"phone"}


async def test_the_inviter_needs_no_registration(shard: Shard) -> None:
    told = await bob_rings(shard, "phone", by=peer("guest-peer", "guest"))
    assert one(told, "inviteProgress").peers == ["guest-peer"]


async def test_two_inviters_may_choose_the_same_invite_id(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    told = await shard.event(*invite(by=peer("c", "carol")))

    assert one(told, "invitation").payload["from"] == "carol"
    assert (await shard.invite(REF))["state"] == (await shard.invite("carol|1|bob"))["state"] == "PENDING"


async def test_one_inviter_may_call_two_callees_under_one_invite_id(shard: Shard) -> None:
    await in_order(shard, registered("phone"), registered("c", "carol"), invite())
    told = await shard.event(*invite(to="carol"))
    assert recipients(told, "invitation") == {"c"}


async def test_ids_of_any_script_work(shard: Shard) -> None:
    user, device, room = "bøb@例え.jp", 'te"l\\1', "𝄞:/?#[]"
    await shard.event(*registered(device, user))
    told = await shard.event(*invite(to=user, room=room, invite_id="'%d"))

    assert recipients(told, "invitation") == {device}
    assert (one(told, "invitation").payload["to"], one(told, "invitation").payload["room"]) == (user, room)
    assert await states(shard, f"alice|'%d|{user}") == {device: "CALLED"}


async def test_the_ring_time_counts_from_the_entry_of_the_event(shard: Shard) -> None:
    await shard.event(*registered("phone"))
    operation = await shard.publish(*invite())
    shard.now += 20_000
    await shard.settle(operation)

    assert one(await shard.told(), "invitation").payload["expiresIn"] == RING - 20_000
    assert outcome(await later(shard, RING - 20_000), "inviteRejected") == (408, "timeout")


async def test_an_invite_out_of_a_backlog_is_born_ended_and_rings_nobody(shard: Shard) -> None:
    await shard.event(*registered("phone"))
    operation = await shard.publish(*invite(mediatypes=["audio"]))
    shard.now += RING
    await shard.settle(operation)
    told = await shard.told()

    assert types(told) == ["INVITE_COMPLETED", "inviteRejected"]
    assert outcome(told, "inviteRejected") == (408, "timeout")
    record = one(told, "INVITE_COMPLETED").payload
    assert (record["state"], record["error"], record["candidates"]) == ("DECLINED_BY_TIMEOUT", 408, [])
    assert (record["startedAt"], record["endedAt"]) == (shard.now - RING, shard.now)


async def test_an_invite_in_the_last_moment_of_its_ring_time_rings(shard: Shard) -> None:
    await shard.event(*registered("phone"))
    operation = await shard.publish(*invite())
    shard.now += RING - 1
    await shard.settle(operation)
    assert one(await shard.told(), "invitation").payload["expiresIn"] == 1


async def test_an_invite_out_of_a_clock_that_is_ahead_rings_no_longer_than_others(shard: Shard) -> None:
    await shard.event(*registered("phone"))
    kind, payload = invite()
    await shard.settle(await shard.publish(kind, payload, entry=f"{shard.now + 3_600_000}-0"))
    assert one(await shard.told(), "invitation").payload["expiresIn"] == RING


async def test_every_candidate_is_in_the_record_of_the_end(shard: Shard) -> None:
    await bob_rings(shard, "phone", "tablet")
    assert end_reasons(await later(shard, RING)) == {"phone": 408, "tablet": 408}


async def test_a_call_of_a_guest_peer_that_has_the_id_of_a_device_of_the_callee(shard: Shard) -> None:
    await shard.event(*registered("phone"))
    told = await shard.event(*invite(by=peer("phone", "carol")))
    assert outcome(told, "inviteRejected") == (480, "unreachable")


async def test_many_calls_to_one_user_ring_beside_each_other(make_shard: MakeShard) -> None:
    shard = await make_shard()
    await shard.event(*registered("phone"))
    for number in range(30):
        told = await shard.event(*invite(by=ALICE, invite_id=str(number)))
        assert recipients(told, "invitation") == {"phone"}
    assert await shard.client.scard(shard.keys.pending("bob")) == 30
