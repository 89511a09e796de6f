"""Who is reached in the legacy mode, and how often sippo-server is asked for it."""

from __future__ import annotations

import logging

import pytest

from tests.support import events as e
from tests.support import lookups
from tests.support.shard import peer
from tests.support.waiting import wait_until
from tests.support.worker import Json
from workers.lab.fake_sippo import GroupEntry, slow

PUSH: Json = {"resolvePush": True}
GROUPS: Json = {"resolveGroups": True}
NUMBER = "+34600"


async def _push_jobs(worker: lookups.LookupWorker) -> set[tuple[str, str]]:
    """User and device of the candidates of the type PUSH."""
    found = await worker.candidates()
    return {(kind.removeprefix("PUSH "), name) for name, kind in found.items() if kind.startswith("PUSH ")}


async def test_without_the_flags_nobody_is_asked(valkey_url: str) -> None:
    async with lookups.worker(valkey_url) as worker:
        told = await worker.call(e.registered("tablet"), e.invite())
        assert lookups.rung(told) == {"tablet"}
        assert lookups.rejected(await worker.call(e.invite(to="sales", invite_id="2"), invite_id="2")) == (
            404,
            "not_found",
        )
        assert worker.fake_sippo.requests == {}


# --- push


async def test_registered_peers_and_push_devices_add_up(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, PUSH) as worker:
        told = await worker.call(e.registered("tablet"), e.invite())
        assert lookups.rung(told) == {"tablet"}
        assert await worker.candidates() == {"tablet": "PEER bob", "bob-phone": "PUSH bob"}
        assert worker.asked == {"pushDevices": 1}


async def test_a_device_that_is_registered_is_not_pushed_to(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, PUSH) as worker:
        await worker.call(e.registered("p1", device="bob-phone"), e.invite())
        assert await worker.candidates() == {"p1": "PEER bob"}


async def test_a_callee_with_push_devices_only_is_called(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, PUSH) as worker:
        told = await worker.call(e.invite(to="carol"))
        assert lookups.counted(told)["inviteRejected"] == 0
        assert await worker.candidates("carol") == {"c1": "PUSH carol", "c2": "PUSH carol"}


@pytest.mark.parametrize(
    ("to", "said"),
    [("nobody", (404, "not_found")), ("dave", (480, "unreachable")), ("sales", (404, "not_found"))],
)
async def test_who_has_no_device_is_known_or_not(
    valkey_url: str, to: str, said: tuple[int, str], caplog: pytest.LogCaptureFixture
) -> None:
    async with lookups.worker(valkey_url, PUSH) as worker:
        told = await worker.call(e.invite(to=to))
        assert lookups.rejected(told) == said
        assert lookups.counted(told)["INVITE_COMPLETED"] == 1
        assert worker.asked == {"pushDevices": 1}
        warning = f"No candidates found for resource: {to}"
        await wait_until(lambda: warning in caplog.messages, "it is logged")


async def test_ones_own_devices_are_not_woken(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, PUSH) as worker:
        assert lookups.rejected(await worker.call(e.invite(to="alice"))) == (480, "unreachable")


async def test_an_invite_request_wakes_devices_too(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, PUSH) as worker:
        await worker.call(e.request())
        assert await worker.candidates() == {"bob-phone": "PUSH bob"}


async def test_what_needs_no_look_up_makes_none(valkey_url: str) -> None:
    """A repeat, a repeat after the end, the answer to an inviteRequest."""
    async with lookups.worker(valkey_url, PUSH) as worker:
        await worker.call(e.registered("tablet"), e.request(), e.accept("tablet"))
        await worker.publish(e.request(), e.invite(peer("tablet", "bob"), "alice", "2", requestId="1"))
        await worker.heard("invitation", inviteId="2")
        assert worker.asked == {"pushDevices": 1}
        await worker.call(e.invite(invite_id="3"), invite_id="3")
        await worker.publish(e.invite(invite_id="3", context={"a": 1}))
        await worker.heard("inviteProgress", 2, inviteId="3")
        assert worker.asked == {"pushDevices": 2}


# --- groups


async def test_who_is_registered_is_no_group(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, GROUPS) as worker:
        told = await worker.call(e.registered("p", "sales"), e.invite(to="sales"))
        assert lookups.rung(told) == {"p"}
        assert worker.asked == {}


@pytest.mark.parametrize("basic", [GROUPS, lookups.LEGACY], ids=["groups", "all"])
async def test_members_ring_without_the_inviter_and_doubles(valkey_url: str, basic: Json) -> None:
    async with lookups.worker(valkey_url, basic) as worker:
        told = await worker.call(
            e.registered("b", "bob"),
            e.registered("c", "carol"),
            e.registered("a2", "alice"),
            e.registered("d", "dave"),
            e.invite(to="sales"),
        )
        assert lookups.rung(told) == {"b", "c", "d"}
        assert {one.payload["group"] for one in told if one.type == "invitation"} == {"sales"}


async def test_a_group_is_one_request(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, GROUPS) as worker:
        await worker.call(e.registered("b"), e.invite(to="sales"))
        assert worker.asked == {"groups": 1}
        assert await worker.candidates("bob") == {"b": "PEER bob"}


async def test_push_devices_of_members_are_asked_for_once_each(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, lookups.LEGACY) as worker:
        await worker.call(e.registered("b"), e.invite(to="sales"))
        # One for the callee, who might have been a user, and one for each of Bob, Carol and Dave.
        assert worker.asked == {"groups": 1, "pushDevices": 4}
        assert await worker.candidates("bob") == {"b": "PEER bob", "bob-phone": "PUSH bob"}
        assert await worker.candidates("carol") == {"c1": "PUSH carol", "c2": "PUSH carol"}


