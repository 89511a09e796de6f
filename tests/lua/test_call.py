"""A call from its invite to its end, on every kind of server."""

from tests.support.shard import Shard, of_type, peer


async def test_first_accept_wins_and_all_others_stop(shard: Shard) -> None:
    for device in ("phone", "tablet", "desk"):
        await shard.event("registered", {"registry": {"id": device, "user": "bob"}})
    told = await shard.event(
        "invite", {"peer": peer("a", "alice"), "to": "bob", "inviteId": "1", "room": "r"}
    )

    [invitation] = of_type(told, "invitation")
    assert sorted(invitation.peers) == ["desk", "phone", "tablet"]
    assert invitation.users == ["bob"]
    assert invitation.payload["expiresIn"] == 60_000
    [progress] = of_type(told, "inviteProgress")
    assert progress.peers == ["a"]
    assert progress.payload == {
        "inviteId": "1", "from": "alice", "to": "bob", "code": 100, "candidates": 3, "ringing": 0, "pushed": 0,
    }  # fmt: skip

    told = await shard.event("accept", {"peer": peer("tablet", "bob"), "from": "alice", "inviteId": "1"})

    [cancel] = of_type(told, "invitationCancel")
    assert sorted(cancel.peers) == ["desk", "phone"]
    assert (cancel.payload["code"], cancel.payload["reason"]) == (200, "accepted_elsewhere")
    [accepted] = of_type(told, "inviteAccepted")
    assert (accepted.peers, accepted.payload["peer"]) == (["a"], "tablet")
    [record] = of_type(told, "INVITE_COMPLETED")
    assert record.payload["state"] == "ACCEPTED"
    assert {one["peer"]: one["endReason"] for one in record.payload["candidates"]} == {
        "phone": 487, "tablet": 200, "desk": 487,
    }  # fmt: skip
    [answer] = of_type(told, "answer")
    assert (answer.peers, answer.payload["code"]) == (["tablet"], 200)
