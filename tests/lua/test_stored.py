"""Calls that ring while the workers are replaced: what each release has stored is understood (see tests/stored.py)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.stored import FOLDER, LOOKING_UP
from tests.support import events as e
from tests.support import push_jobs
from tests.support.groups import legs, rung, stopped
from tests.support.shard import of_type, peer

if TYPE_CHECKING:
    from tests.support.shard import MakeShard, Shard

pytestmark = pytest.mark.one_shard

CALLEES = {"bob", "team", "carol"}
_TIME = re.compile(r"\b1\d{12}\b")
"""ms since 1970."""


@pytest.fixture(params=sorted(file.stem for file in FOLDER.glob("*.json")))
async def stored(request: pytest.FixtureRequest, make_shard: MakeShard) -> Shard:
    """A shard in which a release lets three calls of Alice ring: to Bob, to a group, and to Carol's phone."""
    shard = await make_shard(LOOKING_UP)
    found = _as_of_now((FOLDER / f"{request.param}.json").read_text(), shard.now)
    for name, (kind, expires_in, value) in found["keys"].items():
        await _store(shard.client, shard.keys.base + name, kind, value)
        if expires_in > 0:
            await shard.client.pexpire(shard.keys.base + name, expires_in)
    shard.now = found["now"] + 1
    return shard


def _as_of_now(text: str, now: int) -> Any:
    """What was stored, with all times moved on: the server deletes at once what has expired by its own clock."""
    passed = now - json.loads(text)["now"]
    return json.loads(_TIME.sub(lambda found: str(int(found[0]) + passed), text))


async def _store(client: Any, name: str, kind: str, value: Any) -> None:
    if kind == "string":
        await client.set(name, value)
    elif kind == "hash":
        await client.hset(name, mapping=value)
    elif kind == "set":
        await client.sadd(name, *value)
    elif kind == "list":
        await client.rpush(name, *value)
    else:
        await client.zadd(name, dict(value))


def ends(told: Any) -> dict[str, int]:
    """Callee -> code of each record."""
    return {each.payload["to"]: each.payload["error"] for each in of_type(told, "INVITE_COMPLETED")}


async def cancelled_pushes(shard: Shard) -> list[str]:
    """The push devices that are told to stop."""
    return [job["device"] for job in await push_jobs.jobs(shard) if job["type"] == "invitationCancel"]


async def test_an_accept_stops_the_other_devices(stored: Shard) -> None:
    told = await stored.event(*e.accept("phone"))
    assert stopped(told) == ["tablet"]
    assert ends(told) == {"bob": 200}
    assert e.outcome(told, "answer") == (200, "accepted")


async def test_the_accept_of_a_member_ends_the_other_legs(stored: Shard) -> None:
    assert await legs(stored, "alice|2|team")
    told = await stored.event(*e.accept("desk1", "m1", invite_id="2"))
    told += await stored.relay()
    assert stopped(told) == ["desk0"]
    assert ends(told) == {"team": 200}
    assert await cancelled_pushes(stored) == ["m2-phone"]


async def test_members_may_decline_until_the_last_ends_the_call(stored: Shard) -> None:
    told = await stored.event(*e.decline("desk0", "m0", invite_id="2"))
    assert ends(told) == {}
    told = await stored.event(*e.decline("desk1", "m1", invite_id="2"))
    assert ends(told) == {}
    told = await stored.event(*e.decline("m2-peer", "m2", invite_id="2", device="m2-phone"))
    assert ends(told) == {"team": 603}


async def test_a_phone_that_a_push_has_woken_rings_and_accepts(stored: Shard) -> None:
    assert rung(await stored.event(*e.registered("awake", "carol", device="carol-phone"))) == ["awake"]
    assert ends(await stored.event(*e.accept("awake", "carol", invite_id="3"))) == {"carol": 200}


async def test_all_time_out(stored: Shard) -> None:
    told = await e.later(stored, e.RING + 5_000)
    told += await stored.relay()
    assert ends(told) == dict.fromkeys(CALLEES, 408)
    assert stopped(told) == ["desk0", "desk1", "phone", "tablet"]
    assert sorted(await cancelled_pushes(stored)) == ["carol-phone", "m2-phone"]


@pytest.mark.parametrize("ending", [e.room_closed(), e.disconnected("laptop", "alice")])
async def test_all_end_with_their_room_or_their_caller(stored: Shard, ending: e.Published) -> None:
    told = await stored.event(*ending)
    told += await e.later(stored, LOOKING_UP.caller_grace)
    told += await stored.relay()
    assert set(ends(told)) == CALLEES
    assert stopped(told) == ["desk0", "desk1", "phone", "tablet"]


async def test_each_is_stopped_by_its_caller(stored: Shard) -> None:
    alice = peer("laptop", "alice")
    told = await e.in_order(
        stored,
        *(e.stop(alice, callee=callee, invite_id=number) for number, callee in (("1", "bob"), ("2", "team"))),
    )
    told += await stored.relay()
    assert ends(told) == {"bob": 487, "team": 487}
