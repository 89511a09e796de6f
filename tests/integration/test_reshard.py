"""`invites reshard` on a real server, with workers beside it."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from redis.exceptions import NoPermissionError

from invites.config import Config
from invites.config import Redis as RedisSection
from invites.connection.clients import connect
from invites.connection.errors import RefusedError
from invites.keys import WORKERS_GROUP, Keys, shard_of
from invites.resharding import Resharding, ReshardingError, procedure
from invites.resharding import lease as leases
from invites.store.layout import LayoutError
from tests.support.commands import Commands
from tests.support.waiting import wait_until
from tests.support.worker import configured
from workers.lab.worker_process import start_worker
from workers.service import Service

if TYPE_CHECKING:
    import redis
    from redis.asyncio import Redis

KEYS = Keys()


def with_shards(shards: int) -> Config:
    return msgspec.structs.replace(configured(), redis=RedisSection(shards=shards))


async def layouts(client: Any, shards: int) -> list[bytes | None]:
    return [await client.get(Keys(shard=number).layout) for number in range(shards)]


def work(client: Redis, to: int, said: list[str]) -> Resharding:
    return Resharding("invites", to, lambda _: client, said.append)


# --- who may work


async def test_the_first_worker_writes_down_how_many_shards_there_are(
    command_client: Any, valkey_url: str
) -> None:
    service = Service(with_shards(3), valkey_url)
    await service.start()
    await service.aclose()
    assert await layouts(command_client, 4) == [b"3", b"3", b"3", None]


@pytest.mark.parametrize(("there", "shards"), [(b"3", 1), (b"1", 3), (b"1>3", 1), (b"1>3", 7), (b"x", 1)])
async def test_a_worker_that_counts_differently_is_refused_and_leaves_no_trace(
    command_client: Any, valkey_url: str, there: bytes, shards: int
) -> None:
    await command_client.set(KEYS.layout, there)
    service = Service(with_shards(shards), valkey_url)
    try:
        with pytest.raises(RefusedError, match=r"redis\.shards|no number of shards"):
            await service.start()
    finally:
        await service.aclose()
    assert await command_client.keys("*") == [KEYS.layout.encode()]
    assert await command_client.get(KEYS.layout) == there


@pytest.mark.leaks
async def test_a_shard_with_half_an_event_is_not_moved(command_client: Any) -> None:
    """The owed notes are for keys of that shard: a worker must write them first."""
    for shard in range(2):
        await command_client.set(Keys(shard=shard).layout, 2)
    await command_client.set(Keys(shard=1).owed, "[]")
    with pytest.raises(ReshardingError, match="give the worker its permissions back"):
        await work(command_client, 3, []).move()
    assert await layouts(command_client, 3) == [b"2", b"2", None]
    await command_client.delete(Keys(shard=1).owed)
    await work(command_client, 3, []).move()
    assert await layouts(command_client, 3) == [b"3"] * 3


async def test_a_worker_process_that_is_refused_says_why_and_ends_with_status_1(
    command_client: Any, valkey_url: str
) -> None:
    await command_client.set(KEYS.layout, "3")
    with start_worker(valkey_url, {"redis": {"shards": 2}}) as process:
        assert await asyncio.to_thread(process.wait, 15_000) == 1
        assert "in 3 shards, but redis.shards is 2: set redis.shards to 3" in process.output()
        assert "Traceback" not in process.output()


async def test_a_worker_waits_for_the_end_of_a_move_to_as_many_shards_as_it_has(
    command_client: Any, valkey_url: str
) -> None:
    await command_client.set(KEYS.layout, "1>3")
    service = Service(with_shards(3), valkey_url)
    starting = asyncio.create_task(service.start())
    try:
        await wait_until(lambda: service.moving, "the worker waits")
        ready, why = service.readiness.state()
        assert (ready, "invites reshard 3" in why) == (False, True)
        for number in range(3):
            await command_client.set(Keys(shard=number).layout, "3")
        await starting
        await wait_until(lambda: service.readiness.state()[0], "the worker is ready")
        assert not service.moving
    finally:
        await service.aclose()


@pytest.mark.leaks
async def test_a_worker_that_finds_another_layout_stops_and_hands_back_what_it_has(
    command_client: Any, valkey_url: str
) -> None:
    process = start_worker(valkey_url, {"invites": {"claimAfter": 600_000}})
    try:

        async def at_work() -> bool:
            return bool(await command_client.exists(KEYS.events)) and bool(
                await command_client.xinfo_consumers(KEYS.events, WORKERS_GROUP)
            )

        await wait_until(at_work, "the worker reads")
        await command_client.set(KEYS.layout, "1>3")
        event = {"type": "joined", "payload": json.dumps({"userId": "u", "roomId": "r"})}
        entries = [await command_client.xadd(KEYS.events, event) for _ in range(20)]
        assert await asyncio.to_thread(process.wait, 20_000) == 1
        assert process.output().count("are being moved from 1 shard to 3") == 1
        assert "Traceback" not in process.output()
    finally:
        process.stop()
    assert await command_client.exists(KEYS.room_members("r")) == 0
    pending: Any = await command_client.xpending_range(KEYS.events, WORKERS_GROUP, "-", "+", 100)
    assert all(one["time_since_delivered"] >= 600_000 for one in pending)
    assert await command_client.xlen(KEYS.events) == len(entries)


async def test_a_worker_that_is_refused_in_the_first_shard_writes_to_no_other(
    command_client: Any, valkey_url: str
) -> None:
    await command_client.set(KEYS.layout, "1")
    service = Service(Config(redis=RedisSection(shards=3)), valkey_url)
    with pytest.raises(LayoutError):
        await service.start()
    await service.aclose()
    assert await layouts(command_client, 3) == [b"1", None, None]


# --- the command


def test_the_command_moves_and_says_what(commands: Commands, database: redis.Redis) -> None:
    database.set(KEYS.layout, "1")
    users = [f"user-{number}" for number in range(30)]
    for user in users:
        database.hset(KEYS.registry(user), "p", "{}")
    database.set("invites:{0}:strange:1", "x")
    going = sum(shard_of(user, 3) != 0 for user in users)
    counted = commands.on_server("reshard", "3", "--dry-run")
    assert counted.status == 0
    assert counted.out == (
        f"About {going} keys would move from 1 to 3 shards. 1 keys of an unknown kind stay in place.\n"
    )
    assert database.get(KEYS.layout) == b"1"
    ended = commands.on_server("reshard", "3", "--json")
    found = json.loads(ended.out)
    del found["seconds"]
    assert found == {"before": 1, "after": 3, "keys": going, "timers": 0, "pushes": 0, "unknown": 1}
    assert ended.err.startswith("Workers can no longer commit; events wait in their streams.\nMoved ")
    assert {database.get(Keys(shard=number).layout) for number in range(3)} == {b"3"}
    assert database.exists("invites:{0}:resharding") == 0
    again = commands.on_server("reshard", "3")
    assert (again.status, again.out) == (0, "There are already 3 shards.\n")


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        (None, "The server has no layout"),
        ("7", "There are 7 shards, and their number cannot decrease"),
        (
            "1>5",
            "A reshard from 1 to 5 is not finished: finish it first with `invites reshard 5`.",
        ),
        ("many", "is not a layout"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_what_cannot_be_is_refused_in_a_sentence(
    commands: Commands, database: redis.Redis, there: str | None, sentence: str, more: tuple[str, ...]
) -> None:
    if there:
        database.set(KEYS.layout, there)
    ended = commands.on_server("reshard", "3", *more)
    assert (ended.status, sentence in ended.err) == (1, True), ended.err
    assert database.get(KEYS.layout) == (there.encode() if there else None)


@pytest.mark.parametrize("to", ["0", "1025", "three"])
def test_a_number_that_can_be_no_number_of_shards_is_wrong_use(commands: Commands, to: str) -> None:
    assert commands.on_server("reshard", to).status == 2


# --- beside others


async def test_whoever_goes_on_reading_stops_the_move_and_all_goes_on_as_before(
    command_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example a worker of a release that knows no layout."""
    monkeypatch.setattr(procedure, "_STOPPED_WITHIN_S", 0.0)
    await command_client.set(KEYS.layout, "1")
    await command_client.xgroup_create(KEYS.events, WORKERS_GROUP, "0", mkstream=True)
    await command_client.xreadgroup(WORKERS_GROUP, "old", {KEYS.events: "0"})
    said: list[str] = []
    with pytest.raises(ReshardingError, match="Workers are still running: old"):
        await work(command_client, 3, said).move()
    assert said[-1] == "Waiting for workers to stop: old."
    assert await layouts(command_client, 3) == [b"1", None, None]
    await command_client.set(KEYS.layout, "1>3")
    with pytest.raises(ReshardingError, match="Workers are still running"):
        await work(command_client, 3, []).move()
    assert await layouts(command_client, 3) == [b"1>3"] * 3  # something may have been moved: it stays so


