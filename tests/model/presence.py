"""Who is registered: the events of each peer, folded in the order of their entry ids, however they arrive."""

from __future__ import annotations

from dataclasses import dataclass, field

from .holders import Holders
from .state import Candidate, Id


@dataclass(frozen=True)
class Registration:
    """What a peer registered, and by which entry."""

    at: Id
    peer: str
    user: str
    type: str = "WEB"
    device: str | None = None
    session: str | None = None
    expires: int | None = None
    trunk: bool = False
    match: str = "*"
    confirm: bool = False


@dataclass(frozen=True)
class End:
    """A peer's end; with a session it ends that connection only. `since` is when it was really lost.

    `seen`: an event has said so of the connection. `device`: this device has another peer id since; another device may
    have registered as this peer.
    """

    at: Id
    session: str | None = None
    since: Id | None = None
    seen: bool = True
    device: str | None = None


@dataclass
class Line:
    """One peer's events in entry order, and their result."""

    events: list[Registration | End] = field(default_factory=list)
    registration: Registration | None = None
    ended: Id | None = None
    seen: bool = True
    forget_at: int | None = None

    def add(self, event: Registration | End, kept_until: int) -> None:
        self.events = sorted([*self.events, event], key=lambda each: each.at)
        self.registration, self.ended, device = None, None, None
        for each in self.events:
            if isinstance(each, Registration):
                self.registration, self.ended, device = each, None, each.device
            elif each.device is not None and each.device != device:
                continue
            elif self.registration is None or not other_session(self.registration, each.session):
                since = each.since or each.at
                if self.ended is None or since > self.ended:
                    self.ended, self.seen = since, each.seen
                self.registration = None
        self.forget_at = None if self.registration else kept_until

    def last(self) -> Registration | None:
        """The last registration, be it over."""
        return next((each for each in reversed(self.events) if isinstance(each, Registration)), None)


def other_session(registration: Registration | Candidate, session: str | None) -> bool:
    """Sessions tell connections apart only when both are named."""
    return None not in (registration.session, session) and registration.session != session


@dataclass(frozen=True)
class Change:
    """The effect of one event on one peer. `lost`: since when it had been gone; `seen`: if that was seen."""

    peer: str
    before: Registration | None
    after: Registration | None
    lost: Id | None = None
    seen: Id | None = None

    @property
    def fresh(self) -> bool:
        """A new connection, as against a plain repeat of the registration."""
        if self.after is None:
            return False
        return self.before is None or other_session(self.before, self.after.session)

    @property
    def renewed(self) -> bool:
        """A repeat without news: invites that ring the device already do."""
        told = [(each.device, each.session, each.trunk) for each in (self.before, self.after) if each]
        return len(told) == 2 and told[0] == told[1]


class Presence:
    """All peers of all users."""

    def __init__(self, kept: int) -> None:
        """`kept`: for how long (ms) a peer that is gone is remembered."""
        self.kept = kept
        self.lines: dict[tuple[str, str], Line] = {}
        self.said: dict[tuple[str, str], tuple[str, int]] = {}
        self.over: dict[tuple[str, str, bool], tuple[Id, int]] = {}
        self.holders = Holders(kept)

    def forget(self, now: int) -> None:
        gone = [key for key, line in self.lines.items() if line.forget_at and line.forget_at <= now]
        for key in gone:
            del self.lines[key]
        self.holders.forget(now)
        self.said = {key: each for key, each in self.said.items() if each[1] > now}
        self.over = {key: each for key, each in self.over.items() if each[1] > now}

    def get(self, user: str, peer: str) -> Registration | None:
        line = self.lines.get((user, peer))
        return line.registration if line else None

    def lost_at(self, user: str, peer: str) -> Id | None:
        """The id of the end that this peer's line ends with."""
        line = self.lines.get((user, peer))
        return line.ended if line else None

    def seen_to_end(self, user: str, peer: str) -> Id | None:
        """The same, if the connection was seen to end."""
        line = self.lines.get((user, peer))
        return line.ended if line and line.seen else None

    def device(self, user: str, peer: str) -> str | None:
        registration = self.get(user, peer)
        return registration.device if registration else None

    def last_device(self, user: str, peer: str) -> str | None:
        """The device of the peer's last registration, be it over."""
        line = self.lines.get((user, peer))
        known = [each.device for each in line.events if isinstance(each, Registration)] if line else []
        return known[-1] if known else self.said_device(user, peer)

    def say(self, user: str, peer: str, device: str | None, now: int) -> None:
        """Remember for an hour which device the peer has named; without one for another hour."""
        device = device or self.said_device(user, peer)
        if device is not None:
            self.said[user, peer] = device, now + self.kept

    def said_device(self, user: str, peer: str) -> str | None:
        return self.said.get((user, peer), (None, 0))[0]

    def marked_device(self, user: str, peer: str) -> str | None:
        """The device of a peer that is not registered."""
        return None if self.get(user, peer) else self.last_device(user, peer)

    def of(self, user: str) -> list[Registration]:
        return [each for each in self.everybody() if each.user == user]

    def everybody(self) -> list[Registration]:
        return [line.registration for line in self.lines.values() if line.registration]

    def known(self, user: str) -> bool:
        """Whether a registration of this user exists, or is still remembered."""
        return any(
            owner == user and any(isinstance(each, Registration) for each in line.events)
            for (owner, _), line in self.lines.items()
        )

    def register(self, registration: Registration, now: int) -> tuple[Change, list[Change]]:
        """What changed for this peer, and for other peer ids of the same device, which it replaces."""
        user, peer = registration.user, registration.peer
        device = registration.device
        rivals = [each for each in self.of(user) if each.peer != peer and device and each.device == device]
        change = self._add(user, peer, registration, now)
        later = [rival.at for rival in rivals if rival.at > registration.at]
        at, _ = self.over.get((user, device or "", registration.trunk), (None, 0))
        if at is not None and at > registration.at and change.after is registration:
            later.append(at)
        for since in later:
            end = self._add(user, peer, End(since, seen=False, device=device), now)
            change = Change(peer, change.before, end.after)
        if self.lines[user, peer].last() is not registration:
            return change, []
        if change.after is None and not later:
            self._note_over(registration, now)
        rivals = [rival for rival in rivals if rival.at < registration.at]
        over = End(registration.at, seen=False, device=device)
        replaced = [self._add(user, rival.peer, over, now) for rival in rivals]
        return change, [each for each in replaced if each.before and not each.after]

    def _note_over(self, registration: Registration, now: int) -> None:
        """The last registration of its device is over: an earlier one does not count, whatever its peer id."""
        if registration.device is not None:
            name = registration.user, registration.device, registration.trunk
            known, _ = self.over.get(name, (registration.at, 0))
            self.over[name] = max(known, registration.at), now + self.kept

    def end(self, user: str, peer: str, end: End, now: int) -> Change:
        return self._add(user, peer, end, now)

    def _add(self, user: str, peer: str, event: Registration | End, now: int) -> Change:
        line = self.lines.setdefault((user, peer), Line())
        before, lost, seen = line.registration, line.ended, self.seen_to_end(user, peer)
        line.add(event, now + self.kept)
        if before and not line.registration:
            self.holders.release(peer, user, now)
            if not (isinstance(event, End) and event.device):
                self._note_over(before, now)
        return Change(peer, before, line.registration, lost, seen)
