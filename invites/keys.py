"""The names of all keys, and the shard of an id."""

import enum
import zlib
from typing import Final

SCRIPT_KEYS: Final = ("events", "notifications", "timers", "dead", "push", "relay")
"""What the server's functions take as KEYS, in this order: see `lua/core/context.lua`."""


WORKERS_GROUP: Final = "workers"
"""The consumer group of the workers on the events stream."""

PUSH_GROUP: Final = "push"
"""The consumer group of the workers on the push stream."""

RELAY_GROUP: Final = "relay"
"""The consumer group of the workers on the relay stream."""

CANDIDATE: Final = "@"
"""The beginning of an invite's fields that are its candidates. The candidate's id follows; the value is JSON."""

PROBE_GROUPS: Final = "temporary:probe:"
"""The beginning of the names of probes' groups on the notifications, which live for a moment."""


_GROUPS: Final = {"events": WORKERS_GROUP, "push": PUSH_GROUP, "relay": RELAY_GROUP}


class Stream(enum.Enum):
    """A stream that workers consume, by its name among the keys of a shard.

    `group` is the consumer group of the workers on it, `number` which of the function's KEYS it is, counted from 1.
    """

    EVENTS = "events"
    PUSH = "push"
    RELAY = "relay"

    def __init__(self, name: str) -> None:
        self.group = _GROUPS[name]
        self.number = SCRIPT_KEYS.index(name) + 1

    def key(self, keys: "Keys") -> str:
        """The key of the stream in a shard."""
        return keys.script_keys[self.number - 1]


def shard_of(name: str, shards: int) -> int:
    """Return the shard of an id: the CRC-32 (of zlib) of its UTF-8 form modulo the number of shards."""
    return zlib.crc32(name.encode()) % shards


class Keys:
    """The keys of one shard. All carry the shard's hash tag, so that one script may use all of them."""

    def __init__(self, prefix: str = "invites", shard: int = 0, shards: int = 1) -> None:
        """Name the keys of shard number `shard` out of `shards`, all starting with `prefix`."""
        self.prefix = prefix
        self.shard = shard
        self.shards = shards
        self.base = f"{prefix}:{{{shard}}}:"
        self.events = self.base + "events"
        self.notifications = self.base + "notifications"
        self.push = self.base + "push"
        self.relay = self.base + "relay"
        self.dead = self.base + "dead"
        self.timers = self.base + "timers"
        self.trunks = self.base + "trunks"
        self.trunks_version = self.base + "trunks-version"
        self.layout = self.base + "layout"
        self.origin = self.base + "origin"
        self.owed = self.base + "owed"
        self.servers = self.base + "servers"
        self.script_keys = tuple(self.base + name for name in SCRIPT_KEYS)
        """The keys that each of the server's functions takes."""

    def __repr__(self) -> str:
        """Show the prefix and the shard."""
        return f"Keys({self.prefix!r}, {self.shard}, {self.shards})"

    def of(self, shard: int) -> "Keys":
        """The keys of the shard with this number."""
        return self if shard == self.shard else Keys(self.prefix, shard, self.shards)

    def invite(self, ref: str) -> str:
        """Hash: one invite. Its ref is `from|inviteId|to`."""
        return f"{self.base}invite:{ref}"

    def legs(self, ref: str) -> str:
        """Hash: member -> JSON leg of a group call."""
        return f"{self.base}legs:{ref}"

    def story(self, ref: str) -> str:
        """List: what had happened to an invite before 0.2.0 (see `lua/core/story.lua`)."""
        return f"{self.base}story:{ref}"

    def registry(self, user: str) -> str:
        """Hash: peer id -> JSON registration."""
        return f"{self.base}registry:{user}"

    def user_state(self, user: str) -> str:
        """String: the user's wishes (see `lua/reach/user_states.lua`)."""
        return f"{self.base}user-state:{user}"

    def busy(self, user: str) -> str:
        """Hash: the rooms that the user is in -> the user's peer there, and more (see `lua/call/busy.lua`)."""
        return f"{self.base}busy:{user}"

    def calls(self, user: str) -> str:
        """Hash: refs of the user's own calls -> the peer that is notified of each (see `lua/call/indexes.lua`)."""
        return f"{self.base}calls:{user}"

    def calls_ended(self, user: str) -> str:
        """Sorted set: refs of the user's calls by the time of their end (see `lua/events/calls_seen.lua`)."""
        return f"{self.base}calls-ended:{user}"

    def calls_missed(self, user: str) -> str:
        """Sorted set: those that the user has missed."""
        return f"{self.base}calls-missed:{user}"

    def history(self, user: str) -> str:
        """Hash: ref -> JSON of an ended call; `seen` -> up to when the user has seen the missed ones (ms)."""
        return f"{self.base}history:{user}"

    def pending(self, user: str) -> str:
        """Set: refs of the invites that ring the user now."""
        return f"{self.base}pending:{user}"

    def parallel(self, user: str) -> str:
        """Set: refs of the calls to the user that also went to the phone network."""
        return f"{self.base}parallel:{user}"

    def room_members(self, room: str) -> str:
        """Hash: user -> when the user joined (ms since 1970, or an entry id)."""
        return f"{self.base}room-members:{room}"

    def room_invites(self, room: str) -> str:
        """Sorted set: refs of the pending invites into the room."""
        return f"{self.base}room-invites:{room}"

    def taken(self, source: int) -> str:
        """Sorted set: the entries of shard `source`'s relay stream that this shard has taken."""
        return f"{self.base}taken:{source}"

    def closed(self, room: str) -> str:
        """String with a time to live: the entry that last closed the room."""
        return f"{self.base}closed:{room}"

    def left(self, room: str, user: str) -> str:
        """String with a time to live: the entry by which the user last left the room."""
        return f"{self.base}left:{room}|{user}"

    def retry(self, timer: str) -> str:
        """String with a time to live, of a timer that has failed: its next try, the failures, when it was due."""
        return f"{self.base}retry:{timer}"

    def worker(self, name: str) -> str:
        """Hash with a time to live: the announcement of a worker."""
        return f"{self.base}worker:{name}"

    def minute(self, number: int) -> str:
        """Hash with a time to live, in shard 0: worker -> JSON, its counts of a minute (since 1970)."""
        return f"{self.base}minute:{number}"

    def grace(self, peer: str) -> str:
        """String with a time to live: exists during the grace period of a lost device."""
        return f"{self.base}grace:{peer}"
