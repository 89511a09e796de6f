"""The log messages of the contract: the vendor's templates, letter for letter, and how they are filled in."""

from __future__ import annotations

import logging
import re
from logging import DEBUG, INFO, WARNING
from typing import TYPE_CHECKING, Any, Final

from invites.events import protocol
from invites.logs.personal import HIDDEN, is_shown, reason
from invites.values.printable import escape, stringify

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from invites.events.protocol import Event
    from invites.store.answers import Fact

_log = logging.getLogger(__name__)

# Name of the fact -> level and template.
TEMPLATES: Final = {
    "invite": (
        INFO,
        "invite peerId(${peer.id}), to(${to}), inviteId(${inviteId}), context(${JSON.stringify(context)})",
    ),
    "resolving": (DEBUG, "Trying to get candidates for ${to}"),
    "resolving_group": (DEBUG, "Trying to resolve group ${to}"),
    "got_candidates": (DEBUG, "got candidates ${candidates}"),
    "joined": (INFO, "Notifying that user ${userId} joins to the room ${roomId}"),
    "completed": (DEBUG, "INVITE_COMPLETED will be notified"),
    "accepted": (
        INFO,
        "Notifying that invite ${inviteId} for room ${roomId} was accepted by ${whoAccepted}",
    ),
    "left": (INFO, "Notifying user ${userId} leaves ${roomId}"),
    "cleaning": (INFO, "Cleaning data for room: ${roomIdToClean}"),
    "accept": (INFO, "accept peerId(${peer.id}), from(${from}), inviteId(${inviteId})"),
    "decline": (
        INFO,
        "decline peerId(${peer.id}), from(${from}), inviteId(${inviteId}), errorCode(${errorCode})",
    ),
    "send_cancel": (DEBUG, "send invitation cancel ${invite} to ${candidate}"),
    "send_invitation": (DEBUG, "send invitation ${invite} to ${candidate}"),
    "rejecting": (INFO, "will reject pending invitations of ${item} except ${peer}"),
    "resuming": (INFO, "resuming invite ${type} ${peer} ${message}"),
    "stop_invite": (INFO, "stopInvite with the inviteId ${inviteId} for the callee ${callee}"),
    "update_candidates": (DEBUG, "will update invite candidates with registry ${invite} ${registry}"),
    "peer_disconnected": (INFO, "onPeerDisconnected will remove as candidate from ${invites}"),
    "no_candidates": (WARNING, "No candidates found for resource: ${to}"),
    "resource": (DEBUG, "Resource '${to}' is a ${candidatesType} with candidates: ${candidates}"),
    # Not in the vendor's service.
    "dead_letter": (WARNING, "An event of type ${type} (entry ${entry}) is a dead letter: ${error}"),
    "group_too_large": (
        WARNING,
        "Group ${to} has ${members} members, which is more than maxGroupSize (${maxGroupSize}): nobody is called",
    ),
    "invite_refused": (WARNING, "Limit ${limit}: the invite from ${from} to ${to} is refused"),
    "undisturbed": (INFO, "User ${to} wants no invite of ${from} now: nothing rings"),
    "device_dropped": (WARNING, "Limit ${limit}: user ${user} loses the device ${peer.id}"),
    "not_replaced": (
        WARNING,
        "Invite ${ref} is not replaced: ${why}",
    ),
    "entry_ahead": (
        WARNING,
        "Entry ${entry} is ahead of the server's time and counts as ${now}: see Clocks in operating.md",
    ),
    "timer_failed": (
        WARNING,
        "Timer ${timer} has failed, is a dead letter and will be tried again: ${error}",
    ),
    "timer_failed_again": (
        WARNING,
        "Timer ${timer} has failed ${attempt} times and will be tried again: ${error}",
    ),
    "timer_recovered": (INFO, "Timer ${timer} is applied after ${failures} failures"),
}

