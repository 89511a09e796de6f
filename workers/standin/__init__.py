"""A stand-in for sippo-server: its API over real HTTP on this machine, with faults on demand.

For `invites demo` and the tests; `python -m workers.standin` runs it by itself.
"""

from workers.standin.directory import Directory, GroupEntry
from workers.standin.faults import (
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
from workers.standin.server import Push, StandIn

__all__ = [
    "GARBAGE",
    "HANG",
    "OVERSIZE",
    "RESET",
    "WRONG_TYPES",
    "Directory",
    "Fault",
    "GroupEntry",
    "Push",
    "StandIn",
    "limited",
    "slow",
    "status",
]
