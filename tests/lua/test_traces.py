"""The entries that events with a traceparent add to streams carry it, and no others do."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from invites.lookup.result import LookupResult
from invites.queries.story import read_step
from invites.store.settings import Settings
from tests.support import events as e
from tests.support.shard import MakeShard, Shard

pytestmark = pytest.mark.one_shard
ONE = "00-11111111111111111111111111111111-1111111111111111-01"
TWO = "00-22222222222222222222222222222222-2222222222222222-00"


async def settle(shard: Shard, *events: tuple[e.Published, str]) -> None:
    """Settle events in one commit, each with its traceparent."""
    operations = [replace(await shard.publish(*event), trace=trace) for event, trace in events]
    await shard.settle(*operations)


async def traces(shard: Shard, stream: str) -> list[tuple[str, str | None]]:
    """Type (or kind) and traceparent of all entries."""
    entries: list[tuple[Any, dict[bytes, bytes]]] = await shard.client.xrange(stream)
    return [
        ((fields.get(b"type") or fields[b"kind"]).decode(), (fields.get(b"traceparent") or b"").decode())
        for _, fields in entries
    ]


async def test_each_notification_carries_that_of_its_own_event(shard: Shard) -> None:
    await settle(shard, (e.registered("phone"), ""), (e.invite(), ONE), (e.ringing("phone"), ""))
    await settle(shard, (e.accept("phone"), TWO))
    assert sorted(await traces(shard, shard.keys.notifications)) == [
        ("INVITE_COMPLETED", TWO),
        ("answer", TWO),
        ("invitation", ONE),
        ("inviteAccepted", TWO),
        ("inviteProgress", ""),
        ("inviteProgress", ONE),
    ]


async def test_a_story_names_the_event_without_its_trace(shard: Shard) -> None:
    await settle(shard, (e.registered("phone"), ""), (e.invite(), ONE), (e.accept("phone"), TWO))
    lines = (await shard.hash(shard.keys.invite(e.REF)))["story"].split("\n")
    found = [read_step(line.encode(), 0, caller="a") for line in lines]
    assert [step and (step.what, step.who) for step in found] == [("invite", "a"), ("accept", "phone")]


async def test_what_a_timer_does_has_none(shard: Shard) -> None:
    await settle(shard, (e.registered("phone"), ONE), (e.invite(expires=1_000), ONE))
    shard.now += 1_001
    await shard.fire()
    told = dict(await traces(shard, shard.keys.notifications))
    assert (told["invitation"], told["invitationCancel"], told["INVITE_COMPLETED"]) == (ONE, "", "")


async def test_a_push_job_carries_it(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="push"))
    shard.found["bob"] = LookupResult(known=True, push=("phone",))
    await settle(shard, (e.invite(), ONE))
    assert await traces(shard, shard.keys.push) == [("invitation", ONE)]


async def test_a_refused_event_is_answered_with_it_and_its_letter_keeps_its_own_fields(shard: Shard) -> None:
    await settle(shard, (("invite", {"peer": e.ALICE}), ONE))
    assert await traces(shard, shard.keys.notifications) == [("answer", ONE)]
    assert await traces(shard, shard.keys.dead) == [("invite", "")]


async def test_an_unknown_rule_fails_alone(shard: Shard) -> None:
    operation = replace(await shard.publish(*e.room_closed()), rule="dance", trace=ONE)
    (outcome,) = await shard.settle(operation)
    assert (outcome.status.value, outcome.detail) == ("failed", f"unknown rule dance {ONE}")
    await shard.settle(replace(operation, rule="roomClosed"))