async def test_a_worker_that_announces_itself_stops_the_move_although_it_reads_nothing(
    command_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procedure, "_STOPPED_WITHIN_S", 0.0)
    monkeypatch.setattr(procedure, "_QUIET_MS", 1)
    await command_client.set(KEYS.layout, "1")
    await command_client.xgroup_create(KEYS.events, WORKERS_GROUP, "0", mkstream=True)
    await command_client.xgroup_createconsumer(KEYS.events, WORKERS_GROUP, "busy")
    await wait_until(partial(_is_silent, command_client, 1), "the consumer is idle")
    announced = {"release": "x", "shards": 1, "since": 1, "lastCommit": "", "at": 10**15}  # it stays young
    await command_client.hset(KEYS.worker("busy"), mapping=announced)
    await command_client.pexpire(KEYS.worker("busy"), 60_000)
    with pytest.raises(ReshardingError, match="Workers are still running: busy"):
        await work(command_client, 3, []).move()
    await command_client.hset(KEYS.worker("busy"), "at", 1)
    await work(command_client, 3, []).move()


async def test_a_user_that_may_not_ask_who_is_there_stops_nobody(
    command_client: Any, valkey_url: str
) -> None:
    await command_client.set(KEYS.layout, "1")
    await command_client.acl_setuser(
        "timeless", enabled=True, passwords=["+x"], keys=["*"], commands=["+@all", "-time"]
    )
    await command_client.xgroup_create(KEYS.events, WORKERS_GROUP, "0", mkstream=True)
    try:
        async with connect(valkey_url.replace("//", "//timeless:x@"), "tests") as client:
            with pytest.raises(NoPermissionError):
                await work(client, 3, []).move()
    finally:
        await command_client.acl_deluser("timeless")
    assert await layouts(command_client, 3) == [b"1", None, None]


