"""Who is reached in the legacy mode, and how often sippo-server is asked for it."""

from __future__ import annotations

import logging

import pytest

from tests.support import events as e
from tests.support.shard import peer
from tests.support.waiting import wait_until
from tests.support.worker import Json
from tests.support.worker_lookups import LEGACY, Reaching, counted, directory, reaching, rejected, rung
from workers.lab.fake_sippo import GroupEntry, slow

PUSH: Json = {"resolvePush": True}
GROUPS: Json = {"resolveGroups": True}
NUMBER = "+34600"


async def _push_jobs(at: Reaching) -> set[tuple[str, str]]:
    """User and device of the candidates of the type PUSH."""
    found = await at.candidates()
    return {(kind.removeprefix("PUSH "), name) for name, kind in found.items() if kind.startswith("PUSH ")}


async def test_without_the_flags_nobody_is_asked(valkey_url: str) -> None:
    async with reaching(valkey_url) as at:
        told = await at.call(e.registered("tablet"), e.invite())
        assert rung(told) == {"tablet"}
        assert rejected(await at.call(e.invite(to="sales", invite_id="2"), invite_id="2")) == (
            404,
            "not_found",
        )
        assert at.fake_sippo.requests == {}


# --- push


async def test_registered_peers_and_push_devices_add_up(valkey_url: str) -> None:
    async with reaching(valkey_url, PUSH) as at:
        told = await at.call(e.registered("tablet"), e.invite())
        assert rung(told) == {"tablet"}
        assert await at.candidates() == {"tablet": "PEER bob", "bob-phone": "PUSH bob"}
        assert at.asked == {"pushDevices": 1}


async def test_a_device_that_is_registered_is_not_pushed_to(valkey_url: str) -> None:
    async with reaching(valkey_url, PUSH) as at:
        await at.call(e.registered("p1", device="bob-phone"), e.invite())
        assert await at.candidates() == {"p1": "PEER bob"}


async def test_a_callee_with_push_devices_only_is_called(valkey_url: str) -> None:
    async with reaching(valkey_url, PUSH) as at:
        told = await at.call(e.invite(to="carol"))
        assert counted(told)["inviteRejected"] == 0
        assert await at.candidates("carol") == {"c1": "PUSH carol", "c2": "PUSH carol"}


@pytest.mark.parametrize(
    ("to", "said"),
    [("nobody", (404, "not_found")), ("dave", (480, "unreachable")), ("sales", (404, "not_found"))],
)
async def test_who_has_no_device_is_known_or_not(
    valkey_url: str, to: str, said: tuple[int, str], caplog: pytest.LogCaptureFixture
) -> None:
    async with reaching(valkey_url, PUSH) as at:
        told = await at.call(e.invite(to=to))
        assert rejected(told) == said
        assert counted(told)["INVITE_COMPLETED"] == 1
        assert at.asked == {"pushDevices": 1}
        warning = f"No candidates found for resource: {to}"
        await wait_until(lambda: warning in caplog.messages, "it is logged")


async def test_ones_own_devices_are_not_woken(valkey_url: str) -> None:
    async with reaching(valkey_url, PUSH) as at:
        assert rejected(await at.call(e.invite(to="alice"))) == (480, "unreachable")


async def test_an_invite_request_wakes_devices_too(valkey_url: str) -> None:
    async with reaching(valkey_url, PUSH) as at:
        await at.call(e.request())
        assert await at.candidates() == {"bob-phone": "PUSH bob"}


async def test_what_needs_no_look_up_makes_none(valkey_url: str) -> None:
    """A repeat, a repeat after the end, the answer to an inviteRequest."""
    async with reaching(valkey_url, PUSH) as at:
        await at.call(e.registered("tablet"), e.request(), e.accept("tablet"))
        await at.publish(e.request(), e.invite(peer("tablet", "bob"), "alice", "2", requestId="1"))
        await at.heard("invitation", inviteId="2")
        assert at.asked == {"pushDevices": 1}
        await at.call(e.invite(invite_id="3"), invite_id="3")
        await at.publish(e.invite(invite_id="3", context={"a": 1}))
        await at.heard("inviteProgress", 2, inviteId="3")
        assert at.asked == {"pushDevices": 2}


# --- groups


async def test_who_is_registered_is_no_group(valkey_url: str) -> None:
    async with reaching(valkey_url, GROUPS) as at:
        told = await at.call(e.registered("p", "sales"), e.invite(to="sales"))
        assert rung(told) == {"p"}
        assert at.asked == {}


@pytest.mark.parametrize("basic", [GROUPS, LEGACY], ids=["groups", "all"])
async def test_members_ring_without_the_inviter_and_doubles(valkey_url: str, basic: Json) -> None:
    async with reaching(valkey_url, basic) as at:
        told = await at.call(
            e.registered("b", "bob"),
            e.registered("c", "carol"),
            e.registered("a2", "alice"),
            e.registered("d", "dave"),
            e.invite(to="sales"),
        )
        assert rung(told) == {"b", "c", "d"}
        assert {one.payload["group"] for one in told if one.type == "invitation"} == {"sales"}


async def test_a_group_is_one_request(valkey_url: str) -> None:
    async with reaching(valkey_url, GROUPS) as at:
        await at.call(e.registered("b"), e.invite(to="sales"))
        assert at.asked == {"groups": 1}
        assert await at.candidates("bob") == {"b": "PEER bob"}


