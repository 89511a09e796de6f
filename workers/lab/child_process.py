"""A child process that cannot outlive its parent.

The usual means have holes: `atexit` does not run after SIGKILL, and Linux's PR_SET_PDEATHSIG follows the
*thread* that started the child (a thread pool ends it too early), is unknown to macOS, and cleans nothing up.
So the child gets a guardian, a small POSIX shell that waits for the end of a pipe whose other end only the
parent holds. However the parent ends, the kernel closes that pipe; the guardian then kills the child and
removes its directory. An orderly stop goes the same way: what matters in a crash is what is used every day.
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

# $1: directory to remove at the end ("" for none); the rest: the child's command. Standard input is the
# parent's pipe, standard output tells the child's pid, standard error is the child's output.
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
    """One child process, started at once, killed at the latest when the parent ends.

    `directory`, if given, is the child's working directory and is removed after the child's end. What the
    child prints is kept in an unnamed file, see `output`. The child has a session of its own: Ctrl-C in the
    terminal reaches the parent alone, which decides what to stop first.
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
            raise AssertionError("both ends are pipes")
        self._lifeline = self._guardian.stdin
        with self._guardian.stdout as told:
            self.pid = int(told.readline())

    def running(self) -> bool:
        """Whether the child still runs."""
        return self._guardian.poll() is None

    def wait(self, timeout_ms: int) -> int | None:
        """Wait for the child's end: its status (128 + signal if one ended it), None after `timeout_ms`."""
        try:
            return self._guardian.wait(timeout_ms / 1000)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self, patience_ms: int = 5000) -> None:
        """Ask the child to end (SIGTERM), wait `patience_ms` for it, then stop it."""
        if self.running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
            self.wait(patience_ms)
        self.stop()

    def stop(self) -> None:
        """Kill the child if it still runs, wait until it and its directory are gone. May be called again."""
        self._lifeline.close()
        self._guardian.wait()
        self._output.close()

    def output(self) -> str:
        """The last 4 KiB of what the child has printed; "" after `stop`."""
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
