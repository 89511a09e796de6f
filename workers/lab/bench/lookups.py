"""`invites bench look-ups`: counts a call's requests to sippo-server and measures how long devices wait for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from invites.sippo.answers import PushDevice
from invites.store.settings import Settings
from workers.lab.bench.baseline import Baseline
from workers.lab.bench.fleet import STUCK_S, Fleet, await_first_commit, open_fleet
from workers.lab.bench.latency import check, offer, percentile
from workers.lab.bench.load import CALLEES, Event, Load
from workers.lab.bench.sippo import Sippo, open_sippo
from workers.lab.bench.target import BenchError, Target, open_target
from workers.lab.fake_sippo import HANG, Directory, Fault, GroupEntry, slow

_NONE: Final = "none"
_MODES: Final[Mapping[str, Mapping[str, bool]]] = {
    _NONE: {},
    "legacy": {"resolveGroups": True, "resolvePush": True},
    "reachability": {"legacyUserGroupResolution": False},
}
_CALLEES: Final = {"registered": "callee-0", "phone": "sleeper", "group": "group"}
_CALLS: Final = 10  # for each kind of callee; all make the same requests
_WARM_UP_S: Final = 1.0
# A hanging request times out after 1 s, and the requests of that second with it. Then the breaker is open.
_BREAKING_S: Final = 3.0
_FIRST: Final = Load(1, 1, 1, name="first-")
_POLL_S: Final = 0.01


class Waits(msgspec.Struct, frozen=True):
    """Latencies from `invite` to `invitation`, ms."""

    p50_ms: float
    p99_ms: float
    longest_ms: float


class LookUps(msgspec.Struct, frozen=True):
    """The result.

    `requests` counts the lookups of one call, by mode and kind of callee: a registered user, a user with a sleeping
    phone, or a group of `members` with a sleeping phone each. `waits` has the latencies of registered devices by mode,
    with lookups that take `look_up_ms`; the mode `none` makes no lookups. `dead` has them with a sippo-server that
    takes requests and never answers.
    """

    rate: float
    look_up_ms: int
    members: int
    requests: dict[str, dict[str, float]]
    waits: dict[str, Waits]
    dead: Waits


class Plan(msgspec.Struct, frozen=True):
    """What to measure, and on which server (None: our own). `rules` is `invites` without `basic`."""

    rate: float
    seconds: float
    look_up_ms: int
    members: int
    devices: int
    url: str | None
    rules: dict[str, Any]


def measure(plan: Plan, tell: Callable[[str], None]) -> LookUps:
    """Measure all modes in turn. Raises `BenchError` as `latency.measure` does."""
    requests, waits = {}, {}
    with open_target(plan.url) as target, open_sippo(_directory(plan)) as sippo:
        for mode in _MODES:
            tell(f"mode {mode}: lookups of {plan.look_up_ms} ms at {plan.rate:,.0f} calls/s")
            with _workers(target, sippo, plan, mode, slow(plan.look_up_ms)) as fleet:
                waits[mode] = _wait(target, fleet, plan, _WARM_UP_S)
                if mode != _NONE:
                    sippo.fault(None)
                    requests[mode] = {
                        kind: _count(target, sippo, fleet, kind, to) for kind, to in _CALLEES.items()
                    }
        tell(f"sippo-server is dead: {plan.rate:,.0f} calls/s")
        with _workers(target, sippo, plan, "legacy", HANG) as fleet:
            dead = _wait(target, fleet, plan, _BREAKING_S)
    return LookUps(plan.rate, plan.look_up_ms, plan.members, requests, waits, dead)


def _directory(plan: Plan) -> Directory:
    members = [f"member-{number}" for number in range(plan.members)]
    sleeping = [PushDevice("phone", "ios")]
    registered = {f"callee-{number}": list[PushDevice]() for number in range(CALLEES)}
    return Directory(
        users={**registered, **dict.fromkeys([*members, "sleeper"], sleeping)},
        groups={"group": GroupEntry(members)},
    )


@contextmanager
def _workers(target: Target, sippo: Sippo, plan: Plan, mode: str, fault: Fault) -> Iterator[Fleet]:
    """A worker in this mode, on a server that has nothing but the registrations of the callees."""
    target.clear()
    target.make_groups(counted=False)
    Baseline(target, Settings()).register(Load(CALLEES, plan.devices, 1))
    rules = {**plan.rules, "basic": {**_MODES[mode], "wac": sippo.wac}}
    sippo.fault(None)
    with open_fleet(target, 1, rules) as fleet:
        target.publish(_FIRST.invites())
        await_first_commit(target, fleet)
        sippo.fault(fault)
        yield fleet
    sippo.fault(None)


def _wait(target: Target, fleet: Fleet, plan: Plan, warm_up_s: float) -> Waits:
    load = Load(int(plan.rate * (warm_up_s + plan.seconds)), plan.devices, 1)
    run = offer(target, fleet, load, plan.rate)
    check(run, plan.rate)
    waits = [run.invites[call] for call in range(int(warm_up_s * plan.rate), load.calls)]
    shown = (percentile(waits, 0.5), percentile(waits, 0.99), max(waits))
    return Waits(*(round(each * 1e3, 3) for each in shown))


def _count(target: Target, sippo: Sippo, fleet: Fleet, kind: str, to: str) -> float:
    """The lookups of one call to a callee of this kind."""
    asked, settled = sippo.lookups(), target.progress().settled
    target.publish(_invite(to, f"{kind}-{number}") for number in range(_CALLS))
    deadline = time.monotonic() + STUCK_S
    while target.progress().settled < settled + _CALLS:
        fleet.check()
        if time.monotonic() > deadline:
            raise BenchError(f"Calls of a callee that is {kind} are not settled. {fleet.words()}".strip())
        time.sleep(_POLL_S)
    return (sippo.lookups() - asked) / _CALLS


def _invite(to: str, invite_id: str) -> Event:
    caller = {"id": "counting-0", "user": "counting"}
    payload = {"peer": caller, "to": to, "inviteId": invite_id, "room": f"room-{invite_id}"}
    return "invite", msgspec.json.encode(payload)
