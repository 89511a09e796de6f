"""A child process that cannot outlive its parent.

The usual means have gaps: `atexit` does not run after SIGKILL, and PR_SET_PDEATHSIG of Linux follows the *thread* that
started the child (so a thread pool may end it too early), does not exist on macOS, and removes no files.

So the child gets a guardian: a small POSIX shell that waits for the end of a pipe which only the parent keeps open.
However the parent ends, the kernel closes the pipe. The guardian then kills the child and removes its directory. A
normal stop uses the same path, so the path for crashes is tested every day.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

# $1: directory to remove at the end ("" for none); the rest: the child's command. Standard input is the parent's pipe,
# standard output receives the child's pid, standard error is the child's output.
_GUARDIAN = """\
directory=$1; shift
exec 3<&0 </dev/null
"$@" 3<&- >&2 & child=$!
{ read -r _ <&3; kill -KILL $child; } 2>/dev/null >&2 & guard=$!
exec 3<&-
echo $child
exec >&2
wait $child; status=$?
kill -KILL $guard 2>/dev/null
[ -z "$directory" ] || rm -rf "$directory"
exit $status
"""
_TAIL_BYTES = 4096


class ChildProcess:
    """One child process. It starts at once and ends with the parent at the latest.

    `directory` is the child's working directory, and is removed when the child has ended. The child's output goes to an
    unnamed file, see `output`. The child has its own session, so Ctrl-C reaches the parent alone, which decides what to
    stop first.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        directory: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        try:
            self._guardian = subprocess.Popen(  # noqa: S603 - the command is ours
                ["/bin/sh", "-c", _GUARDIAN, "guardian", str(directory or ""), *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._output,
                cwd=directory,
                env=environment,
                start_new_session=True,
            )
        except OSError:
            self._output.close()
            raise
        if self._guardian.stdin is None or self._guardian.stdout is None:
            raise AssertionError("stdin and stdout are pipes")
        self._lifeline = self._guardian.stdin
        with self._guardian.stdout as stdout:
            self.pid = int(stdout.readline())

    def running(self) -> bool:
        """Whether the child still runs."""
        return self._guardian.poll() is None

    def wait(self, timeout_ms: int) -> int | None:
        """Wait for the child and return its status (128 + signal after a signal); None after `timeout_ms`."""
        try:
            return self._guardian.wait(timeout_ms / 1000)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self, patience_ms: int = 5000) -> None:
        """Send SIGTERM, wait up to `patience_ms` for the child to end, then stop it."""
        if self.running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
            self.wait(patience_ms)
        self.stop()

    def stop(self) -> None:
        """Kill the child if it still runs, and wait until it and its directory are gone. May be called again."""
        self._lifeline.close()
        self._guardian.wait()
        self._output.close()

    def output(self) -> str:
        """The last 4 KiB of the child's output; "" after `stop`."""
        if self._output.closed:
            return ""
        size = os.fstat(self._output.fileno()).st_size
        tail = os.pread(self._output.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        return tail.decode(errors="replace").strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
