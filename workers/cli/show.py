"""`invites show`: one invite, its story, and the entries about it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct

from invites.values.ref import Ref
from workers.cli.options import AsJson, CommandError, Common, with_common
from workers.cli.output import say, say_json

if TYPE_CHECKING:
    from invites.events.entry import Entry
    from invites.queries.invites import InviteView
    from invites.queries.story import Story
    from workers.cli.session import Session


@with_common()
def show(
    *,
    ref: Annotated[
        str, typer.Argument(metavar="REF", help="The invite, as 'from|inviteId|to'. Quote it for the shell.")
    ],
    common: Common,
    as_json: AsJson = False,
) -> int:
    """Show one invite: its candidates, its story, and the events and notifications about it.

    A ref names the caller, the id that the caller's client chose, and the callee: 'alice|i1|bob'.

    The story is kept as long as the invite is readable. A worker trims settled events, and notifications that all
    gateways have read, so the command shows only the remaining ones.
    """
    try:
        callee = Ref.parse(ref).callee
    except ValueError:
        raise CommandError(
            f"{ref} is not the ref of an invite: write 'from|inviteId|to', quoted for the shell.", 2
        ) from None

    async def print_it(session: Session) -> int:
        found = await _read(session, ref, callee)
        if as_json:
            say_json(_as_object(found))
            return 0
        for line in _lines(ref, found):
            say(line)
        return 0

    return common.on_server(print_it)


class _Found(Struct):
    """What is left of an invite: its story, and the entries about it, oldest first."""

    story: Story | None
    events: list[Entry]
    notifications: list[Entry]


async def _read(session: Session, ref: str, callee: str) -> _Found:
    """Raises CommandError if nothing is left, and redis exceptions."""
    from invites.queries.story import story_of
    from workers.cli import entries

    keys = session.shard_for(callee)
    client = session.client(keys)
    story = await story_of(client, keys, ref)
    subject = entries.Subject.of(ref, None if story is None else story.invite)
    events = [one async for one in entries.events_of(client, keys.events, subject)]
    told = [one async for one in entries.notifications_of(client, keys.notifications, subject)]
    if story is None and not events and not told:
        raise CommandError(
            f"There is no invite {ref}: it never arrived, or it ended longer ago than retainAfter."
        )
    return _Found(story, events, told)


def _as_object(found: _Found) -> dict[str, Any]:
    from workers.cli import entries, notifications

    return {
        "story": found.story,
        "events": [entries.as_object(one) for one in found.events],
        "notifications": [notifications.as_object(one) for one in found.notifications],
    }


def _lines(ref: str, found: _Found) -> list[str]:
    from workers.cli import notifications, timeline

    story = found.story
    lines = (
        [f"{ref} is no longer stored."]
        if story is None or story.invite is None
        else _facts(ref, story.invite)
    )
    lines += [] if story is None else timeline.lines(story)
    events = [
        f"  {notifications.time_of(one.at)}  {one.text(b'type'):16}{one.text(b'payload')}"
        for one in found.events
    ]
    told = [f"  {notifications.line(one)}" for one in found.notifications]
    for title, listed in (("events", events), ("notifications", told)):
        lines += [f"{title}:", *(listed or ["  none left in the stream"])]
    return lines


def _facts(ref: str, invite: InviteView) -> list[str]:
    outcome = "" if invite.code is None else f" ({invite.code} {invite.reason})"
    by = "" if invite.who_accepted is None else f" by {invite.who_accepted}"
    facts = {
        "state": f"{invite.state}{outcome}{by}",
        "kind": "inviteRequest" if invite.invite_request else "invite",
        "group": invite.group,
        "room": invite.room,
        "started": _moment(invite.started_at),
        "rings until" if invite.ended_at is None else "rang until": _moment(invite.expires_at),
        "ended": _moment(invite.ended_at),
        "mediatypes": bytes(invite.mediatypes).decode(errors="replace"),
        "context": bytes(invite.context).decode(errors="replace"),
    }
    return [ref, *(f"  {name:12}{value}" for name, value in facts.items() if value not in {None, "null"})]


def _moment(ms: int | None) -> str | None:
    if ms is None:
        return None
    try:
        return datetime.fromtimestamp(ms / 1000).astimezone().isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return str(ms)  # datetime cannot represent it
