"""How a server gets and keeps the functions of `lua/`, and what happens if it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import NoPermissionError, ResponseError

from invites.keys import Keys
from invites.store.commit import Committer
from invites.store.functions import Functions
from invites.store.scripts import Scripts, sources
from invites.store.settings import Settings
from tests.support import events as e
from tests.support.forgetting import forget_functions
from tests.support.shard import Shard

SCRIPTS = Scripts()
OURS = SCRIPTS.refused_when_full.name.removesuffix("_main")
RIGHTS = {
    "nothing but scripts": ["-fcall", "-function"],
    "no functions of its own": ["-function|load"],
}


@pytest.fixture(params=["valkey", "redis"])
async def bare(request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    """A client of an empty real server that knows no functions; afterwards it knows none but ours."""
    url: str = request.getfixturevalue("valkey_server" if request.param == "valkey" else "redis_server")
    async with Redis.from_url(url) as client:
        await client.flushall()
        await forget_functions(client)
        yield client
        await forget_functions(client)


async def _libraries(client: Redis) -> list[str]:
    found: Any = await client.function_list()
    return sorted(library[library.index(b"library_name") + 1].decode() for library in found)


async def _calls(client: Redis, command: str) -> int:
    found: Any = await client.info("commandstats")
    return int(found.get(f"cmdstat_{command}", {}).get("calls", 0))


async def test_the_first_call_brings_the_library_and_the_next_ones_do_not(bare: Redis) -> None:
    await bare.config_resetstat()
    shard = await Shard.make(bare)
    await e.bob_rings(shard, "phone")
    assert await _libraries(bare) == [OURS]
    assert await _calls(bare, "function|load") == 1
    assert await _calls(bare, "evalsha") == await _calls(bare, "eval") == 0


WRONG = {
    "no keys": (0, "ask", Keys().base, "0", "1", "", "0", "{}"),
    "settings that are no JSON": (6, *Keys().script_keys, "ask", Keys().base, "0", "1", "", "0", "{"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_a_wrong_call_leaves_nothing_to_the_next_one(bare: Redis, wrong: Sequence[str | int]) -> None:
    assert SCRIPTS.library
    await bare.function_load(SCRIPTS.library.text)
    for _ in range(2):
        with pytest.raises(ResponseError):
            await bare.execute_command("FCALL", SCRIPTS.refused_when_full.name, *wrong)
    shard = await Shard.make(bare)
    assert e.one(await e.bob_rings(shard, "phone"), "invitation").peers == ["phone"]


async def _lua_memory(client: Redis) -> int:
    found: Any = await client.info("memory")
    return int(found["used_memory_vm_functions"])


async def test_long_texts_of_a_call_do_not_stay_in_the_server(client: Redis) -> None:
    shard = await Shard.make(client)
    await shard.event(*e.registered("phone"))
    before = await _lua_memory(client)
    for first in range(0, 200, 40):
        events = [
            await shard.publish(*event)
            for number in map(str, range(first, first + 40))
            for event in (
                e.invite(invite_id=number),
                e.accept("phone", invite_id=number, context=number + "x" * 4_000),
            )
        ]
        await shard.settle(*events)
    for _ in range(200):  # the server collects garbage as it is called
        await shard.committer.fire()
    assert await _lua_memory(client) < before + 1_000_000


async def test_workers_that_bring_it_at_once_agree(bare: Redis) -> None:
    callers = [Functions(bare, SCRIPTS) for _ in range(10)]
    keys = ["events"]
    await bare.xadd("events", {"a": "b"})
    found = await asyncio.gather(*(each.call(SCRIPTS.trim, keys, ["", 1, "", ""]) for each in callers))
    assert found == [0] * 10


@contextlib.asynccontextmanager
async def _worker(bare: Redis, *rights: str) -> AsyncIterator[Redis]:
    """A client of a user who may do everything except what `rights` takes away."""
    await bare.execute_command("ACL", "SETUSER", "worker", "reset", "on", "nopass", "~*", "+@all", *rights)
    pool = bare.connection_pool
    login = {**pool.connection_kwargs, "username": "worker", "password": "x"}
    try:
        async with Redis.from_pool(ConnectionPool(pool.connection_class, **login)) as client:
            yield client
    finally:
        await bare.execute_command("ACL", "DELUSER", "worker")


@pytest.mark.parametrize("rights", RIGHTS.values(), ids=RIGHTS)
async def test_who_may_not_load_functions_runs_them_as_scripts(
    bare: Redis, rights: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with _worker(bare, *rights) as client:
        shard = await Shard.make(client)
        await e.bob_rings(shard, "phone")
        told = await shard.event(*e.accept("phone"))
        assert e.outcome(told, "answer") == (200, "accepted")
        assert await shard.committer.drop_other_releases() == []
    assert await _libraries(bare) == []
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "Allow the worker FCALL and FUNCTION LOAD" in warning.getMessage()


async def test_who_may_run_nothing_is_refused(bare: Redis) -> None:
    async with _worker(bare, "-@scripting") as client:
        with pytest.raises(NoPermissionError):
            await Functions(client, SCRIPTS).call(SCRIPTS.trim, ["events"], ["", 1, "", ""])


async def test_the_library_of_another_release_goes_and_who_still_needs_it_brings_it_again(
    bare: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = await Shard.make(bare)
    await e.bob_rings(mine, "phone")
    with monkeypatch.context() as patch:
        older = sources() | {"retire": f"local older = 1\n{sources()['retire']}"}
        patch.setattr("invites.store.scripts.sources", lambda: older)
        other = Committer(bare, mine.keys, Settings(), Scripts())
    await other.fire()
    foreign = "#!lua name=somebody_elses\nredis.register_function('theirs', function() return 1 end)"
    await bare.function_load(foreign)
    assert len(await _libraries(bare)) == 3
    (dropped,) = await mine.committer.drop_other_releases()
    assert await _libraries(bare) == sorted(
        [SCRIPTS.library.name if SCRIPTS.library else "", "somebody_elses"]
    )
    assert await mine.committer.drop_other_releases() == []
    assert (await other.fire()).count == 0
    assert dropped in await _libraries(bare)
    told = await mine.event(*e.accept("phone"))
    assert e.outcome(told, "answer") == (200, "accepted")


async def test_nothing_of_a_call_is_kept_for_the_next(bare: Redis) -> None:
    """Thousands of ids, rooms and contexts later the functions hold no more memory than before."""
    shard = await Shard.make(bare)

    async def used() -> int:
        found: Any = await bare.info("memory")
        return int(found["used_memory_vm_functions"])

    async def calls(first: int) -> None:
        for number in range(first, first + 150):
            user, room = f"user-{number}", f"room-{number}"
            await shard.event(*e.registered(f"phone-{number}", user))
            context = {"subject": f"{number}" * 100}
            await shard.event(*e.invite(to=user, invite_id=str(number), room=room, context=context))
            await shard.event(
                *e.accept(f"phone-{number}", user, invite_id=str(number), transaction=f"t{number}")
            )

    await calls(0)
    low, samples = await used(), []
    for first in range(1_000, 5_000, 1_000):
        await calls(first)
        samples.append(await used())
    assert min(samples) < low * 1.5, (low, samples)


async def test_calls_for_other_shards_and_settings_have_nothing_in_common(bare: Redis) -> None:
    """Two deployments with separate keys share a server: calls of one do not reach the other."""
    one = Shard(bare, Settings(ring_timeout=1_000), SCRIPTS, Keys("one"))
    other = Shard(
        bare, Settings(ring_timeout=60_000, only_one_device_with_invitations=True), SCRIPTS, Keys("other")
    )
    for shard in (one, other):
        await bare.xgroup_create(shard.keys.events, "workers", "0", mkstream=True)
    for _ in range(3):
        for shard in (one, other):
            await shard.event(*e.registered("phone"))
            await shard.event(*e.registered("tablet"))
    for shard in (one, other):
        told = await shard.event(*e.invite())
        assert {peer for each in told if each.type == "invitation" for peer in each.peers} == {
            "phone",
            "tablet",
        }
    assert (await one.invite(e.REF))["expiresAt"] == str(one.now + 1_000)
    assert (await other.invite(e.REF))["expiresAt"] == str(other.now + 60_000)
