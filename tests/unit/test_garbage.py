"""A worker that has started does not look through what it was made of again."""

from __future__ import annotations

import gc
import subprocess
import sys


def test_what_is_there_is_collected_no_more() -> None:
    """In a process of its own, since it cannot be told apart afterwards what was frozen."""
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
