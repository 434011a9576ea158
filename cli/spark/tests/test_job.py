"""`mixflow_spark.run` on a cluster whose machines fail."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from conftest import BUCKET, MIXFLOW, PATIENCE, SECRET, Place, Processes, Simulator, wait_for
from deltalake import DeltaTable

import mixflow_spark

PROJECTS = {"p1": "1001", "p2": "1002", "p3": "1003"}

#: What one of them may ask for in an hour: its 8 units, and what is asked twice.
HOURLY = 12


def crashing(place: Place, index: int) -> str:
    """Return a mixflow that kills the task of a unit, the first time."""
    script = place.folder / "mixflow-crashing"
    script.write_text(
        f"#!/bin/sh\ncase \"$*\" in *'unit run'*'--index {index} '*)\n"
        f"  mkdir '{place.folder}/crashed' 2>/dev/null && kill -9 $PPID && sleep 9;;\nesac\n"
        f"exec '{MIXFLOW}' \"$@\"\n"
    )
    script.chmod(0o755)
    return str(script)


def executors() -> list[int]:
    """Return the processes of executors."""
    return [pid for pid in Processes.below(os.getpid()) if "ExecutorBackend" in Processes.command(pid)]


def reading(ancestor: int) -> list[int]:
    """Return the processes below one in which mixflow reads a unit."""
    return [pid for pid in Processes.below(ancestor) if "unit run" in Processes.command(pid)]


class Killer(threading.Thread):
    """Kills an executor that reads a unit, once the simulator has been asked often enough."""

    def __init__(self, sim: Simulator, after: int) -> None:
        super().__init__(daemon=True)
        self.sim = sim
        self.after = after
        #: The executor that was killed, and the mixflow in it.
        self.killed: list[int] = []

    def run(self) -> None:
        wait_for("request", lambda: len(self.sim.requests()) >= self.after)
        self.killed = wait_for("unit that is read", self._kill)

    def _kill(self) -> list[int]:
        for executor in executors():
            if units := reading(executor):
                os.kill(executor, signal.SIGKILL)
                return [executor, *units]
        return []


class Rival(threading.Thread):
    """A machine that reads the last unit, too, while a task waits for it."""

    def __init__(self, sim: Simulator, place: Place, files: list[str], stage: str) -> None:
        super().__init__(daemon=True)
        self.sim = sim
        self.place = place
        self.stage = stage
        #: What it has left.
        self.receipt: dict[str, Any] = {}
        place.mixflow("plan", *files, "--output", "plan.json")

    def run(self) -> None:
        wait_for("slow request", lambda: self.days().count("2024-01-08") == 3)
        unit = ["unit", "run", "--plan", "plan.json", "--index", "23", "--stage", self.stage]
        self.receipt = json.loads(self.place.mixflow(*unit))

    def days(self) -> list[str]:
        """Return the days that were asked for."""
        return [request["query"]["from_date"] for request in self.sim.requests()]


def tasks(spark: Any) -> list[tuple[int, int, str]]:
    """Return index, attempt and status of all tasks of the last job."""
    context = spark.sparkContext._jsc.sc()
    store = context.statusStore()
    last = context.dagScheduler().nextStageId() - 1
    listed = store.taskList(last, 0, 10_000)
    found = [listed.apply(n) for n in range(listed.size())]
    return [(task.index(), task.attempt(), task.status()) for task in found]


def receipts(bucket: Any, stage: str) -> list[str]:
    """Return the names of receipts on a stage."""
    names = [found.key for found in bucket.objects.filter(Prefix=f"{stage}/")]
    return [name for name in names if "/receipts/" in name]


def delta(folder: str, name: str) -> str:
    """Return a sink that is a Delta table."""
    return f'type = "delta"\npath = "s3://{BUCKET}/{folder}/{name}"'


def table(name: str, folder: str) -> DeltaTable:
    """Return that table, as others read it."""
    options = {"AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"], "AWS_ALLOW_HTTP": "true"}
    return DeltaTable(f"s3://{BUCKET}/{folder}/{name}", storage_options=options)


def rows(name: str, folder: str) -> pyarrow.Table:
    """Return its rows, in an order of their own."""
    found = table(name, folder).to_pyarrow_table()
    return found.sort_by([(column, "ascending") for column in sorted(found.column_names)])


@pytest.fixture
def three(place: Place) -> tuple[Simulator, list[str]]:
    """Return the files of three projects, 24 units; the last one is slow, the first time."""
    sim = place.simulator(
        "--limits", "--latency", "1s", "--fault", "export from=2024-01-08 nth=3 slow_first_byte=8s"
    )
    files = [
        place.pipeline(name, sim, project, 8, sink=delta("cluster", name))
        for name, project in PROJECTS.items()
    ]
    return sim, files


def test_rows_come_once_whatever_happens_to_tasks_and_executors(
    spark: Any, bucket: Any, place: Place, three: tuple[Simulator, list[str]]
) -> None:
    sim, files = three
    stage = f"s3://{BUCKET}/whatever-happens"
    killer = Killer(sim, after=12)
    rival = Rival(sim, place, files, stage)
    killer.start()
    rival.start()
    report = mixflow_spark.run(spark, files, stage, binary=crashing(place, 5))
    rival.join(PATIENCE)

    # It has happened: a task crashed, an executor was killed, two machines read a unit at once.
    assert (place.folder / "crashed").is_dir()
    assert killer.killed, "no executor was killed"
    ran = tasks(spark)
    assert (5, 0, "FAILED") in ran
    assert sum(status != "SUCCESS" for _, _, status in ran) >= 2, ran
    assert rival.days().count("2024-01-08") == 4
    assert rival.receipt["plan_id"] == report["plan_id"]
    # No mixflow outlives its task.
    wait_for("end of units", lambda: not reading(1) and not any(map(Processes.command, killer.killed)), 10)

    # Each unit was left once, and the hours were kept.
    assert len(receipts(bucket, "whatever-happens")) == 24 == report["units"]
    assert {request["status"] for request in sim.requests()} == {200}
    for project in PROJECTS.values():
        assert 8 <= sim.count(project) <= HOURLY
    # (The unit that crashed did so before it asked.)
    assert len(sim.requests()) > 24

    # The rows are those of a plain run.
    alone = place.simulator()
    plain = [
        place.pipeline(f"plain-{name}", alone, project, 8, sink=delta("plain", name))
        for name, project in PROJECTS.items()
    ]
    place.mixflow("run", *plain)
    for name in PROJECTS:
        assert rows(name, "cluster").num_rows > 1_000
        assert rows(name, "cluster").equals(rows(name, "plain"))
    assert report["rows"] == sum(rows(name, "plain").num_rows for name in PROJECTS)
    assert [(one["pipeline"], one["status"]) for one in report["reports"]] == [
        (name, "committed") for name in PROJECTS
    ]

    # Another time there is nothing to do, and nobody is asked.
    before = len(sim.requests())
    again = mixflow_spark.run(spark, files, stage, binary=MIXFLOW)
    assert len(sim.requests()) == before
    assert (again["plan_id"], again["rows"]) == (report["plan_id"], report["rows"])
    # One commit each, and no other.
    assert [table(name, "cluster").version() for name in PROJECTS] == [0, 0, 0]


def test_the_secret_stays_where_it_is(spark: Any, bucket: Any, spark_home: Path, place: Place) -> None:
    sim = place.simulator()
    file = place.pipeline("secret", sim, "1004", 2)
    mixflow_spark.run(spark, file, f"s3://{BUCKET}/secret", binary=MIXFLOW)
    staged = [found.get()["Body"].read() for found in bucket.objects.filter(Prefix="secret/")]
    logs = [path.read_bytes() for path in (spark_home / "work").rglob("*") if path.is_file()]
    assert len(staged) > 4 and len(logs) > 4
    assert not [one for one in staged + logs if SECRET.encode() in one]


def test_all_executors_together_keep_the_limit_of_an_hour(spark: Any, bucket: Any, place: Place) -> None:
    sim = place.simulator("--limits", "--latency", "500ms")
    file = place.pipeline("hour", sim, "1005", 6, limits="{ per_hour = 3 }")
    with pytest.raises(mixflow_spark.MixflowError, match="longer than `max_wait`") as raised:
        mixflow_spark.run(spark, file, f"s3://{BUCKET}/hour", binary=MIXFLOW)
    assert raised.value.exit_code == 5
    assert "requests within the hour" in raised.value.stderr
    # It was tried again, which asked for nothing.
    assert max(attempt for _, attempt, _ in tasks(spark)) >= 1
    assert [request["status"] for request in sim.requests()] == [200] * 3
    # What was left is not lost.
    assert len(receipts(bucket, "hour")) == 3


@pytest.mark.parametrize(
    ("wrong", "exit_code", "message"),
    [
        ({"source.auth.username": "nobody"}, 4, "401|credentials"),
        ({"source.auth.secret": '{ env = "NO_SUCH_SECRET" }'}, 2, "`NO_SUCH_SECRET`"),
    ],
)
def test_what_no_other_try_makes_better_ends_the_job_at_once(
    spark: Any, bucket: Any, place: Place, wrong: dict[str, str], exit_code: int, message: str
) -> None:
    sim = place.simulator("--latency", "500ms")
    file = place.pipeline("final", sim, "1006", 20)
    with pytest.raises(mixflow_spark.MixflowError, match=message) as raised:
        mixflow_spark.run(spark, file, f"s3://{BUCKET}/final-{exit_code}", binary=MIXFLOW, overrides=wrong)
    assert raised.value.exit_code == exit_code
    # Two at once, and what had begun before the driver was told.
    assert len(sim.requests()) <= 6
    assert {attempt for _, attempt, _ in tasks(spark)} == {0}


def test_a_command_that_is_not_there_is_named(spark: Any, bucket: Any, place: Place) -> None:
    sim = place.simulator()
    file = place.pipeline("none", sim, "1007", 2)
    with pytest.raises(mixflow_spark.MixflowError, match="no such program") as raised:
        mixflow_spark.run(spark, file, f"s3://{BUCKET}/none", binary="no-such-mixflow")
    assert raised.value.exit_code is None


def test_a_job_that_is_interrupted_leaves_nothing_running(spark: Any, bucket: Any, place: Place) -> None:
    sim = place.simulator("--latency", "60s")
    file = place.pipeline("interrupted", sim, "1008", 2)
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        wait_for("request", sim.requests)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread.start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            mixflow_spark.run(spark, file, f"s3://{BUCKET}/interrupted", binary=MIXFLOW)
        assert time.monotonic() - begun < 30
    finally:
        signal.signal(signal.SIGINT, before)
    wait_for("end of all units", lambda: not reading(1), 10)
