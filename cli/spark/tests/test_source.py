"""The data source, and the child process that it reads."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from conftest import MIXFLOW, Place, Processes, wait_for

import mixflow_spark
from mixflow_spark.command import Child
from mixflow_spark.plan import Plan, Request
from mixflow_spark.source import UnitReader, schema_of

COLUMNS = {
    "event_name": "string",
    "event_time": "timestamp",
    "distinct_id": "string",
    "insert_id": "string",
    "properties": "string",
}


def frame(spark: Any, files: str, **options: str) -> Any:
    """Return the data frame of pipeline files."""
    mixflow_spark.register(spark)
    reader = spark.read.format("mixflow").option("pipeline", files).option("binary", MIXFLOW)
    return reader.options(**options).load()


def test_rows_and_columns_are_those_of_the_sink(spark: Any, place: Place) -> None:
    sim = place.simulator()
    files = [place.pipeline(f"s{n}", sim, f"200{n}", 4) for n in (1, 2)]
    place.mixflow("run", *files)
    found = frame(spark, ", ".join(files))
    assert dict(found.dtypes) == COLUMNS
    columns = ["event_name", "distinct_id", "insert_id"]
    rows = found.selectExpr(
        *columns, "unix_micros(event_time)", "properties", "spark_partition_id()"
    ).collect()
    assert len({row[-1] for row in rows}) == 8
    rows = sorted(tuple(row)[:-1] for row in rows)
    expressions = ", ".join([*columns, "epoch_us(event_time) AS us", "properties::VARCHAR AS text"])
    held = [tuple(row.values()) for n in (1, 2) for row in place.rows("out.db", f"s{n}", expressions)]
    assert len(held) > 1_000
    assert rows == sorted(held)
    # Days may be said, and Spark may be asked in SQL.
    one = frame(spark, files[0], **{"from": "2024-01-02", "to": "2024-01-02"})
    one.createOrReplaceTempView("one")
    [(first, count)] = spark.sql("SELECT unix_seconds(min(event_time)), count(*) FROM one").collect()
    assert datetime.fromtimestamp(first, timezone.utc).date() == date(2024, 1, 2)
    assert count == len(place.rows("out.db", "s1 WHERE event_time::DATE = '2024-01-02'"))


def test_typed_columns_have_the_types_of_spark(spark: Any, place: Place) -> None:
    sim = place.simulator()
    types = {
        "browser": ("text", "string"),
        "version": ("int", "bigint"),
        "ratio": ("float", "double"),
        "flag": ("bool", "boolean"),
        "at": ("timestamp", "timestamp"),
        "day": ("date", "date"),
        "object": ("json", "string"),
    }
    paths = {"browser": "$browser", "version": "$browser_version"}
    columns = [
        f'{{ name = "{name}", type = "{kind}", path = "{paths.get(name, name)}" }}'
        for name, (kind, _) in types.items()
    ]
    transform = f'[[transform]]\ntype = "extract"\ncolumns = [{", ".join(columns)}]\n'
    file = place.pipeline("typed", sim, "2003", 2, transform=transform)
    place.mixflow("run", file)
    found = frame(spark, file)
    assert dict(found.dtypes) == {**COLUMNS, **{name: kind for name, (_, kind) in types.items()}}
    rows = sorted(found.groupBy("browser", "version").count().collect())
    held = place.rows("out.db", "typed GROUP BY ALL", "browser, version, count(*) AS count")
    assert [tuple(row) for row in rows] == sorted(tuple(row.values()) for row in held)


def test_a_unit_that_fails_fails_the_query(spark: Any, place: Place) -> None:
    sim = place.simulator("--fault", "export from=2024-01-02 always status=400")
    file = place.pipeline("fails", sim, "2004", 3)
    with pytest.raises(Exception, match="2024-01-02 of fails.* ended with exit code 1") as raised:
        frame(spark, file).collect()
    assert "400 Bad Request" in str(raised.value)


def test_a_file_that_is_wrong_is_said_at_load(spark: Any, place: Place) -> None:
    with pytest.raises(Exception, match="none.toml"):
        frame(spark, str(place.folder / "none.toml"))


def script(folder: Path, text: str) -> str:
    """Write a program in the place of mixflow."""
    path = folder / "mixflow-script"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def reader(binary: str) -> UnitReader:
    """Return what reads the only unit of a plan."""
    columns = '[{"name": "a", "type": "bigint"}]'
    units = '[{"label": "u"}]'
    text = f'{{"plan_id": "x", "pipeline": {{"name": "p"}}, "units": {units}, "columns": {columns}}}'
    plan = Plan(text.encode())
    return UnitReader(plan, schema_of(plan.columns()), binary)


def read(binary: str) -> list[int]:
    """Return what a reader yields of that unit."""
    one = reader(binary)
    [partition] = one.partitions()
    return [value for batch in one.read(partition) for value in batch.column(0).to_pylist()]


def stream_of(values: list[int]) -> bytes:
    """Return an Arrow stream of a column, without the mark of its end."""
    batch = pyarrow.record_batch({"a": pyarrow.array(values, pyarrow.int64())})
    out = io.BytesIO()
    with pyarrow.ipc.new_stream(out, batch.schema) as stream:
        stream.write_batch(batch)
        return out.getvalue()


def test_a_stream_that_a_killed_child_leaves_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    (tmp_path / "stream").write_bytes(stream_of([1, 2, 3]))
    whole = script(tmp_path, f"cat > {tmp_path}/given; cat {tmp_path}/stream")
    assert read(whole) == [1, 2, 3]
    assert (tmp_path / "given").read_bytes().startswith(b'{"plan_id"')
    killed = script(tmp_path, f"cat >/dev/null; cat {tmp_path}/stream; kill -9 $$")
    with pytest.raises(mixflow_spark.MixflowError) as raised:
        read(killed)
    assert raised.value.exit_code == -9
    silent = script(tmp_path, "echo 'error: no such day' >&2; exit 1")
    with pytest.raises(mixflow_spark.MixflowError, match="no such day") as raised:
        read(silent)
    assert raised.value.exit_code == 1


def test_columns_are_those_of_all_pipelines() -> None:
    one = '{"pipeline": {"name": "%s"}, "units": [], "columns": [{"name": "a", "type": "%s"}]}'
    plan = '{"plan_id": "x", "pipelines": [%s, %s]}'
    assert Plan((plan % (one % ("p", "date"), one % ("q", "date"))).encode()).columns() == [("a", "date")]
    with pytest.raises(ValueError, match="`p` and `q` have other columns"):
        Plan((plan % (one % ("p", "date"), one % ("q", "string"))).encode()).columns()
    with pytest.raises(ValueError, match="too old for columns of type decimal"):
        schema_of([("a", "decimal")])


def test_what_is_said_becomes_a_command_line() -> None:
    request = Request(["a.toml", "b.toml"], from_day="-3d", overrides={"sink.mode": "append"}, fresh=True)
    words = "plan a.toml b.toml --output - --from=-3d --set=sink.mode=append --fresh"
    assert request.arguments() == words.split()


def test_a_child_does_not_outlive_its_parent(tmp_path: Path) -> None:
    binary = script(tmp_path, "echo $$; exec sleep 60")
    program = (
        "from mixflow_spark.command import Child\n"
        f"with Child({binary!r}, []) as child:\n"
        "    print(int(child.output.readline()), flush=True)\n"
        "    child.output.read()\n"
    )
    env = {**os.environ, "PYTHONPATH": os.environ["MIXFLOW_SPARK_SITE"]}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=env) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_for("child", lambda: Processes.command(child).startswith("sleep"))
        parent.send_signal(signal.SIGKILL)
    wait_for("end of the child", lambda: not Processes.command(child), 10)


def test_a_child_that_is_left_is_ended(tmp_path: Path) -> None:
    binary = script(tmp_path, "echo $$; exec sleep 60")
    with pytest.raises(ZeroDivisionError), Child(binary, []) as child:
        pid = int(child.output.readline())
        raise ZeroDivisionError
    assert not Processes.command(pid)
