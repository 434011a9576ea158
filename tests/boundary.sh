#!/usr/bin/env bash
# The plugin boundary, looked at with what is at hand: a plugin of another Arrow
# and another compiler, a crate made by `new-sink`, Miri, and valgrind.
#
#   tests/boundary.sh MIXFLOW
#
# MIXFLOW is a binary that was built with this tree. What the machine lacks is
# said and skipped.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
mixflow=$(realpath "$1")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export MIXFLOW_STATE_DIR=$scratch/state CARGO_TERM_COLOR=never
target=${CARGO_TARGET_DIR:-$root/target}/boundary

say() { echo "boundary: $*" >&2; }

# core knows no source: no column or component of Mixpanel's stands in its code,
# comments and tests apart.
say "core without Mixpanel's names"
names='event_name|event_time|distinct_id|insert_id|last_seen|mp_processing_time_ms|mixpanel_(events|profiles)'
named=$(find "$root/core/src" -name '*.rs' -not -path '*/testing/*' -not -path '*/tests/*' -not -name tests.rs \
    -exec awk -v names="$names" '/^mod tests \{/ { nextfile } !/^ *\/\// && $0 ~ names { print FILENAME ":" FNR ":" $0 }' {} +)
if [ -n "$named" ]; then
    echo "$named" >&2
    exit 1
fi

# Another Arrow, and another rustc if there is one.
toolchain=
if cargo +nightly --version >/dev/null 2>&1; then toolchain=+nightly; fi
other_arrow() {
    cd "$root/tests/plugins/other-arrow"
    CARGO_TARGET_DIR=$target cargo $toolchain build -q --locked
    cd "$scratch"
    "$mixflow" run other.toml
    [ "$(sort -u -t$'\t' -k3 other-arrow.txt | wc -l)" -eq 3000 ]
}
cat > "$scratch/other.toml" <<TOML
[source]
type = "synthetic_events"
rows = 3000
seed = 1
from = "2024-01-01"
to = "2024-01-03"
[sink]
type = "plugin"
library = "$target/debug/libmixflow_other_arrow.so"
TOML
if cargo fetch -q --locked --manifest-path "$root/tests/plugins/other-arrow/Cargo.toml"; then
    say "a plugin with Arrow 57, built by $(cargo $toolchain --version)"
    (other_arrow)
else
    say "another Arrow cannot be had here: skipped"
fi

# What a stranger does, to the letter of sinks/abi/README.md.
say "new-sink, from nothing to a first run"
started=$(date +%s)
(
    cd "$scratch"
    unset CARGO_TARGET_DIR
    "$mixflow" new-sink web-hook --mixflow "$root"
    cd web-hook
    # The versions that this tree was tested with.
    cp "$root/Cargo.lock" .
    cargo test -q
    cargo build -q
    "$mixflow" run pipeline.toml
    [ "$(wc -l < events.csv)" -eq 1001 ]
)
say "that took $(($(date +%s) - started)) s"

if CARGO_TARGET_DIR=$target cargo +nightly miri setup >/dev/null 2>&1; then
    say "both sides of the boundary under Miri"
    (cd "$root" && CARGO_TARGET_DIR=$target MIRIFLAGS=-Zmiri-disable-isolation \
        cargo +nightly miri test -q -p mixflow-sink-dynamic --test table)
    (cd "$root" && CARGO_TARGET_DIR=$target cargo +nightly miri test -q -p mixflow-sink-abi --lib)
else
    say "no Miri here: skipped"
fi

if command -v valgrind >/dev/null; then
    say "the loaded example under valgrind"
    # Of the whole workspace, because what `make test` has built is of that.
    test=$(cd "$root" && cargo test -q --no-run --workspace --test conformance --message-format json |
        sed -n '/sinks\/example/s/.*"executable":"\([^"]*conformance[^"]*\)".*/\1/p' | tail -1)
    valgrind -q --error-exitcode=9 "$test" -q loaded
else
    say "no valgrind here: skipped"
fi
say "all passed"
