"""The memory of a process."""

import re
from pathlib import Path


def memory_of(pid: int) -> int:
    """The resident memory of a process, bytes; 0 where there is no /proc, or the process is gone."""
    status = Path(f"/proc/{pid}/status")
    try:
        found = re.search(r"VmRSS:\s+([0-9]+) kB", status.read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
