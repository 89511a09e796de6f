"""The arguments of the rules in `lua/events`: a struct for each rule, its fields in the order of the parameters.

`tests/unit/test_arguments.py` compares both sides. An absent text is "", JSON is compact, a flag is "1" or "0".
`head` is how every payload about an invite begins: an open JSON object with `inviteId`, `from` and `to`.
"""

from __future__ import annotations

from typing import ClassVar, Final, Self

import msgspec

Value = bytes | str | int


class Arguments(msgspec.Struct, frozen=True):
    """The arguments of one rule."""

    def flat(self) -> tuple[Value, ...]:
        """The arguments as the server's function takes them."""
        return msgspec.structs.astuple(self)

    def having(self, **fields: Value) -> Self:
        """The same arguments with other values in some fields."""
        return msgspec.structs.replace(self, **fields)


class SaidArguments(Arguments, frozen=True):
    """The arguments of an event that a peer sends. `device` is "" where the event names none.

    Few events have the last `optional` ones; the rules get nil for them.
    """

    optional: ClassVar[int] = 1

    def flat(self) -> tuple[Value, ...]:
        """The arguments as the server's function takes them."""
        arguments = msgspec.structs.astuple(self)
        end = len(arguments)
        least = end - self.optional
        while end > least and not arguments[end - 1]:
            end -= 1
        return arguments[:end]


class LongerArguments(SaidArguments, frozen=True):
    """The same with two arguments that few events have."""

    optional: ClassVar[int] = 2


class InviteArguments(SaidArguments, frozen=True):
    """`invite` and, with `invite_request`, `inviteRequest`.

    What other shards know: `closed` and `left` are the entries that closed the room and by which the inviter left it,
    `member` is the callee's value among the room's members, `requester` is the peer that asked for the invite. What the
    worker looked up: `trunks_version` and the `trunks` that lead to the callee, and `lookup_result`, a LookupResult in
    JSON. `stopped` is the code of a stop that follows in its commit. `probe` is "1" or "".
    """

    optional: ClassVar[int] = 12

    peer: str
    user: str
    to: str
    invite_id: str
    head: bytes
    room: str
    mediatypes: bytes
    from_details: bytes
    context: bytes
    expires: int | str
    request_id: str
    transaction: Value
    invite_request: str
    closed: Value = ""
    left: Value = ""
    member: Value = ""
    requester: str = ""
    trunks_version: Value = ""
    trunks: str = ""
    lookup_result: bytes = b""
    replaces: str = ""
    ring_mode: str = ""
    stopped: int | str = ""
    probe: str = ""
    device: str = ""


class InviteReturnArguments(SaidArguments, frozen=True):
    """`invite` with `returnOf`, the first invite's ref; `to` is the callee that the return names.

    `lookup_result` is a LookupResult in JSON.
    """

    peer: str
    user: str
    head: bytes
    return_of: str
    to: str
    transaction: Value
    lookup_result: bytes = b""
    device: str = ""


class RingingArguments(SaidArguments, frozen=True):
    """`ringing`."""

    peer: str
    user: str
    ref: str
    head: bytes
    device: str


class AcceptArguments(SaidArguments, frozen=True):
    """`accept`. `confirmed` is "1" or ""."""

    optional: ClassVar[int] = 3

    peer: str
    user: str
    ref: str
    head: bytes
    transaction: Value
    context: bytes
    device: str
    confirmed: str = ""


class DeclineArguments(LongerArguments, frozen=True):
    """`decline`."""

    peer: str
    user: str
    ref: str
    head: bytes
    from_: str
    to: str
    error_code: int | str
    transaction: Value
    context: bytes
    device: str


class SilenceArguments(SaidArguments, frozen=True):
    """`silence`."""

    peer: str
    user: str
    ref: str
    head: bytes
    transaction: Value
    device: str


class StopInviteArguments(Arguments, frozen=True):
    """`stopInvite`. A service has no `peer` and no `user`; without `from_` the invites of all inviters end."""

    peer: str
    user: str
    from_: str
    invite_id: str
    callee: str
    head: bytes
    error_code: int
    transaction: Value


class GetInvitationsArguments(SaidArguments, frozen=True):
    """`getInvitations`. `other_shards` lists what rings the user's trunks in other shards, in JSON."""

    peer: str
    user: str
    transaction: Value
    other_shards: bytes = b""
    device: str = ""


class RegisteredArguments(Arguments, frozen=True):
    """`registered`. `registry` is what is stored, in JSON; `expires` is in ms."""

    user: str
    peer: str
    registry: bytes
    device: str
    session: str
    expires: int | str
    trunk: str


