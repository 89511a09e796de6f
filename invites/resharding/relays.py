"""Prepares the relay streams, which hold a shard's messages for others.

Their entries stay where they are: workers compute the target shard from the name and the new number of shards. Two
things need care. An entry that its target has taken would be taken again by a shard that does not know that, whether
its source has acknowledged it or not. And some entries name their shard, so new shards would not get them: news of a
trunk, and pages of large work (lua/call/pages.lua).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from invites.events.entry import order
from invites.keys import Stream
from invites.resharding.streams import delivered, drop_settled, unread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invites.events.entry import Entry
    from invites.keys import Keys
    from invites.resharding.shard_map import ShardMap
    from invites.resharding.trunks import Trunks

_REGISTERED: Final = b"trunk_registered"
_ENDED: Final = b"trunk_ended"
_PAGE: Final = b"page"
_USER: Final = 0  # indexes in the arguments of both kinds
_PEER: Final = 1
_RAW: Final = 2
_ARGUMENTS: Final = msgspec.json.Decoder(list[str])


class _News(NamedTuple):
    """News of a trunk, or a page."""

    kind: bytes
    name: bytes
    entry: bytes
    arguments: bytes


async def settle_relays(shard_map: ShardMap, trunks: Trunks) -> None:
    """Drop entries that were taken; send news of trunks, and pages of invites, to all shards."""
    for keys in shard_map.old:
        addressed: dict[_News, set[int]] = {}
        async for page in delivered(shard_map, keys, Stream.RELAY):
            for entry in await _acknowledge_taken(shard_map, keys, page):
                _note(entry, trunks, addressed)
        await drop_settled(shard_map, keys, Stream.RELAY)
        async for entry in unread(shard_map, keys, Stream.RELAY):
            _note(entry, trunks, addressed)
        await shard_map.execute(
            (keys.shard, ("XADD", keys.relay, "*", *_fields(news), "shard", shard))
            for news, shards in addressed.items()
            for shard in range(shard_map.after)
            if shard not in shards and shard != keys.shard
        )


async def _acknowledge_taken(shard_map: ShardMap, keys: Keys, page: Sequence[Entry]) -> list[Entry]:
    """Acknowledge the taken entries of a page, and return the others."""
    targets = [_target(shard_map, entry) for entry in page]
    carried = [
        (entry, target)
        for entry, target in zip(page, targets, strict=True)
        if target not in (None, keys.shard)
    ]
    scores = await shard_map.execute(
        (target, ("ZSCORE", shard_map.all[target].taken(keys.shard), entry.id)) for entry, target in carried
    )
    floors = await shard_map.execute(
        (target, ("HGET", f"{shard_map.all[target].base}taken:floors", keys.shard)) for _, target in carried
    )
    taken = {
        entry.id
        for (entry, _), score, floor in zip(carried, scores, floors, strict=True)
        if score is not None or (floor is not None and order(entry.id) < order(floor.decode()))
    }
    if taken:
        await shard_map.execute([(keys.shard, ("XACK", keys.relay, Stream.RELAY.group, *taken))])
    return [entry for entry in page if entry.id not in taken]


def _target(shard_map: ShardMap, entry: Entry) -> int | None:
    """The target shard of an entry; None when it is invalid, and will become a dead letter."""
    said = entry.text(b"shard")
    if said:
        return int(said) if said.isdecimal() and int(said) < shard_map.before else None
    return shard_map.shard_before(entry.text(b"name")) if b"name" in entry.fields else None


def _note(entry: Entry, trunks: Trunks, addressed: dict[_News, set[int]]) -> None:
    """Record the shard that news of a trunk or a page are addressed to, unless they are outdated."""
    fields = entry.fields
    kind = fields.get(b"kind")
    if b"shard" not in fields or kind not in (_REGISTERED, _ENDED, _PAGE):
        return
    try:
        news = _News(*(fields[name.encode()] for name in _News._fields))
        shard = int(fields[b"shard"])
        relevant = kind == _PAGE or _is_of_now(news, trunks)
    except (
        KeyError,
        IndexError,
        ValueError,
    ):  # ValueError includes DecodeError; the entry becomes a dead letter
        return
    if relevant:
        addressed.setdefault(news, set()).add(shard)


def _is_of_now(news: _News, trunks: Trunks) -> bool:
    arguments = _ARGUMENTS.decode(news.arguments)
    now, raw = trunks.get(f"{arguments[_USER]}|{arguments[_PEER]}"), arguments[_RAW].encode()
    return now is None if news.kind == _ENDED else now is not None and now[1] == raw


def _fields(news: _News) -> list[bytes | str]:
    return [word for field in zip(_News._fields, news, strict=True) for word in field]
