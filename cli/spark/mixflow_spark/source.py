"""A data source over units, for which nothing is staged or committed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Optional

import pyarrow
from pyspark.sql import types
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition
from pyspark.sql.pandas.types import to_arrow_schema

from mixflow_spark import plan, travel
from mixflow_spark.command import Child
from mixflow_spark.plan import Plan, Request

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: Spark's types by what a plan calls them.
_TYPES: dict[str, type[types.DataType]] = {
    "string": types.StringType,
    "timestamp": types.TimestampType,
    "date": types.DateType,
    "bigint": types.LongType,
    "double": types.DoubleType,
    "boolean": types.BooleanType,
    "binary": types.BinaryType,
}

#: Begins an option that overrides a key of the pipeline files.
_OVERRIDE = "set."


def register(spark: SparkSession) -> None:
    """Add the data source ``mixflow`` to a session.

    Then ``spark.read.format("mixflow").option("pipeline", "daily.toml").load()`` is a
    data frame of what a run would fetch. Options: ``pipeline`` (files, with commas
    between; or the argument of ``load``), ``from``, ``to``, ``binary``, and
    ``set.KEY`` for any other key of the files. Each action fetches anew, so
    ``persist`` what is looked at twice.
    """
    travel.prepare()
    spark.dataSource.register(MixflowSource)


class MixflowSource(DataSource):
    """The rows of pipelines, transforms included. The plan is made at ``load``."""

    @classmethod
    def name(cls) -> str:
        """Return the name of the format."""
        return "mixflow"

    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options)
        self._made: Optional[Plan] = None

    def _plan(self) -> Plan:
        """Return the plan, the same for all that is done with the data frame."""
        if self._made is None:
            self._made = plan.make(self.options.get("binary"), self._request())
        return self._made

    def _request(self) -> Request:
        given = self.options.get("pipeline") or self.options.get("path")
        if not given:
            raise ValueError('say a pipeline file: .option("pipeline", "daily.toml")')
        overrides = {
            key[len(_OVERRIDE) :]: value for key, value in self.options.items() if key.startswith(_OVERRIDE)
        }
        files = [file.strip() for file in given.split(",")]
        return Request(files, self.options.get("from"), self.options.get("to"), overrides)

    def schema(self) -> types.StructType:
        """Return the columns that the pipelines have in common."""
        return schema_of(self._plan().columns())

    def reader(self, schema: types.StructType) -> DataSourceReader:
        """Return what reads units, as columns of ``schema``."""
        return UnitReader(self._plan(), schema, self.options.get("binary"))


def schema_of(columns: Sequence[tuple[str, str]]) -> types.StructType:
    """Return Spark's columns for those of a plan. Raises ValueError for an unknown type."""
    unknown = sorted({kind for _, kind in columns} - _TYPES.keys())
    if unknown:
        raise ValueError(f"mixflow_spark is too old for columns of type {', '.join(unknown)}")
    return types.StructType([types.StructField(name, _TYPES[kind]()) for name, kind in columns])


class UnitReader(DataSourceReader):
    """Reads units where Spark wants to have them read."""

    def __init__(self, planned: Plan, schema: types.StructType, binary: Optional[str]) -> None:
        self._text = planned.text
        self._labels = planned.labels()
        self._schema = schema
        self._binary = binary

    def partitions(self) -> Sequence[InputPartition]:
        """Return all units, by their indices in the plan."""
        return [InputPartition(index) for index in range(len(self._labels))]

    def read(self, partition: InputPartition) -> Iterator[pyarrow.RecordBatch]:
        """Yield the rows of a unit; times are UTC.

        Raises MixflowError, also after rows: the stream of a child that was killed just
        ends, so only its exit code tells that it is whole.
        """
        index = partition.value
        schema = to_arrow_schema(self._schema)
        arguments = ["unit", "read", "--plan", "/dev/stdin", "--index", str(index)]
        with Child(self._binary, arguments, self._labels[index]) as child:
            child.give(self._text)
            try:
                with pyarrow.ipc.open_stream(child.output) as stream:
                    for batch in stream:
                        yield fit(batch, schema)
            except pyarrow.ArrowInvalid:
                # Most often there is no stream since the child has failed.
                child.end()
                raise
            child.end()


def fit(batch: pyarrow.RecordBatch, schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    """Return the columns of ``schema``, cast to its types. Times without a zone are UTC."""
    columns = [_cast(batch.column(field.name), field.type) for field in schema]
    return pyarrow.RecordBatch.from_arrays(columns, schema=schema)


def _cast(column: pyarrow.Array, kind: pyarrow.DataType) -> pyarrow.Array:
    if isinstance(column, pyarrow.ExtensionArray):
        column = column.storage
    return column if column.type == kind else column.cast(kind)