class DisconnectedArguments(SaidArguments, frozen=True):
    """`disconnected` and `unregistered`."""

    peer: str
    user: str
    session: str
    device: str


class JoinedArguments(Arguments, frozen=True):
    """`joined`. `peer` and `device` are "" where the event names none."""

    user: str
    room: str
    peer: str
    device: str


class LeftArguments(Arguments, frozen=True):
    """`left`."""

    user: str
    room: str


class RoomClosedArguments(Arguments, frozen=True):
    """`roomClosed`."""

    room: str


class UserStateArguments(Arguments, frozen=True):
    """`userState`. `until_when` is in ms since 1970; `blocked` are users, each followed by "|"."""

    user: str
    dnd: str
    until_when: int | str
    blocked: str


class CallsSeenArguments(Arguments, frozen=True):
    """`callsSeen`. `before` is in ms since 1970, "" for all until now."""

    user: str
    before: int | str


class PushArguments(Arguments, frozen=True):
    """The result of a push job: `pushTaken`, `pushUnsure`, `pushGone`, `pushDropped`."""

    ref: str
    device: str


class DeadArguments(Arguments, frozen=True):
    """`dead`: an entry that cannot be processed. `stream` is "" for events, and names any other stream.

    `arguments` are the fields of the entry as the letter keeps them: name, value, …
    """

    type: str
    error: str
    deliveries: int
    peer: str = ""
    user: str = ""
    transaction: Value = ""
    head: bytes = b""
    stream: str = ""
    arguments: tuple[bytes, ...] = ()

    def flat(self) -> tuple[Value, ...]:
        """The arguments as the server's function takes them."""
        *own, kept = msgspec.structs.astuple(self)
        return (*own, *kept)


class MisroutedArguments(Arguments, frozen=True):
    """`misrouted`: an event that was published to another shard than that of `name`."""

    name: str
    type: bytes
    payload: bytes


class RelayArguments(Arguments, frozen=True):
    """`relay`: `kind` decides what the other `arguments` are; `entry` is that of the event that caused it."""

    kind: str
    name: str
    entry: str
    arguments: tuple[str, ...]

    @property
    def message(self) -> str:
        """The kind, as `Scripts.messages` names it: a page of work on many members with the work that it is part of."""
        return f"page:{self.arguments[1]}" if self.kind == "page" and len(self.arguments) > 1 else self.kind

    def flat(self) -> tuple[Value, ...]:
        """The arguments as the server's function takes them."""
        return (self.kind, self.name, self.entry, *self.arguments)


class BundleArguments(Arguments, frozen=True):
    """`bundle`: messages of another shard: a list in JSON of lists, each the arguments of `relay`."""

    messages: str

    @property
    def count(self) -> int:
        """The number of messages. It is too high if a text contains lists."""
        return self.messages.count("],[") + 1


class RelayedEventArguments(Arguments, frozen=True):
    """`relayedEvent`: an event from another shard, with the `entry` that it had there, and its `rule`."""

    entry: str
    rule: str
    arguments: Arguments

    def flat(self) -> tuple[Value, ...]:
        """The arguments as the server's function takes them."""
        return (self.entry, self.rule, *self.arguments.flat())

    def having(self, **fields: Value) -> Self:
        """The same, with other values in some fields of the event's own arguments."""
        return msgspec.structs.replace(self, arguments=self.arguments.having(**fields))


RULES: Final[dict[str, type[Arguments]]] = {
    "invite": InviteArguments,
    "inviteReturn": InviteReturnArguments,
    "ringing": RingingArguments,
    "accept": AcceptArguments,
    "decline": DeclineArguments,
    "silence": SilenceArguments,
    "stopInvite": StopInviteArguments,
    "getInvitations": GetInvitationsArguments,
    "registered": RegisteredArguments,
    "disconnected": DisconnectedArguments,
    "joined": JoinedArguments,
    "left": LeftArguments,
    "roomClosed": RoomClosedArguments,
    "userState": UserStateArguments,
    "callsSeen": CallsSeenArguments,
    "pushTaken": PushArguments,
    "pushUnsure": PushArguments,
    "pushGone": PushArguments,
    "pushDropped": PushArguments,
    "dead": DeadArguments,
    "misrouted": MisroutedArguments,
    "relay": RelayArguments,
    "bundle": BundleArguments,
    "relayedEvent": RelayedEventArguments,
}
"""Each rule and its arguments."""
