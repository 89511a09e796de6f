"""A fake sippo-server: its API over real HTTP on this machine, with faults on demand.

`invites demo` and the tests use it; `python -m workers.lab.fake_sippo` runs it on its own.
"""

from workers.lab.fake_sippo.directory import Directory, GroupEntry
from workers.lab.fake_sippo.faults import (
    GARBAGE,
    HANG,
    OVERSIZE,
    RESET,
    WRONG_TYPES,
    Fault,
    limited,
    slow,
    status,
)
from workers.lab.fake_sippo.server import FakeSippo, ReceivedPush

__all__ = [
    "GARBAGE",
    "HANG",
    "OVERSIZE",
    "RESET",
    "WRONG_TYPES",
    "Directory",
    "FakeSippo",
    "Fault",
    "GroupEntry",
    "ReceivedPush",
    "limited",
    "slow",
    "status",
]
