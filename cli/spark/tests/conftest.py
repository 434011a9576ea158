"""Machines to test on: a simulator of Mixpanel, an S3, a cluster of two executors."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Optional

import boto3
import pytest

# Only here, so that what Spark's workers know of the package has come from the driver.
sys.path.insert(0, os.environ["MIXFLOW_SPARK_SITE"])
sys.dont_write_bytecode = True

MIXFLOW = os.environ["MIXFLOW_BIN"]
SIMULATOR = os.environ["MIXPANEL_SIM"]
SECRET = "sim-secret-5e1c"
BUCKET = "my-bucket"

#: As long as anything here may take that should be a matter of seconds.
PATIENCE = 60.0


def wait_for(what: str, look: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Return what ``look`` returns, once it is something."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"there is no {what} after {patience} s")


class Simulator:
    """A running simulator, and its log."""

    def __init__(self, folder: Path, arguments: list[str]) -> None:
        self._log = folder / f"sim-{time.monotonic_ns()}.log"
        said = self._log.with_suffix(".err")
        with said.open("w") as stderr:
            command = [SIMULATOR, "--secret", SECRET, "--log", str(self._log), *arguments]
            self._process = subprocess.Popen(command, stderr=stderr)
        first = wait_for("simulator", lambda: said.read_text().partition("\n")[0])
        self.url = first.removeprefix("listening on ")

    def requests(self) -> list[dict[str, Any]]:
        """Return all requests so far."""
        # The last line may be half there.
        lines = self._log.read_text().splitlines(keepends=True) if self._log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def count(self, project: str) -> int:
        """Return how many requests there were for a project."""
        return sum(request["query"]["project_id"] == project for request in self.requests())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Place:
    """A folder to run mixflow in, with simulators."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.simulators: list[Simulator] = []

    def simulator(self, *arguments: str) -> Simulator:
        """Start a simulator with some 24 days of events."""
        data = ["--generate-events", "4000", "--spread-days", "24"]
        started = Simulator(self.folder, [*data, *arguments])
        self.simulators.append(started)
        return started

    def pipeline(self, name: str, sim: Simulator, project: str, days: int, **more: str) -> str:
        """Write a pipeline file that fetches days of a project by the day."""
        source = {
            "limits": "{ per_hour = 12 }",
            "retry": '{ max_wait = "2s" }',
            **{key: value for key, value in more.items() if key not in ("sink", "db", "transform")},
        }
        path = self.folder / f"{name}.toml"
        db = self.folder / more.get("db", "out.db")
        sink = more.get("sink", f'type = "duckdb"\npath = "{db}"\ntable = "{name}"')
        path.write_text(
            f'[source]\ntype = "mixpanel_events"\nproject_id = "{project}"\nbase_url = "{sim.url}"\n'
            f'auth = {{ username = "sim", secret = {{ env = "SIM_SECRET" }} }}\n'
            f'from = "2024-01-01"\nto = "2024-01-{days:02}"\nwindow_days = 1\n'
            + "".join(f"{key} = {value}\n" for key, value in source.items())
            + more.get("transform", "")
            + f'[sink]\n{sink}\nmode = "replace_window"\n'
        )
        return str(path)

    def mixflow(self, *arguments: str) -> str:
        """Run mixflow on a machine of its own, and return its standard output."""
        env = {**os.environ, "MIXFLOW_STATE_DIR": str(self.folder / "state-alone")}
        ran = subprocess.run(
            [MIXFLOW, *arguments], cwd=self.folder, env=env, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def rows(self, db: str, table: str, columns: str = "*") -> list[dict[str, Any]]:
        """Return the rows of a table, in an order of their own."""
        query = f"SELECT {columns} FROM {table} ORDER BY ALL"
        lines = self.mixflow("query", "--db", str(self.folder / db), "--format", "jsonl", query)
        return [json.loads(line) for line in lines.splitlines()]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Return an empty folder; simulators that are started in it end with the test."""
    place = Place(tmp_path)
    yield place
    for simulator in place.simulators:
        simulator.close()


@pytest.fixture(scope="session")
def surroundings() -> Iterator[None]:
    """Set what all processes here find in their environment."""
    os.environ.update(
        SIM_SECRET=SECRET,
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
        AWS_REGION="us-east-1",
        AWS_DEFAULT_REGION="us-east-1",
        # Below the folder of each executor: machines that share nothing but the stage.
        MIXFLOW_STATE_DIR="mixflow-state",
    )
    yield


@pytest.fixture(scope="session")
def bucket(surroundings: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Start an S3 on this machine, and return its bucket, as boto3 has it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
    bucket = boto3.resource("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).Bucket(BUCKET)
    bucket.create()
    yield bucket
    server.stop()


@pytest.fixture(scope="session")
def spark_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Spark whose executors work in a folder of these tests."""
    import pyspark

    home = tmp_path_factory.mktemp("spark")
    for entry in Path(pyspark.__file__).parent.iterdir():
        if entry.name != "work":
            (home / entry.name).symlink_to(entry)
    return home


@pytest.fixture(scope="session")
def spark(bucket: Any, spark_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a session on a cluster of two executors of one core each."""
    os.environ.update(
        SPARK_HOME=str(spark_home),
        PYSPARK_PYTHON=sys.executable,
        PYSPARK_DRIVER_PYTHON=sys.executable,
    )
    here = Path.cwd()
    # What the driver leaves behind, its state included.
    os.chdir(tmp_path_factory.mktemp("driver"))
    from pyspark.sql import SparkSession

    conf = {
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # Not that of mixflow's times.
        "spark.sql.session.timeZone": "America/New_York",
    }
    builder = SparkSession.builder.master("local-cluster[2,1,1024]").appName("mixflow")
    for key, value in conf.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()
    os.chdir(here)


class Processes:
    """The processes of this machine, by their parents."""

    @staticmethod
    def command(pid: int) -> str:
        """Return the command line of a process; empty if it is gone."""
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            return ""

    @staticmethod
    def parent(pid: int) -> Optional[int]:
        """Return the parent of a process."""
        try:
            return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return None

    @classmethod
    def below(cls, ancestor: int) -> list[int]:
        """Return all descendants of a process."""
        parents = {int(entry.name): cls.parent(int(entry.name)) for entry in Path("/proc").glob("[0-9]*")}
        found, last = [], {ancestor}
        while last:
            last = {pid for pid, parent in parents.items() if parent in last}
            found += sorted(last)
        return found


__all__ = ["BUCKET", "MIXFLOW", "SECRET", "Place", "Processes", "Simulator", "closing", "wait_for"]
