#!/usr/bin/env bash
# Counts the instructions that the decoder takes for the 8,000 events of the
# sample, and fails when they are a tenth more than recorded. Instructions are
# the same on every run, where seconds on a shared machine are not.
#
# usage: instructions.sh [--record]
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v valgrind >/dev/null; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends valgrind >/dev/null
    else
        echo "instructions.sh: skipped, valgrind is not installed"
        exit 0
    fi
fi

work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
gzip -dc tests/fixtures/events.jsonl.gz > "$work/events.jsonl"
cargo build -q --release -p mixflow-source-mixpanel --example decode
binary=${CARGO_TARGET_DIR:-target}/release/examples/decode
valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" "$work/events.jsonl" > "$work/out" 2> "$work/err" || { cat "$work/err" >&2; exit 1; }
counted=$(sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$work/err")
recorded_file=tests/bench/instructions.txt
if [ "${1:-}" = --record ]; then
    echo "$counted" > "$recorded_file"
fi
recorded=$(cat "$recorded_file")
echo "decoder: $counted instructions for 8,000 events, $((counted / 8000)) an event; recorded: $recorded"
if [ "$counted" -gt $((recorded + recorded / 10)) ]; then
    echo "that is more than a tenth above what is recorded; if it has to be, run $0 --record" >&2
    exit 1
fi
