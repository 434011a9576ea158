"""mixflow on Spark: units of a plan as tasks, or as the rows of a data frame.

``run`` fetches what pipeline files say, on all machines of a cluster, and commits
it once. ``register`` adds the data source ``mixflow``.
"""

from mixflow_spark.errors import MixflowError
from mixflow_spark.job import run
from mixflow_spark.source import register

__all__ = ["MixflowError", "register", "run"]
