#!/usr/bin/env bash
# Tests mixflow on Spark, and what the pages of cli/cluster say. `make spark-test` calls it.
#
# usage: test.sh [ARGUMENTS OF PYTEST]
# exit:  0 passed, or skipped in words where Spark cannot be had
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
here=cli/spark

found=$("$here/setup.sh") || { [ $? -eq 3 ] && exit 0; exit 1; }
eval "$found"

if [ -z "${MIXFLOW_BIN:-}" ]; then
    MIXFLOW_BIN=$target/debug/mixflow
    MIXPANEL_SIM=$target/debug/mixpanel-sim
    if [ ! -x "$MIXFLOW_BIN" ] || [ ! -x "$MIXPANEL_SIM" ]; then
        cargo build -q --workspace --bins $(test -e .libduckdb/libduckdb.so || echo --features bundled)
    fi
fi
MIXFLOW_BIN=$(realpath "$MIXFLOW_BIN") MIXPANEL_SIM=$(realpath "$MIXPANEL_SIM")
export MIXFLOW_BIN MIXPANEL_SIM

ruff check --no-cache "$here"
mypy --cache-dir /dev/null --config-file "$here/pyproject.toml" --ignore-missing-imports "$here/mixflow_spark"

# The package as a person installs it, where only the driver of the tests looks.
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
pip -q --disable-pip-version-check install --no-deps --target "$site" "./$here"
export PYTHONDONTWRITEBYTECODE=1
MIXFLOW_SPARK_SITE=$site pytest -q -p no:cacheprovider -p no:logging "$here/tests" "$@"
