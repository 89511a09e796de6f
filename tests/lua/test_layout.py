"""Workers configured with another shard count cannot commit events or relayed messages, and fire no timer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from invites.store.commit import TakeMode
from invites.store.layout import Layout, LayoutError, mismatch, read
from tests.support import events as e
from tests.support.forgetting import forget_functions

if TYPE_CHECKING:
    from tests.support.shard import Shard

pytestmark = pytest.mark.one_shard


async def snapshot(shard: Shard) -> dict[bytes, Any]:
    """What all keys hold."""
    return {key: await shard.client.dump(key) async for key in shard.client.scan_iter()}


@pytest.mark.parametrize("layout", ["3", "1>3", "", "x"])
async def test_nothing_is_touched_in_another_layout(shard: Shard, layout: str) -> None:
    await e.bob_rings(shard, "phone")
    operation = await shard.publish(*e.accept("phone"))
    shard.now += 60_000
    await shard.client.set(shard.keys.layout, layout)
    before = await snapshot(shard)
    for commit in (
        shard.committer.commit([operation]),
        shard.committer.commit([operation], TakeMode(1, "0-0")),
        shard.committer.fire(),
    ):
        with pytest.raises(LayoutError):
            await commit
    assert await snapshot(shard) == before
    await shard.client.set(shard.keys.layout, "1")
    await shard.settle(operation)
    assert (await shard.invite(e.REF))["state"] == "ACCEPTED"


async def test_a_server_that_does_not_know_the_functions_yet_tells_it_as_well(shard: Shard) -> None:
    await forget_functions(shard.client)
    await shard.client.set(shard.keys.layout, "3")
    with pytest.raises(LayoutError, match="in 3 shards"):
        await shard.committer.fire()


@pytest.mark.parametrize(
    ("found", "shards", "comes", "sentence"),
    [
        ("3", 1, False, "in 3 shards, but redis.shards is 1: set redis.shards to 3"),
        ("1", 7, False, "in 1 shard, but redis.shards is 7: set redis.shards to 1"),
        ("1>3", 1, False, "moved from 1 shard to 3, but redis.shards is 1: set redis.shards to 3"),
        ("1>3", 3, True, "moved from 1 shard to 3: the worker starts when `invites reshard 3` is done"),
        ("three", 3, False, "is 'three', which is not a number of shards"),
    ],
)
def test_the_sentence_says_what_to_do(found: str, shards: int, comes: bool, sentence: str) -> None:
    error = LayoutError(found, shards)
    assert sentence in str(error)
    assert error.comes is comes


@pytest.mark.parametrize("layout", [Layout(1), Layout(7), Layout(1, 3)])
def test_a_layout_is_read_as_it_was_written(layout: Layout) -> None:
    assert read(str(layout)) == layout


@pytest.mark.parametrize("text", ["", ">", "1>", ">3", "a", "1>b", "-1"])
def test_what_is_no_layout_is_none(text: str) -> None:
    assert read(text) is None


@pytest.mark.leaks  # the layout is written by hand
@pytest.mark.parametrize(
    ("found", "shards"),
    [(None, 3), ("3", 3), ("1>3", 1), ("1>3", 3), ("1", 3), ("7", 3), ("1>3", 2), ("x", 1)],
)
async def test_a_reader_of_a_part_of_the_calls_learns_it(
    shard: Shard, found: str | None, shards: int
) -> None:
    if found is not None:
        await shard.client.set(shard.keys.layout, found)
    wrong = await mismatch(shard.client, shard.keys, shards)
    if found is None or str(shards) in found.split(">"):
        assert wrong is None
    else:
        assert f"redis.shards is {shards}" in str(wrong) or "is not a number of shards" in str(wrong)
