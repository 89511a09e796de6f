"""resolveNestedGroups: the members of groups within a group are called, with few requests to sippo-server."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from invites.lookup.callee import CalleeLookup
from invites.lookup.result import LookupResult
from invites.sippo import ApiCall, CallOutcome, Group, NoAnswer, PushDevice
from invites.store.settings import LookUp, Settings
from tests.support import events as e
from tests.support import lookups
from workers.lab.fake_sippo import GroupEntry

NESTED = lookups.LEGACY | {"resolveNestedGroups": True}


class Server:
    """Groups by name; asking for `broken` fails. Counts what is asked, and how much at once."""

    def __init__(self, groups: Mapping[str, Sequence[str]], broken: frozenset[str] = frozenset()) -> None:
        self.groups = groups
        self.broken = broken
        self.asked: Counter[str] = Counter()
        self.at_once = self.most_at_once = 0

    async def group(self, name: str) -> Group | None:
        """The group, or None."""
        self.asked[name] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        if name in self.broken:
            raise NoAnswer(CallOutcome.TIMEOUT, ApiCall.GROUPS, "no reply")
        members = self.groups.get(name)
        return None if members is None else Group(id=name, participants=tuple(members))

    async def push_devices(self, user: str) -> list[PushDevice]:
        """No devices."""
        self.asked[f"push {user}"] += 1
        return []


async def _found(
    server: Server, most: int = 500, look_up: LookUp = "groups", *, nested: bool = True
) -> LookupResult:
    api: Any = server  # it answers all that a lookup asks
    lookup = CalleeLookup(api, Settings(look_up=look_up, max_group_size=most), nested=nested)
    return await lookup.ask("top", "alice", may_be_group=True)


def _users(found: LookupResult) -> list[str]:
    return [member.user for member in found.members or ()]


async def test_a_group_within_a_group_stands_for_its_members_in_their_order() -> None:
    server = Server({"top": ["a", "sub", "d"], "sub": ["b", "a", "c"]})
    assert _users(await _found(server)) == ["a", "b", "c", "d"]
    assert server.asked == {"top": 1, "a": 1, "sub": 1, "d": 1, "b": 1, "c": 1}


async def test_without_the_setting_only_the_group_is_asked_for() -> None:
    server = Server({"top": ["a", "sub"], "sub": ["b"]})
    assert _users(await _found(server, nested=False)) == ["a", "sub"]
    assert server.asked == {"top": 1}


async def test_the_inviter_is_not_asked_for() -> None:
    server = Server({"top": ["alice", "sub"], "sub": ["alice", "b"]})
    assert _users(await _found(server)) == ["alice", "b"]
    assert server.asked == {"top": 1, "sub": 1, "b": 1}


async def test_push_devices_are_asked_for_the_users_alone() -> None:
    server = Server({"top": ["a", "sub", "alice"], "sub": ["b"]})
    await _found(server, look_up="all")
    assert {name for name in server.asked if name.startswith("push")} == {"push top", "push a", "push b"}


async def test_five_levels_are_resolved_and_a_warning_names_the_sixth(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chain = {"top": ["u1", "g2"]} | {f"g{level}": [f"u{level}", f"g{level + 1}"] for level in range(2, 8)}
    server = Server(chain)
    with caplog.at_level(logging.WARNING):
        assert _users(await _found(server)) == ["u1", "u2", "u3", "u4", "u5"]
    assert [record.getMessage() for record in caplog.records] == [
        "Group g6 is left out: in top it is on level 6."
    ]
    assert "u6" not in server.asked


async def test_a_group_counts_by_its_shortest_way() -> None:
    chain = {"top": ["g2", "g6"], "g6": ["u"]} | {f"g{n}": [f"g{n + 1}"] for n in range(2, 6)}
    assert _users(await _found(Server(chain))) == ["u"]


@pytest.mark.parametrize(
    ("groups", "users", "left_out"),
    [
        ({"top": ["a", "top"]}, ["a"], "Group top is left out of group top"),
        ({"top": ["sub", "a"], "sub": ["b", "top"]}, ["b", "a"], "Group top is left out of group sub"),
        ({"top": ["b", "x", "a"], "x": ["y"], "y": ["x"]}, ["b", "a"], "Group x is left out of group y"),
    ],
)
async def test_a_warning_names_a_group_that_is_within_itself(
    groups: dict[str, list[str]], users: list[str], left_out: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert _users(await _found(Server(groups))) == users
    assert [record.getMessage() for record in caplog.records] == [f"{left_out}, which is within it."]


async def test_a_group_that_two_groups_have_is_called_once_without_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server({"top": ["x", "y"], "x": ["z", "a"], "y": ["z", "b"], "z": ["c"]})
    with caplog.at_level(logging.WARNING):
        assert _users(await _found(server)) == ["c", "a", "b"]
    assert not caplog.records


async def test_groups_that_all_have_each_other_cost_a_warning_each(caplog: pytest.LogCaptureFixture) -> None:
    names = [f"g{number}" for number in range(200)]
    server = Server({"top": [*names, "a"]} | {name: [*names, f"u-{name}"] for name in names})
    with caplog.at_level(logging.WARNING):
        assert len(_users(await _found(server))) == 201
    assert len(caplog.records) <= 200


async def test_the_flattened_members_are_counted() -> None:
    groups = {"top": ["x", "y"], "x": ["a", "b"], "y": ["c", "a"]}
    assert _users(await _found(Server(groups), most=3)) == ["a", "b", "c"]
    found = await _found(Server(groups), most=2)
    assert (found.members, found.size > 2) == ([], True)


async def test_it_asks_no_more_once_there_are_too_many() -> None:
    server = Server({"top": [f"u{number}" for number in range(5_000)]})
    found = await _found(server, most=10)
    assert found.size > 10
    assert server.asked.total() < 100
    server = Server({"top": (names := [f"g{number}" for number in range(5_000)])} | dict.fromkeys(names, ()))
    assert (await _found(server, most=10)).size > 10
    assert server.asked.total() < 100


async def test_a_limited_number_is_asked_for_at_once() -> None:
    server = Server({"top": [f"u{number}" for number in range(400)]})
    await _found(server)
    assert 1 < server.most_at_once <= 32


async def test_who_cannot_be_asked_for_is_called_as_a_user(caplog: pytest.LogCaptureFixture) -> None:
    server = Server({"top": ["a", "sub"], "sub": ["b"]}, frozenset({"sub"}))
    with caplog.at_level(logging.WARNING):
        found = await _found(server)
    assert [(member.user, member.failed) for member in found.members or ()] == [("a", False), ("sub", True)]
    (record,) = caplog.records
    assert record.getMessage().startswith("Whether 1 of the members of top are groups is not known: ")


async def test_a_worker_rings_the_members_of_groups_within_a_group(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, NESTED) as worker:
        worker.fake_sippo.directory.groups["all"] = GroupEntry(["sales", "erin"], "All")
        told = await worker.call(e.registered("e1", "erin"), e.registered("b1", "bob"), e.invite(to="all"))
        assert lookups.rung(told) == {"b1", "e1"}
        # "all", its two members, and the members of "sales" except Alice; then their devices, and those of "all".
        assert worker.asked == {"groups": 1 + 2 + 3, "pushDevices": 1 + 4}
