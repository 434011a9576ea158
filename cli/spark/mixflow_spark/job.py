"""Units as the tasks of a Spark job, and one commit at its end."""

from __future__ import annotations

import json
import tempfile
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from pyspark import InheritableThread
from pyspark.accumulators import AccumulatorParam

from mixflow_spark import command, plan, travel
from mixflow_spark.errors import MixflowError, failure_in
from mixflow_spark.plan import Pipelines, Plan, Request

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.accumulators import Accumulator
    from pyspark.rdd import RDD
    from pyspark.sql import SparkSession

    _Told = Optional[tuple[str, Optional[int], str]]
    Failure = Accumulator[_Told]

#: How often the driver looks whether a unit has failed for good, in seconds.
_LOOK = 0.1


def run(
    spark: SparkSession,
    pipelines: Pipelines,
    stage: str,
    *,
    binary: Optional[str] = None,
    from_day: Optional[str] = None,
    to_day: Optional[str] = None,
    overrides: Optional[Mapping[str, str]] = None,
    fresh: bool = False,
) -> dict[str, Any]:
    """Fetch what pipeline files say with all machines of a cluster, and commit it once.

    Plans on the driver, runs each unit as a task of its own, and commits on the
    driver. ``stage`` is a folder that all machines share, or an address that begins
    with s3://, gs:// or az://. Tasks may be tried again, run twice or lose their
    machine: a unit that was left on the stage is not asked for again, and its rows
    are committed once. The same call goes on where a failed one stopped, unless
    ``fresh``.

    ``binary`` is the command, on the driver and on the workers; by default the
    ``mixflow`` on each PATH. ``from_day``, ``to_day`` and ``overrides`` are
    ``--from``, ``--to`` and ``--set``.

    Returns ``plan_id``, ``units``, ``rows`` and ``requests`` (of all units, also those
    that an earlier call has left), and ``reports``: what ``commit`` reports, for each
    pipeline.

    Raises MixflowError: at once for exit codes 2, 4 and 6 and if mixflow cannot be
    started, for others when Spark has tried often enough. Whatever Spark itself
    raises comes through.
    """
    context = _context(spark)
    request = Request(plan.files_of(pipelines), from_day, to_day, overrides or {}, fresh)
    planned = plan.make(binary, request)
    receipts = _run_units(context, planned, stage, binary)
    return {
        "plan_id": planned.id,
        "units": len(receipts),
        "rows": sum(receipt["rows"] for receipt in receipts),
        "requests": sum(receipt["requests"] for receipt in receipts),
        "reports": _commit(planned, stage, binary),
    }


def _context(spark: SparkSession) -> SparkContext:
    try:
        return spark.sparkContext
    except Exception as error:
        reason = "mixflow_spark.run needs a classic Spark session: Spark Connect has no tasks to give"
        raise TypeError(reason) from error


def _commit(planned: Plan, stage: str, binary: Optional[str]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="mixflow-") as folder:
        report = Path(folder, "report.json")
        arguments = ["commit", "--plan", "/dev/stdin", "--stage", stage, "--report", str(report)]
        command.run(binary, arguments, planned.text, f"plan {planned.id}")
        reports = json.loads(report.read_bytes())
    return reports if isinstance(reports, list) else [reports]


def _run_units(
    context: SparkContext, planned: Plan, stage: str, binary: Optional[str]
) -> list[dict[str, Any]]:
    """Run all units and return their receipts, in the order of the plan."""
    labels = planned.labels()
    if not labels:
        return []
    travel.prepare()
    text = context.broadcast(planned.text)
    failure: Failure = context.accumulator(None, _First())

    def task(indices: Iterable[int]) -> Iterator[Optional[dict[str, Any]]]:
        for index in indices:
            yield _run_unit(text.value, index, labels[index], stage, binary, failure)

    units = context.parallelize(range(len(labels)), len(labels)).mapPartitions(task)
    try:
        receipts = _collect(units, failure, f"mixflow: {len(labels)} units of plan {planned.id}")
    finally:
        text.unpersist()
    return [receipt for receipt in receipts if receipt is not None]


def _run_unit(
    text: bytes,
    index: int,
    label: str,
    stage: str,
    binary: Optional[str],
    failure: Failure,
) -> Optional[dict[str, Any]]:
    """Run a unit on the machine of a task, and return its receipt.

    Raises MixflowError where another try may help. Where none does, the driver is told
    and nothing is returned: Spark would try a task again that raises.
    """
    arguments = ["unit", "run", "--plan", "/dev/stdin", "--index", str(index), "--stage", stage]
    try:
        receipt: dict[str, Any] = json.loads(command.run(binary, arguments, text, label))
    except MixflowError as error:
        if not error.is_final:
            raise
        failure.add(error.args)
        return None
    # What counts is on the stage; the driver shows these.
    return {name: receipt[name] for name in ("key", "rows", "requests")}


class _First(AccumulatorParam):  # type: ignore[type-arg]
    """Keeps the first error that a task tells the driver, as what it is made of.

    Workers may lack its class.
    """

    def zero(self, value: _Told) -> _Told:
        return None

    def addInPlace(self, value1: _Told, value2: _Told) -> _Told:
        return value1 or value2


def _collect(units: RDD[Any], failure: Failure, description: str) -> list[Any]:
    """Run the job and return its results; end it when a task has told of a failure.

    In a thread and a job group of its own, so that the group of the caller stays.
    """
    context = units.context
    group = f"mixflow-{uuid.uuid4()}"
    results: list[Any] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def job() -> None:
        try:
            context.setJobGroup(group, description, interruptOnCancel=True)
            results.extend(units.collect())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    InheritableThread(target=job, daemon=True).start()
    try:
        while not done.wait(_LOOK):
            if failure.value is not None:
                break
    finally:
        if not done.is_set():
            context.cancelJobGroup(group)
    if failure.value is not None:
        raise MixflowError(*failure.value)
    for error in errors:
        known = failure_in(str(error))
        if known is not None:
            raise known from error
        raise error
    return results
