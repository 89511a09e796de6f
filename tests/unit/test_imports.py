"""A worker loads nothing that only the demo, the benchmark or the tests need."""

from __future__ import annotations

import subprocess
import sys

# What `invites run` imports: the command line, and what its command imports when it runs.
RUN = """
import sys
import workers.__main__
from workers import service
from workers.http import server as http
print(*sorted(sys.modules))
"""


def test_a_worker_loads_no_demo_no_benchmark_and_no_stand_in() -> None:
    done = subprocess.run([sys.executable, "-c", RUN], check=True, capture_output=True, text=True)
    loaded = done.stdout.split()
    assert "workers.service" in loaded
    packages = ("workers.lab.bench", "workers.lab.demo", "workers.lab.fake_sippo", "tests")
    assert [name for name in loaded if name.startswith(packages)] == []