async def test_a_user_who_is_not_registered_is_asked_for_both_ways_at_once(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, lookups.LEGACY) as worker:
        for call in ("groups", "pushDevices"):
            worker.fake_sippo.fault(slow(60_000), call)
        await worker.publish(e.invite())
        await wait_until(lambda: worker.fake_sippo.under_way == 2, "both are under way")
        worker.fake_sippo.heal()
        await worker.heard_of()
        assert await worker.candidates() == {"bob-phone": "PUSH bob"}
        assert worker.asked == {"groups": 1, "pushDevices": 1}
        assert worker.fake_sippo.most_at_once == 2


async def test_who_is_neither_user_nor_group_is_not_found(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, lookups.LEGACY) as worker:
        assert lookups.rejected(await worker.call(e.invite(to="nobody"))) == (404, "not_found")


async def test_members_in_the_room_are_not_called(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, GROUPS) as worker:
        joined = ("joined", {"userId": "bob", "roomId": "r"})
        told = await worker.call(e.registered("b"), e.registered("d", "dave"), joined, e.invite(to="sales"))
        assert lookups.rung(told) == {"d"}
        await worker.publish(e.left("bob"))


async def test_a_group_may_ring_one_after_the_other(valkey_url: str) -> None:
    known = lookups.directory()
    known.groups["sales"].ringing_strategy = "sequential"
    async with lookups.worker(valkey_url, lookups.LEGACY, known=known) as worker:
        told = await worker.call(e.registered("b"), e.registered("d", "dave"), e.invite(to="sales"))
        assert lookups.rung(told) == {"b"}
        await worker.publish(e.decline("b"))
        await worker.heard("answer")
        assert await worker.candidates("carol") == {"c1": "PUSH carol", "c2": "PUSH carol"}
        assert await worker.candidates("dave") == {}


async def test_nobody_of_a_group_that_is_too_large_is_asked_for(
    valkey_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    known = lookups.directory()
    known.groups["all"] = GroupEntry([f"u{number}" for number in range(6)])
    async with lookups.worker(valkey_url, lookups.LEGACY, known=known, maxGroupSize=5) as worker:
        assert lookups.rejected(await worker.call(e.invite(to="all"))) == (403, "too_many")
        assert worker.asked == {"groups": 1, "pushDevices": 1}
        warning = "Group all has 6 members, which is more than maxGroupSize (5): nobody is called"
        await wait_until(lambda: warning in caplog.messages, "it is logged")


async def test_a_group_is_remembered_when_that_is_wanted(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, GROUPS | {"wac": {"groupCache": 60_000}}) as worker:
        await worker.call(e.registered("b"), e.invite(to="sales"))
        await worker.call(e.invite(to="sales", invite_id="2"), invite_id="2")
        assert worker.asked == {"groups": 1}


# --- trunks


async def test_when_nothing_else_is_found_a_trunk_is(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, lookups.LEGACY) as worker:
        trunks = e.trunk("any"), e.trunk("spain", r"\+34\d+")
        assert lookups.rung(await worker.call(*trunks, e.invite(to=NUMBER))) == {"spain"}
        assert lookups.rung(await worker.call(e.invite(to="+491", invite_id="2"), invite_id="2")) == {"any"}
        await worker.call(e.invite(invite_id="3"), invite_id="3")
        assert await worker.candidates("bob", "3") == {"bob-phone": "PUSH bob"}


async def test_a_member_may_be_a_number(valkey_url: str) -> None:
    known = lookups.directory()
    known.groups["mixed"] = GroupEntry(["bob", NUMBER, "dave"])
    async with lookups.worker(valkey_url, lookups.LEGACY, known=known) as worker:
        told = await worker.call(
            e.trunk("spain", r"\+34\d+"), e.registered("d", "dave"), e.invite(to="mixed")
        )
        assert lookups.rung(told) == {"d", "spain"}
        assert await worker.candidates(NUMBER) == {"spain": f"PSTN {NUMBER}"}
        assert await worker.candidates("bob") == {"bob-phone": "PUSH bob"}


async def test_members_are_called_over_the_trunks_of_today(valkey_url: str) -> None:
    known = lookups.directory()
    known.groups["mixed"] = GroupEntry([NUMBER])
    async with lookups.worker(valkey_url, GROUPS, known=known) as worker:
        await worker.call(e.trunk("old"), e.invite(to="mixed"))
        told = await worker.call(
            e.disconnected("old", "sip"), e.trunk("new"), e.invite(to="mixed", invite_id="2"), invite_id="2"
        )
        assert lookups.rung(told) == {"new"}
        assert worker.asked == {"groups": 2}


# --- the log


async def test_the_log_says_what_was_asked(valkey_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with lookups.worker(valkey_url, lookups.LEGACY) as worker:
        await worker.call(e.registered("b"), e.invite(to="sales"))
        expected = [
            "invite peerId(a), to(sales), inviteId(1), context(undefined)",
            "Trying to get candidates for sales",
            "Trying to resolve group sales",
            'got candidates ["bob","carol","dave"]',
        ]
        await wait_until(lambda: expected[-1] in caplog.messages, "the call is logged")
        assert [message for message in caplog.messages if message in expected] == expected
        caplog.clear()
        await worker.call(e.invite(invite_id="2"), invite_id="2")
        await wait_until(lambda: "Trying to get candidates for bob" in caplog.messages, "it is logged")
        assert "Trying to resolve group bob" not in caplog.messages