async def test_push_devices_of_members_are_asked_for_once_each(valkey_url: str) -> None:
    async with reaching(valkey_url, LEGACY) as at:
        await at.call(e.registered("b"), e.invite(to="sales"))
        # One for the callee, who might have been a user, and one for each of Bob, Carol and Dave.
        assert at.asked == {"groups": 1, "pushDevices": 4}
        assert await at.candidates("bob") == {"b": "PEER bob", "bob-phone": "PUSH bob"}
        assert await at.candidates("carol") == {"c1": "PUSH carol", "c2": "PUSH carol"}


async def test_a_user_who_is_not_registered_is_asked_for_both_ways_at_once(valkey_url: str) -> None:
    async with reaching(valkey_url, LEGACY) as at:
        at.fake_sippo.fault(slow(100))
        await at.call(e.invite())
        assert await at.candidates() == {"bob-phone": "PUSH bob"}
        assert at.asked == {"groups": 1, "pushDevices": 1}
        assert at.fake_sippo.most_at_once == 2


async def test_who_is_neither_user_nor_group_is_not_found(valkey_url: str) -> None:
    async with reaching(valkey_url, LEGACY) as at:
        assert rejected(await at.call(e.invite(to="nobody"))) == (404, "not_found")


async def test_members_in_the_room_are_not_called(valkey_url: str) -> None:
    async with reaching(valkey_url, GROUPS) as at:
        joined = ("joined", {"userId": "bob", "roomId": "r"})
        told = await at.call(e.registered("b"), e.registered("d", "dave"), joined, e.invite(to="sales"))
        assert rung(told) == {"d"}
        await at.publish(e.left("bob"))


async def test_a_group_may_ring_one_after_the_other(valkey_url: str) -> None:
    known = directory()
    known.groups["sales"].ringing_strategy = "sequential"
    async with reaching(valkey_url, LEGACY, known=known) as at:
        told = await at.call(e.registered("b"), e.registered("d", "dave"), e.invite(to="sales"))
        assert rung(told) == {"b"}
        await at.publish(e.decline("b"))
        await at.heard("answer")
        assert await at.candidates("carol") == {"c1": "PUSH carol", "c2": "PUSH carol"}
        assert await at.candidates("dave") == {}


async def test_nobody_of_a_group_that_is_too_large_is_asked_for(
    valkey_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    known = directory()
    known.groups["all"] = GroupEntry([f"u{number}" for number in range(6)])
    async with reaching(valkey_url, LEGACY, known=known, maxGroupSize=5) as at:
        assert rejected(await at.call(e.invite(to="all"))) == (403, "too_many")
        assert at.asked == {"groups": 1, "pushDevices": 1}
        warning = "Group all has 6 members, which is more than maxGroupSize (5): nobody is called"
        await wait_until(lambda: warning in caplog.messages, "it is logged")


async def test_a_group_is_remembered_when_that_is_wanted(valkey_url: str) -> None:
    async with reaching(valkey_url, GROUPS | {"wac": {"groupCache": 60_000}}) as at:
        await at.call(e.registered("b"), e.invite(to="sales"))
        await at.call(e.invite(to="sales", invite_id="2"), invite_id="2")
        assert at.asked == {"groups": 1}


# --- trunks


async def test_when_nothing_else_is_found_a_trunk_is(valkey_url: str) -> None:
    async with reaching(valkey_url, LEGACY) as at:
        trunks = e.trunk("any"), e.trunk("spain", r"\+34\d+")
        assert rung(await at.call(*trunks, e.invite(to=NUMBER))) == {"spain"}
        assert rung(await at.call(e.invite(to="+491", invite_id="2"), invite_id="2")) == {"any"}
        await at.call(e.invite(invite_id="3"), invite_id="3")
        assert await at.candidates("bob", "3") == {"bob-phone": "PUSH bob"}


async def test_a_member_may_be_a_number(valkey_url: str) -> None:
    known = directory()
    known.groups["mixed"] = GroupEntry(["bob", NUMBER, "dave"])
    async with reaching(valkey_url, LEGACY, known=known) as at:
        told = await at.call(e.trunk("spain", r"\+34\d+"), e.registered("d", "dave"), e.invite(to="mixed"))
        assert rung(told) == {"d", "spain"}
        assert await at.candidates(NUMBER) == {"spain": f"PSTN {NUMBER}"}
        assert await at.candidates("bob") == {"bob-phone": "PUSH bob"}


async def test_members_are_called_over_the_trunks_of_today(valkey_url: str) -> None:
    known = directory()
    known.groups["mixed"] = GroupEntry([NUMBER])
    async with reaching(valkey_url, GROUPS, known=known) as at:
        await at.call(e.trunk("old"), e.invite(to="mixed"))
        told = await at.call(
            e.disconnected("old", "sip"), e.trunk("new"), e.invite(to="mixed", invite_id="2"), invite_id="2"
        )
        assert rung(told) == {"new"}
        assert at.asked == {"groups": 2}


# --- the log


async def test_the_log_says_what_was_asked(valkey_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with reaching(valkey_url, LEGACY) as at:
        await at.call(e.registered("b"), e.invite(to="sales"))
        expected = [
            "invite peerId(a), to(sales), inviteId(1), context(undefined)",
            "Trying to get candidates for sales",
            "Trying to resolve group sales",
            'got candidates ["bob","carol","dave"]',
        ]
        await wait_until(lambda: expected[-1] in caplog.messages, "the call is logged")
        assert [message for message in caplog.messages if message in expected] == expected
        caplog.clear()
        await at.call(e.invite(invite_id="2"), invite_id="2")
        await wait_until(lambda: "Trying to get candidates for bob" in caplog.messages, "it is logged")
        assert "Trying to resolve group bob" not in caplog.messages
