"""The keys in Redis behind a call. It only reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from invites.connection.clients import connect
from invites.queries.invites import text

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from invites.keys import Keys

_MOST: Final = 5_000  # keys that are looked at
_LONGEST: Final = 2_000  # characters of a value that are shown
_COLLECTIONS: Final = {"hash": "HGETALL", "set": "SMEMBERS", "zset": "ZRANGE", "list": "LRANGE"}


class CallKeys:
    """Reads the keys of one shard. The owner must call `aclose`."""

    def __init__(self, url: str, keys: Keys) -> None:
        self._client = connect(url, "page-keys")
        self._keys = keys

    async def of(self, sender: str, invite_id: str) -> list[dict[str, Any]]:
        """The keys about the calls `sender|invite_id|…`, sorted by name: `key`, `type`, `ttl` (ms), `values`.

        A key counts if its name has the call, its room or a user of it, or if a member of it has the call; then only
        such members are shown. Raises redis exceptions.
        """
        client, base = self._client, self._keys.base
        mark = f"{sender}|{invite_id}|"
        scanned: list[bytes] = [name async for name in client.scan_iter(match=f"{base}*", count=500)]
        names = sorted(name.decode(errors="replace") for name in scanned[:_MOST])
        rooms, users = await _named(client, self._keys, names, mark)
        found = []
        for name in names:
            type_ = text(await client.execute_command("TYPE", name)) or ""
            kind, _, rest = name.removeprefix(base).partition(":")
            values = await _values(client, name, type_)
            if not (mark in name or rest in rooms or (kind == "registry" and rest in users)):
                values = [one for one in values if any(mark in part for part in one)]
            if values:
                ttl = await client.pttl(name)
                shown = [[part[:_LONGEST] for part in one] for one in values]
                found.append({"key": name, "type": type_, "ttl": ttl if ttl >= 0 else None, "values": shown})
        return found

    async def aclose(self) -> None:
        """Close the connection."""
        await self._client.aclose()


async def _named(client: Redis, keys: Keys, names: list[str], mark: str) -> tuple[set[str], set[str]]:
    """The rooms and the users of the call and its legs."""
    rooms, users = set(), {mark.partition("|")[0]}
    for name in names:
        if name.startswith(keys.invite(mark)):
            users.add(name.rpartition("|")[2])
            room = text(await client.execute_command("HGET", name, "room"))
            rooms |= {room} if room else set()
    return rooms, users


async def _values(client: Redis, name: str, kind: str) -> list[list[str]]:
    """The content as rows: field and value, member, or member and score. Streams are on the timeline."""
    if kind == "string":
        return [[text(await client.execute_command("GET", name)) or ""]]
    command = _COLLECTIONS.get(kind)
    if command is None:
        return []
    more = {"zset": ("0", "-1", "WITHSCORES"), "list": ("0", "-1")}.get(kind, ())
    reply: Any = await client.execute_command(command, name, *more)
    if kind == "set":
        return sorted([text(member) or ""] for member in reply)
    if kind == "list":
        return [[text(member) or ""] for member in reply]
    pairs = reply.items() if isinstance(reply, dict) else _pairs(reply)
    return [[text(name) or "", _shown(value)] for name, value in pairs]


def _pairs(reply: Any) -> list[tuple[bytes, Any]]:  # noqa: ANN401 - flat, or pairs already
    if reply and isinstance(reply[0], (list, tuple)):
        return [(one[0], one[1]) for one in reply]
    return list(zip(reply[::2], reply[1::2], strict=True))


def _shown(value: Any) -> str:  # noqa: ANN401 - a value, or a score
    return f"{value:.0f}" if isinstance(value, float) else text(value) or ""
