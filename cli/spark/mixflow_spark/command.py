"""mixflow as a child process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Callable, Optional

from mixflow_spark.errors import MixflowError

#: Says nothing but warnings and errors, as plain lines.
QUIET = ("--quiet", "--progress", "off", "--color", "never")

#: Bytes of what a child has said that an error carries; the end matters.
_MOST_SAID = 64 * 1024

#: How long an interrupted child may take to tidy up, in seconds.
_PATIENCE = 10.0


def find(binary: Optional[str]) -> str:
    """Return the command to start: ``binary``, or the ``mixflow`` on PATH.

    Raises MixflowError if there is none.
    """
    name = binary or "mixflow"
    found = shutil.which(name)
    if found is None:
        reason = "there is no such program; install mixflow on every machine, or say `binary`"
        raise MixflowError(name, None, reason)
    return found


def run(binary: Optional[str], arguments: Sequence[str], given: bytes = b"", what: str = "") -> bytes:
    """Run mixflow to its end and return what it wrote to standard output.

    ``given`` is its standard input; ``what`` is said in errors. Raises MixflowError
    unless the exit code is 0.
    """
    with Child(binary, arguments, what) as child:
        child.give(given)
        output = child.output.read()
        child.end()
        return output


class Child:
    """A running mixflow, which does not outlive the process that started it.

    A context manager: whoever leaves it early, by an exception or by being killed,
    takes the child along (the latter on Linux).
    """

    def __init__(self, binary: Optional[str], arguments: Sequence[str], what: str = "") -> None:
        self._shown = " ".join(["mixflow", *arguments]) + (f" ({what})" if what else "")
        # A file, since nobody reads it while the child works.
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = self._start([find(binary), *QUIET, *arguments])
        assert self._process.stdout is not None
        #: Standard output.
        self.output: IO[bytes] = self._process.stdout

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                preexec_fn=_with_parent(),
            )
        except OSError as error:
            raise MixflowError(self._shown, None, str(error)) from error

    def give(self, given: bytes) -> None:
        """Write all of the child's standard input."""
        stdin = self._process.stdin
        assert stdin is not None
        # One that ends without reading says why by its exit code.
        with contextlib.suppress(BrokenPipeError):
            stdin.write(given)
            stdin.close()

    def end(self) -> None:
        """Wait for the child. Raises MixflowError unless its exit code is 0."""
        code = self._process.wait()
        said = self._tell()
        if code != 0:
            raise MixflowError(self._shown, code, said)

    def _tell(self) -> str:
        """Return what the child said, and repeat it in the log of this process."""
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - _MOST_SAID))
        said = self._said.read().decode("utf-8", "replace").strip()
        if said:
            print(said, file=sys.stderr, flush=True)
        return said

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self._process.poll() is None:
            self._stop()
        for pipe in (self._process.stdin, self._process.stdout, self._said):
            if pipe is not None:
                # What was still to be written may have no reader.
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _with_parent() -> Optional[Callable[[], None]]:
    """Return what has a child killed when this process ends, however it does.

    Spark kills the Python process of a task that it wants no more; nothing in it gets
    to run then, so the kernel has to do it.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def die_with_parent() -> None:
        set_parent_death_signal = 1
        prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return die_with_parent
