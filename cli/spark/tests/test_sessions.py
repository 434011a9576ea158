"""Sessions of other kinds: one whose cluster speculates, and one of Spark Connect.

Each has a process of its own, as a process can have one session.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import BUCKET, MIXFLOW, Place, wait_for

#: Ends with what it has found in `found`, as the last line.
DRIVER = """
import json, os, sys
sys.path.insert(0, os.environ["MIXFLOW_SPARK_SITE"])
sys.dont_write_bytecode = True
from pyspark.sql import SparkSession
import mixflow_spark
file, stage, binary = sys.argv[1:4]
{text}
print(json.dumps(found))
sys.stdout.flush()
# A child of Spark's may outlive it.
spark.stop()
"""

SPECULATING = """
builder = SparkSession.builder.master(os.environ["SPARK_MASTER"])
for key, value in {
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.executor.memory": "512m",
    # Both workers, before the first task.
    "spark.cores.max": "2",
    "spark.scheduler.minRegisteredResourcesRatio": "1.0",
    "spark.scheduler.maxRegisteredResourcesWaitingTime": "120s",
    "spark.speculation": "true",
    "spark.speculation.interval": "100ms",
    "spark.speculation.multiplier": "1.5",
    "spark.speculation.quantile": "0.5",
    "spark.speculation.minTaskRuntime": "500ms",
}.items():
    builder = builder.config(key, value)
spark = builder.getOrCreate()
report = mixflow_spark.run(spark, file, stage, binary=binary)
store = spark.sparkContext._jsc.sc().statusStore()
listed = store.taskList(0, 0, 10_000)
tasks = [listed.apply(n) for n in range(listed.size())]
tasks = [[task.index(), task.speculative(), task.status()] for task in tasks]
found = {"rows": report["rows"], "tasks": tasks}
"""

CONNECTED = """
spark = SparkSession.builder.remote("local[2]").getOrCreate()
try:
    mixflow_spark.run(spark, file, stage, binary=binary)
except TypeError as error:
    refused = str(error)
mixflow_spark.register(spark)
reader = spark.read.format("mixflow").option("pipeline", file).option("binary", binary)
ids = [row[0] for row in reader.load().select("insert_id").collect()]
found = {"refused": refused, "ids": sorted(ids), "columns": dict(reader.load().dtypes)}
"""


def driven(text: str, file: str, stage: str, **environment: str) -> dict[str, Any]:
    """Run a driver of its own, and return what it has found."""
    command = [sys.executable, "-c", DRIVER.replace("{text}", text), file, stage, MIXFLOW]
    # Not that of the classic session in this process.
    env = {name: value for name, value in os.environ.items() if name != "SPARK_HOME"}
    env.update(PYSPARK_PYTHON=sys.executable, PYSPARK_DRIVER_PYTHON=sys.executable, **environment)
    ran = subprocess.run(
        command, cwd=Path(file).parent, env=env, capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.fixture
def cluster(surroundings: None, tmp_path: Path) -> Iterator[str]:
    """Start a master with two workers, and return its address.

    Spark starts no copy of a task on the machine that has the task, so the workers
    have addresses of their own; those of `local-cluster` have not.
    """
    import pyspark

    home = Path(pyspark.__file__).parent
    running = []

    def start(kind: str, *arguments: str) -> Path:
        log = tmp_path / f"{len(running)}.log"
        command = [str(home / "bin/spark-class"), f"org.apache.spark.deploy.{kind}", *arguments]
        env = {**os.environ, "SPARK_HOME": str(home), "SPARK_WORKER_DIR": str(tmp_path / "work")}
        with log.open("w") as said:
            running.append(
                subprocess.Popen(command, cwd=tmp_path, env=env, stdout=said, stderr=subprocess.STDOUT)
            )
        return log

    def line(log: Path, words: str) -> str:
        return next((line for line in log.read_text().splitlines() if words in line), "")

    try:
        log = start("master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
        words = "Starting Spark master at "
        master = wait_for("master", lambda: line(log, words)).partition(words)[2].strip()
        ui = ("--webui-port", "0", "--cores", "1", "--memory", "1g")
        logs = [start("worker.Worker", "--host", f"127.0.0.{n}", *ui, master) for n in (1, 2)]
        for log in logs:
            wait_for("worker", lambda log=log: line(log, "Successfully registered with master"))
        yield master
    finally:
        for process in running:
            process.kill()
            process.wait()


def test_a_task_of_which_spark_starts_a_copy_leaves_its_rows_once(
    bucket: Any, place: Place, cluster: str
) -> None:
    # The sixth unit waits for its answer, the first time.
    sim = place.simulator("--fault", "export from=2024-01-06 times=1 slow_first_byte=30s")
    file = place.pipeline("speculated", sim, "4001", 8)
    found = driven(SPECULATING, file, f"s3://{BUCKET}/speculated", SPARK_MASTER=cluster)
    assert [5, True, "SUCCESS"] in found["tasks"], str(found["tasks"])
    days = [request["query"]["from_date"] for request in sim.requests()]
    assert days.count("2024-01-06") == 2
    alone = place.simulator()
    place.mixflow("run", place.pipeline("plain", alone, "4001", 8, db="plain.db"))
    rows = place.rows("out.db", "speculated")
    assert len(rows) == found["rows"] > 1_000
    assert rows == place.rows("plain.db", "plain")


def test_a_session_of_spark_connect_reads_rows_and_is_told_that_it_cannot_run(
    bucket: Any, place: Place
) -> None:
    sim = place.simulator()
    file = place.pipeline("connected", sim, "4002", 4)
    found = driven(CONNECTED, file, f"s3://{BUCKET}/connected")
    assert "needs a classic Spark session" in found["refused"]
    assert found["columns"]["event_time"] == "timestamp"
    place.mixflow("run", file)
    rows = place.rows("out.db", "connected", "insert_id")
    assert len(rows) > 500
    assert found["ids"] == sorted(row["insert_id"] for row in rows)
