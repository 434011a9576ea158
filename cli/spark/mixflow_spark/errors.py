"""What goes wrong."""

from __future__ import annotations

import re
from typing import Optional

#: Exit codes of mixflow after which another try ends the same way: the plan or a
#: secret is wrong, access is denied, the destination does not fit.
FINAL = frozenset({2, 4, 6})


class MixflowError(Exception):
    """A command of mixflow that did not end well.

    ``command`` says what was tried and for what, ``exit_code`` how it ended (see the
    README; negative if a signal killed it, None if it could not be started) and
    ``stderr`` what mixflow said.
    """

    def __init__(self, command: str, exit_code: Optional[int], stderr: str) -> None:
        super().__init__(command, exit_code, stderr)
        self.command = command
        self.exit_code = exit_code
        self.stderr = stderr

    def __str__(self) -> str:
        ending = "could not start" if self.exit_code is None else f"ended with exit code {self.exit_code}"
        return f"`{self.command}` {ending}:\n{self.stderr or '(it said nothing)'}"

    @property
    def is_final(self) -> bool:
        """Whether another try would end the same way."""
        return self.exit_code is None or self.exit_code in FINAL


#: How Spark's message of a failed job shows the error of a task.
_IN_A_JOB = re.compile(
    r"MixflowError: `(?P<command>[^`\n]*)` ended with exit code (?P<code>-?\d+):\n"
    r"(?P<stderr>.*?)(?=\n\s*\n|\n\tat |\Z)",
    re.DOTALL,
)


def failure_in(message: str) -> Optional[MixflowError]:
    """Return mixflow's error in what Spark says of a failed job; None if it is another."""
    found = _IN_A_JOB.search(message)
    if found is None:
        return None
    return MixflowError(found["command"], int(found["code"]), found["stderr"].strip())
