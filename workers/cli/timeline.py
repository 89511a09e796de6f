"""The story of an invite for people: each candidate's own line, and the steps with the time between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from workers.cli.notifications import time_of
from workers.cli.words import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invites.queries.story import CandidateStory, LegView, StepView, Story, Told

# The events of a candidate, in the order of a call.
_HAPPENED: Final = {
    "pushed": "pushed",
    "taken": "push taken by sippo-server",
    "rung": "rung",
    "ringing": "ringing",
    "silenced": "silenced",
    "lost": "lost",
    "declined": "declined",
    "accepted": "accepted",
}


def lines(story: Story) -> list[str]:
    """The candidates, the legs of a group, the steps and the gateways."""
    found = ["candidates:", *(_candidate(one) for one in story.candidates)]
    if not story.candidates:
        found.append("  none")
    if story.legs:
        found += ["legs:", *map(_leg, story.legs)]
    found.append("story:")
    if story.cut:
        found.append("  earlier steps are gone")
    for step in story.steps:
        found += _step(step)
    if not story.steps:
        found.append("  none (invites.story is false, or the invite is older)")
    return [*found, "gateways:", *(_gateways(story) or ["  none (no consumer group)"])]


def _candidate(one: CandidateStory) -> str:
    ended = "" if one.end_reason is None else f" {one.end_reason}"
    device = "" if one.device is None else f"  device {one.device}"
    times = [(getattr(one, name), words) for name, words in _HAPPENED.items()]
    told = "" if one.cancel_code is None else f" ({one.cancel_code})"
    times.append((one.cancelled, f"cancelled{told}"))
    happened = [f"{words} {time_of(at)}" for at, words in sorted(times, key=lambda time: time[0] or 0) if at]
    return f"  {one.peer}  {one.type} of {one.address}  {one.state}{ended}{device}" + (
        f"  {', '.join(happened)}" if happened else ""
    )


def _leg(leg: LegView) -> str:
    ended = "" if leg.end_reason is None else f" {leg.end_reason}"
    reason = "" if leg.reason is None else f" {leg.reason}"
    return f"  {leg.member}  {leg.state}{ended}{reason}  '{leg.ref}'"


def _step(step: StepView) -> list[str]:
    after = "" if step.after is None else f"+{duration(step.after)}"
    words = [step.what, *([f"by {step.who}"] if step.who is not None else [])]
    words += [] if step.code is None else [str(step.code)]
    return [
        f"  {time_of(step.at)}  {after:>10}  {' '.join(words)}",
        *(f"{_INDENT}{_told(one)}" for one in step.told),
    ]


_INDENT: Final = " " * 26


def _told(told: Told) -> str:
    code = "" if told.code is None else f" {told.code}"
    others = [f"and {told.more} more"] if told.more else []
    names = ", ".join([*told.who, *others])
    return f"{told.what}{code}" + (f" to {names}" if names else "")


def _gateways(story: Story) -> list[str]:
    return [f"  {group}  {_has_read(group, story.steps)}" for group in story.groups]


def _has_read(group: str, steps: Sequence[StepView]) -> str:
    telling = [step for step in steps if step.last is not None]
    unread = [step for step in telling if group in step.unread_by]
    pending = [step for step in telling if group in step.read_by]
    if not unread and not pending:
        return "has acknowledged all notifications of these steps"
    missing = [
        f"{what} those of {', '.join(f'{one.what} ({time_of(one.at)})' for one in found)}"
        for what, found in (("has not read", unread), ("has not acknowledged", pending))
        if found
    ]
    return "; ".join(missing)
