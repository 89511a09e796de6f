"""Garbage collection does not visit imported modules and long-lived objects again and again."""

from __future__ import annotations

import gc
import subprocess
import sys


def test_what_is_there_is_collected_no_more() -> None:
    """In a process of its own, since frozen objects cannot be told apart afterwards."""
    program = (
        "import gc, workers.service\n"
        "from workers.aio.gc import freeze_gc\n"
        "before = len(gc.get_objects())\n"
        "freeze_gc()\n"
        "print(before, len(gc.get_objects()))"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    before, after = map(int, said.split())
    assert before > 10_000
    assert after < before / 100
    assert gc.get_freeze_count() < 1_000  # Python 3.12 moves some hundreds of its own there


_LONG_LIVED = """
import gc, weakref
from workers.aio.gc import LongLived

class Node: pass

def cycle():
    node = Node()
    node.itself = node
    return weakref.ref(node)

objects, kept = LongLived(), [Node() for _ in range(20_000)]
young = cycle()
objects.leave_alone()
print(young() is None, len(gc.get_objects()) < 1_000)
held = Node()
held.itself, old = held, weakref.ref(held)
objects.leave_alone()
del held
gc.collect()
print(old() is None)
for left in range(3_000, 1_400, -1):
    objects.ended(left)
print(old() is None, len(gc.get_objects()) < 1_000)
"""


def test_connections_are_not_looked_through_until_as_many_have_ended() -> None:
    said = subprocess.run(
        [sys.executable, "-c", _LONG_LIVED], check=True, capture_output=True, text=True
    ).stdout
    assert said.split() == ["True", "True", "False", "True", "True"]
