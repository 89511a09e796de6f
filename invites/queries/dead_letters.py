"""The dead letters of one shard: entries and timers that failed, for an operator to retry or drop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct
from redis.exceptions import WatchError

from invites.events.entry import Entry
from invites.events.kept_fields import KEPT, cuts, fields_of, kept_fields, others
from invites.keys import Stream
from invites.queries import streams
from invites.queries.invites import whole
from invites.values.server_time import in_ms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from invites.keys import Keys

# The type of a failed timer, which has no entry. Its payload is the timer's member, `due` the time that it was set to.
# A letter without `due` is of a release that deleted such timers.
_TIMER: Final = "timer"
_FIELDS: Final = msgspec.json.Decoder(dict[str, str])


class NotRetriableError(Exception):
    """The letter cannot be retried. The text is one sentence that says why."""


class DeadLetter(Struct, rename="camel", frozen=True, omit_defaults=True):
    """One dead letter. `entry` is the id of the failed entry, `error` the reason.

    `fields` are the event's fields besides `type` and `payload`. Of an entry of another stream, `payload` is a JSON
    object with all its fields. `cut` says of each field that was cut, by its name,
    how long it was, with its SHA-256.
    """

    id: str
    type: str
    payload: str
    error: str
    entry: str
    deliveries: int | None
    fields: dict[str, str] = {}
    cut: dict[str, str] = {}


def dead_letter(entry: Entry) -> DeadLetter:
    """The letter in an entry of the stream `dead`."""
    fields, payload = others(entry.fields), entry.text(b"payload")
    if entry.text(b"stream") and fields:
        fields, payload = {}, msgspec.json.encode(fields).decode()
    return DeadLetter(
        entry.id,
        entry.text(b"type"),
        payload,
        entry.text(b"error"),
        entry.text(b"entry"),
        whole(entry.fields.get(b"deliveries")),
        fields,
        cuts(entry.fields),
    )


async def keep_lost(client: Redis, keys: Keys, stream: Stream, entry: str, failure: str) -> None:
    """Write the dead letter of an entry that was settled without all its effects. Raises redis exceptions."""
    found = await streams.read(client, stream.key(keys), entry, entry)
    read = found[0] if found else Entry(entry, {})
    internal = "" if stream is Stream.EVENTS else stream.value
    kept = kept_fields(read.fields, internal)
    letter: dict[Any, Any] = dict(zip(kept[::2], kept[1::2], strict=True)) | {
        "error": f"the entry was acknowledged, but a write failed, so effects are missing: {failure}"[:KEPT],
        "entry": entry,
        "deliveries": read.deliveries,
    }
    await client.xadd(keys.dead, {**letter, "stream": internal} if internal else letter)


class DeadLetters:
    """Lists, retries and drops dead letters. The methods raise redis exceptions."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def all(self) -> AsyncIterator[DeadLetter]:
        """All current letters, oldest first, without letters that arrive during the iteration."""
        newest = await streams.newest(self._client, self._keys.dead)
        if newest:
            async for entry in streams.pages(self._client, self._keys.dead, last=newest[0].id):
                yield dead_letter(entry)

    async def newest(self, count: int) -> list[DeadLetter]:
        """The newest `count` letters, the newest first."""
        return [dead_letter(one) for one in await streams.newest(self._client, self._keys.dead, count)][::-1]

    async def get(self, letter: str) -> DeadLetter | None:
        """The letter with this id; None if there is none."""
        found = await streams.read(self._client, self._keys.dead, letter, letter)
        return dead_letter(found[0]) if found else None

    async def retry(self, letter: str) -> str | None:
        """Publish the event again, or let the timer fire now, and delete the letter, in one transaction.

        Returns the id of the new entry, or "now" for a timer; None when the letter is gone, because someone else has
        retried or dropped it. Raises NotRetriableError, also for a timer that has been applied or removed meanwhile.
        """
        async with self._client.pipeline(transaction=True) as pipe:
            while True:
                await pipe.watch(self._keys.dead)
                found = await streams.read(self._client, self._keys.dead, letter, letter)
                if not found:
                    return None
                await self._check_timer(found[0])
                now = in_ms(await self._client.time())
                pipe.multi()
                self._publish(pipe, found[0], now)
                pipe.xdel(self._keys.dead, letter)
                try:
                    entry, _ = await pipe.execute()
                except WatchError:
                    continue  # the dead letters have changed
                return entry.decode() if isinstance(entry, bytes) else "now"

    async def _check_timer(self, letter: Entry) -> None:
        if not _is_timer(letter) or b"due" not in letter.fields:
            return
        if await self._client.zscore(self._keys.timers, letter.fields.get(b"payload", b"")) is None:
            raise NotRetriableError(f"{letter.id} is a timer that has been applied or removed: drop it.")

    def _publish(self, pipe: Pipeline, letter: Entry, now: int) -> None:
        cut = ", ".join(cuts(letter.fields))
        if cut:
            raise NotRetriableError(
                f"{letter.id} keeps only the first {KEPT} bytes of {cut}: publish the event again from its source, and "
                "drop the letter."
            )
        stream, payload = letter.text(b"stream"), letter.fields.get(b"payload")
        if not payload and not others(letter.fields):
            raise NotRetriableError(f"{letter.id} has no payload to publish again: drop it.")
        if stream:
            pipe.xadd(*self._failed_entry(letter, stream, now))
        elif payload and _is_timer(letter):
            due = letter.fields.get(b"due")
            # XX: a timer that was applied a moment ago stays away.
            pipe.zadd(self._keys.timers, {payload: due or now}, xx=due is not None)
        else:
            event: dict[Any, Any] = {**fields_of(letter.fields, is_event=True)}
            pipe.xadd(self._keys.events, event)

    def _failed_entry(self, letter: Entry, stream: str, now: int) -> tuple[str, dict[Any, Any]]:
        """The key and the fields of a failed entry of the push or relay stream."""
        streams_of_workers = {"push": self._keys.push, "relay": self._keys.relay}
        # Before 0.2.0 the payload of a letter was a JSON object of all fields.
        fields: dict[Any, Any] = {**fields_of(letter.fields, is_event=False)}
        try:
            key, fields = streams_of_workers[stream], fields or _former_fields(letter)
        except (KeyError, msgspec.DecodeError):
            raise NotRetriableError(f"{letter.id} cannot be put back into {stream}: drop it.") from None
        deadline = fields.get(b"deadline", b"")
        if stream == "push" and deadline.isdigit() and int(deadline) <= now:
            raise NotRetriableError(f"{letter.id} is a push that has expired: drop it.")
        return key, fields

    async def drop(self, letter: str) -> bool:
        """Delete the letter permanently. False when it was already gone."""
        return bool(await self._client.xdel(self._keys.dead, letter))


def _is_timer(letter: Entry) -> bool:
    return letter.text(b"type") == _TIMER and not letter.text(b"entry")


def _former_fields(letter: Entry) -> dict[bytes, bytes]:
    fields = _FIELDS.decode(letter.fields.get(b"payload", b""))
    return {name.encode(): value.encode() for name, value in fields.items()}
