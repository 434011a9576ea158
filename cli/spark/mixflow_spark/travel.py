"""How this package gets to the workers."""

from __future__ import annotations

import sys

from pyspark import cloudpickle


def prepare() -> None:
    """Have Spark send the code of this package along, so that workers need not have it."""
    package = sys.modules[__name__.partition(".")[0]]
    cloudpickle.register_pickle_by_value(package)  # type: ignore[no-untyped-call]