# Facts whose values go on with fields of the JSON log line alone.
_FURTHER: Final = dict.fromkeys(("got_candidates", "send_cancel", "send_invitation"), ("inviteId",))
_OBJECTS: Final = frozenset(
    {
        "JSON.stringify(context)",
        "candidate",
        "candidates",
        "invite",
        "invites",
        "item",
        "message",
        "peer",
        "registry",
    }
)
# What a line without persons shows as it came. `error` is shown in part.
_OF_NOBODY: Final = frozenset(
    {
        "attempt",
        "candidatesType",
        "entry",
        "errorCode",
        "failures",
        "inviteId",
        "limit",
        "maxGroupSize",
        "members",
        "now",
        "peer.id",
        "roomId",
        "roomIdToClean",
        "why",
    }
)
_DECLINED: Final = 603  # the code of a decline without an errorCode
_SLOT: Final = re.compile(r"\$\{([^}]+)\}")


class _Message:
    """One template, parsed once."""

    __slots__ = ("_all", "_joints", "_names", "_slots", "level")

    def __init__(self, level: int, template: str, further: tuple[str, ...]) -> None:
        self.level = level
        parts = _SLOT.split(template)
        self._joints = parts[0::2]
        self._slots = parts[1::2]
        # The fields of a JSON log line. Objects stand in the message alone.
        self._all = [*self._slots, *further]
        self._names = [
            None if slot in _OBJECTS else slot.replace("peer.id", "peerId") for slot in self._slots
        ] + [*further]

    def shown(self, values: Fact) -> Fact:
        """The values, without what names a person if the log must not."""
        return values if is_shown() else tuple(map(_without_persons, self._all, values))

    def render(self, values: Fact) -> str:
        text = self._joints[0]
        for at, slot in enumerate(self._slots):
            value = values[at] if at < len(values) else None
            text += _shown(slot, value) + self._joints[at + 1]
        return text

    def fields(self, values: Fact) -> dict[str, str]:
        return {name: value for name, value in zip(self._names, values, strict=False) if name is not None}


def _without_persons(slot: str, value: str) -> str:
    if slot == "error":
        return reason(value)
    if slot == "type":  # a publisher may write anything there
        return value if value in protocol.EVENT_TYPES else HIDDEN
    return value if slot in _OF_NOBODY else HIDDEN


def _shown(slot: str, value: str | None) -> str:
    if slot not in _OBJECTS:
        return "undefined" if value is None else escape(value)
    if not value:
        return "undefined"
    # An id may look like JSON ("1.0") but never starts with a brace; only a context may be any JSON.
    if slot == "JSON.stringify(context)" or value[0] in "{[":
        return stringify(value)
    return escape(value)


_MESSAGES: Final = {
    name: _Message(level, template, _FURTHER.get(name, ())) for name, (level, template) in TEMPLATES.items()
}


def verbosity() -> int:
    """Which facts the current log level needs: 0 warnings, 1 info too, 2 debug too."""
    if _log.isEnabledFor(DEBUG):
        return 2
    return 1 if _log.isEnabledFor(INFO) else 0


def render(fact: Fact) -> str:
    """The text of a fact, on one line without control characters.

    Objects are printed as JSON. A missing value, or an empty object, is printed as `undefined`.
    """
    message = _MESSAGES[fact[0]]
    return message.render(message.shown(fact[1:]))


def received(event: Event) -> Fact | None:
    """The fact that an event was received; None for the types that the vendor's service does not log."""
    match event:
        case protocol.Invite() | protocol.InviteRequest():
            context = bytes(event.context).decode(errors="replace")
            return ("invite", event.peer.id, event.to, event.invite_id, context)
        case protocol.Accept():
            return ("accept", event.peer.id, event.from_, event.invite_id)
        case protocol.Decline():
            code = _DECLINED if event.error_code is None else event.error_code
            return ("decline", event.peer.id, event.from_, event.invite_id, str(code))
        case protocol.StopInvite():
            return ("stop_invite", event.invite_id, event.callee)
        case _:
            return None


def write(facts: Iterable[Fact], about: Mapping[str, Any] | None = None) -> None:
    """Log facts. Facts below the log level are not rendered. `about` are more fields of their JSON lines."""
    for fact in facts:
        message = _MESSAGES.get(fact[0])
        if message is None:
            _log.error("A script reports %s, which has no message.", fact[0])
        elif _log.isEnabledFor(message.level):
            # Creating the record here saves the logger's search of the stack for the caller.
            values = message.shown(fact[1:])
            text = message.render(values)
            extra = {"fields": {"event": fact[0], **(about or {}), **message.fields(values)}}
            _log.handle(_log.makeRecord(_log.name, message.level, "", 0, text, (), None, extra=extra))
