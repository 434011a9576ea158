"""Plans: what is to be read, in units."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from mixflow_spark import command

#: One pipeline file or several.
Pipelines = Union[str, "os.PathLike[str]", Sequence[Union[str, "os.PathLike[str]"]]]


@dataclass(frozen=True)
class Request:
    """What to plan, and how it differs from what the pipeline files say."""

    files: Sequence[str]
    from_day: Optional[str] = None
    to_day: Optional[str] = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False

    def arguments(self) -> list[str]:
        """Return the command line that plans it, to standard output."""
        days = {"--from": self.from_day, "--to": self.to_day}
        arguments = ["plan", *self.files, "--output", "-"]
        # With `=`, since a relative day begins with `-`.
        arguments += [f"{flag}={day}" for flag, day in days.items() if day is not None]
        arguments += [f"--set={key}={value}" for key, value in self.overrides.items()]
        return arguments + (["--fresh"] if self.fresh else [])


class Plan:
    """A plan as mixflow wrote it. It has no secrets, so it may travel."""

    def __init__(self, text: bytes) -> None:
        parsed = json.loads(text)
        #: The text, for mixflow.
        self.text = text
        #: The same for the same pipelines and days.
        self.id = str(parsed["plan_id"])
        # Of one alone it stands by itself.
        self._pipelines: list[dict[str, Any]] = parsed.get("pipelines", [parsed])

    def labels(self) -> list[str]:
        """Return what the units are called, in the order of their indices."""
        return [
            f"{unit['label']} of {_name(planned)}" for planned in self._pipelines for unit in planned["units"]
        ]

    def columns(self) -> list[tuple[str, str]]:
        """Return the names and types of what ``unit read`` writes.

        Raises ValueError if pipelines differ in that.
        """
        first, *others = self._pipelines
        columns = _columns(first)
        for other in others:
            if _columns(other) != columns:
                names = f"`{_name(first)}` and `{_name(other)}`"
                raise ValueError(f"the pipelines {names} have other columns: load each by itself")
        return columns


def _name(planned: Mapping[str, Any]) -> str:
    return str(planned["pipeline"].get("name", "pipeline"))


def _columns(planned: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "columns" not in planned:
        raise ValueError("the plan does not say its columns; use the mixflow that goes with mixflow_spark")
    return [(column["name"], column["type"]) for column in planned["columns"]]


def files_of(pipelines: Pipelines) -> list[str]:
    """Return the paths of pipeline files. Raises ValueError if there are none."""
    several = [pipelines] if isinstance(pipelines, (str, os.PathLike)) else pipelines
    files = [os.fspath(file) for file in several]
    if not files:
        raise ValueError("say at least one pipeline file")
    return files


def make(binary: Optional[str], request: Request) -> Plan:
    """Plan, with the mixflow of this machine. Asks Mixpanel for nothing.

    Raises MixflowError.
    """
    return Plan(command.run(binary, request.arguments()))
