"""Users' wishes: for whom nothing rings, and from whom."""

from __future__ import annotations

from dataclasses import dataclass, field

from .state import Id, Payload


@dataclass(frozen=True)
class Wish:
    """The wishes of a user in one event. `until` (ms): then `dnd` is over."""

    at: Id
    dnd: bool
    until: int | None
    block: frozenset[str]


@dataclass
class Wishes:
    """The last wish of each user, by entry id."""

    last: dict[str, Wish] = field(default_factory=dict)

    def say(self, event: Payload, entry: Id) -> None:
        user = event["userId"]
        if user not in self.last or self.last[user].at <= entry:
            dnd, block = event.get("dnd", False), frozenset(event.get("block", ()))
            self.last[user] = Wish(entry, dnd, event.get("until"), block)

    def refuse(self, user: str, inviter: str, now: int) -> bool:
        """Whether no invite of this inviter rings for the user."""
        wish = self.last.get(user)
        if wish is None:
            return False
        return inviter in wish.block or (wish.dnd and (wish.until is None or now < wish.until))
