"""`invites bench memory`: measures the server's memory for a pending invite, and what a finished call leaves."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Final

import msgspec

from invites.store.settings import Settings
from workers.lab.bench.baseline import Baseline
from workers.lab.bench.connection import pack
from workers.lab.bench.load import Load
from workers.lab.bench.target import BenchError, Target, open_target

_SAMPLE: Final = 1000  # keys of each kind
_QUIET_S: Final = 60.0
_POLL_S: Final = 0.05
_STEADY: Final = 4096  # bytes
_STEADY_S: Final = 1.5
_NOT_ADDED: Final = frozenset({"registry", "holder", "events", "notifications", "push", "relay", "dead"})


class Memory(msgspec.Struct, frozen=True, omit_defaults=True):
    """The result: the number of pending invites, and the bytes that each of them added.

    `bytes_per_ended_call` is what each left once a device had accepted it, if that was measured.
    """

    pending: int
    bytes_per_invite: float
    bytes_per_ended_call: float | None = None


class Parts(msgspec.Struct, frozen=True):
    """The bytes of an invite in each kind of key as `MEMORY USAGE` reports them, pending and ended.

    The rest is in the server's tables of keys and their times to live.
    """

    pending: dict[str, float]
    ended: dict[str, float]


def measure(
    load: Load, url: str | None, settings: Settings, tell: Callable[[str], None], *, ended: bool = False
) -> tuple[Memory, Parts]:
    """Compare the server's memory with all invites pending with its memory before, when all devices are registered.

    With `ended` a device accepts each of them then, and the memory is compared once more. The streams are empty each
    time.

    Raises `BenchError` when there is no valid result.
    """
    with open_target(url) as target:
        baseline = Baseline(target, settings)
        target.make_groups()
        tell(f"registering the devices of {load.callees:,} users")
        baseline.register(load)
        before = used_memory(target)
        tell(f"making {load.calls:,} pending invites")
        baseline.settle(load.invites())
        result = Memory(load.calls, _added(target, before, load, pending=load.calls))
        parts = Parts(_parts(target, load.calls), {})
        if ended:
            tell("accepting them")
            baseline.settle(load.accepts())
            left = _added(target, before, load, pending=0)
            result = msgspec.structs.replace(result, bytes_per_ended_call=left)
            parts = msgspec.structs.replace(parts, ended=_parts(target, load.calls))
        return result, parts


def _added(target: Target, before: int, load: Load, *, pending: int) -> float:
    """The bytes that each call has added. So many of them must be pending."""
    added = used_memory(target) - before
    found = target.command("ZCARD", target.keys.timers)
    if found != pending:
        raise BenchError(f"{pending} invites should be pending, but {found} are.")
    return round(added / load.calls, 1)


def used_memory(target: Target) -> int:
    """Bytes that the server has allocated without its clients, once no table grows and the figure is steady.

    The server frees its clients' buffers once a second and counts them at another moment of the second.
    """
    deadline = time.monotonic() + _QUIET_S
    last, since = 0, time.monotonic()
    while True:
        memory = target.info("memory")
        used = int(memory["used_memory"]) - int(memory["mem_clients_normal"])
        grows = memory.get("mem_overhead_db_hashtable_rehashing", "0") != "0"
        if grows or abs(used - last) > _STEADY:
            last, since = used, time.monotonic()
        elif time.monotonic() - since > _STEADY_S:
            return used
        if time.monotonic() > deadline:
            raise BenchError(f"The server's memory has not become steady within {_QUIET_S:.0f} s.")
        time.sleep(_POLL_S)


def _parts(target: Target, invites: int) -> dict[str, float]:
    count: Counter[str] = Counter()
    sample: dict[str, list[bytes]] = {}
    base = len(target.keys.base)
    for name in target.names():
        kind = name[base:].partition(b":")[0].decode()
        if kind not in _NOT_ADDED:
            count[kind] += 1
            sample.setdefault(kind, []).extend([name] if count[kind] <= _SAMPLE else [])
    parts = {}
    for kind, names in sample.items():
        sizes = target.send(pack("MEMORY", "USAGE", name, "SAMPLES", 0) for name in islice(names, _SAMPLE))
        parts[kind] = round(sum(sizes) / len(sizes) * count[kind] / invites, 1)
    return dict(sorted(parts.items(), key=lambda part: -part[1]))
