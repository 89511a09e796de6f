"""Reads every event, notification and push into the timeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from invites.client.servers import until_served
from invites.connection.clients import BLOCK_MS, connect
from invites.events.entry import Entry, entries_of, order

if TYPE_CHECKING:
    from collections.abc import Callable

    from invites.keys import Keys
    from workers.lab.fake_sippo import FakeSippo
    from workers.lab.page.feed import Feed

_GROUP: Final = "page"
_NAMES: Final = msgspec.json.Decoder(list[str])

Message = dict[str, Any]
"""An entry of the timeline: `kind`, `id`, `at` (ms since 1970), `type`, `payload`; of a notification also `peers`."""


class Streams:
    """Reads the streams of the only shard, and hands each entry to the timeline and to `hear`."""

    def __init__(self, url: str, keys: Keys, feed: Feed, hear: Callable[[Message], None]) -> None:
        self._client = connect(url, "page", block_ms=BLOCK_MS)
        self._kinds = {keys.events.encode(): "event", keys.notifications.encode(): "notification"}
        self._feed = feed
        self._hear = hear

    async def start(self) -> None:
        """Make a group on each stream, so that nothing is trimmed before it was read. Raises redis exceptions."""
        for stream in self._kinds:
            await self._client.xgroup_create(stream, _GROUP, "0", mkstream=True)

    async def run(self) -> None:
        """Read until cancelled."""
        read = (b"XREADGROUP", b"GROUP", _GROUP, b"page", b"NOACK", b"COUNT", 500, b"BLOCK", BLOCK_MS)
        last = (b"STREAMS", *self._kinds, *(b">" for _ in self._kinds))
        while True:
            reply: Any = await until_served(
                "Reading the streams", lambda: self._client.execute_command(*read, *last)
            )
            found = [(self._kinds[stream], entry) for stream, raw in reply or () for entry in entries_of(raw)]
            for kind, entry in sorted(found, key=_place):
                message = _message(kind, entry)
                self._feed.add(message)
                self._hear(message)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._client.aclose()


async def read_pushes(fake_sippo: FakeSippo, feed: Feed) -> None:
    """Add each push that sippo-server takes to the timeline, until cancelled."""
    count = 0
    while True:
        for push in await fake_sippo.pushed_after(count):
            count += 1
            feed.add(
                {
                    "kind": "push",
                    "id": f"push-{count}",
                    "at": push.at,
                    "type": push.job.type,
                    "device": push.job.device,
                    "payload": push.job.payload,
                }
            )


def _place(found: tuple[str, Entry]) -> tuple[tuple[int, int], str]:
    """The order on the page: by time; of equal ones the event comes before its notifications."""
    kind, entry = found
    return order(entry.id), kind


def _message(kind: str, entry: Entry) -> Message:
    message = {
        "kind": kind,
        "id": f"{kind}-{entry.id}",
        "at": order(entry.id)[0],
        "type": entry.fields.get(b"type", b"").decode(errors="replace"),
        "payload": _json(entry.fields.get(b"payload", b"null")),
    }
    if kind == "notification":
        message["peers"] = _NAMES.decode(entry.fields[b"peers"])
        message["users"] = _NAMES.decode(entry.fields[b"users"])
    return message


def _json(raw: bytes) -> Any:  # noqa: ANN401 - JSON
    """The payload; null for one that is not JSON, which a person may publish."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