async def _is_silent(client: Any, ms: int) -> bool:
    return all(one["idle"] > ms for one in await client.xinfo_consumers(KEYS.events, WORKERS_GROUP))


async def test_a_move_that_was_left_goes_on(command_client: Any) -> None:
    await command_client.set(KEYS.layout, "1>3")
    await command_client.hset(KEYS.registry("bob"), "p", "{}")
    assert (await work(command_client, 3, []).move()).keys == (shard_of("bob", 3) != 0)
    assert await layouts(command_client, 3) == [b"3"] * 3


async def test_two_do_not_move_at_once(command_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_LASTS_S", 0.2)
    monkeypatch.setattr(leases, "_TRY_S", 0.05)
    await command_client.set(KEYS.layout, "1")
    await command_client.set("invites:{0}:resharding", "another", px=60_000)
    with pytest.raises(ReshardingError, match="Another `invites reshard` is running"):
        await work(command_client, 3, []).move()
    assert await layouts(command_client, 3) == [b"1", None, None]


async def test_a_lease_is_renewed_and_whoever_has_lost_it_stops(
    command_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_RENEW_S", 0.01)
    async with leases.Lease(command_client, "lease") as lease:
        await command_client.pexpire("lease", 500)

        async def renewed() -> bool:
            return bool(await command_client.pttl("lease") > 1_000)

        await wait_until(renewed, "the lease is renewed")
        lease.check()
        await command_client.set("lease", "another")
        monkeypatch.setattr(lease, "_until", 0.0)  # as it is once nobody renews it
        with pytest.raises(leases.LeaseError):
            lease.check()
    assert await command_client.get("lease") == b"another"
