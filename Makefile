# With Rust (https://rustup.rs) on the machine:
#
#   make demo    runs pipelines/demo.toml and shows a query on the result
#   make test    passes the tests
#   make dist    makes what a release carries, in target/dist, and tests it
#
# All link a prebuilt DuckDB that sinks/duckdb/libduckdb.sh gets in seconds.
# Where there is none for the platform, DuckDB is compiled (an hour of CPU).

.PHONY: demo test setup lint doctest spark-test docs dist bench bench-small bench-memory bench-databases bench-scale

# Read when a recipe runs, after `setup`.
FEATURES = $$(test -e .libduckdb/libduckdb.so || echo --features bundled)

# Without object stores and drivers of databases, which are half of a first build.
demo: setup
	cargo run -q --no-default-features $(FEATURES) -p mixflow-cli -- run pipelines/demo.toml
	cargo run -q --no-default-features $(FEATURES) -p mixflow-cli -- query --db demo.db "\
	    SELECT event_name, count(*) AS events, count(DISTINCT distinct_id) AS users, \
	           min(event_time) AS first, max(event_time) AS last \
	    FROM events GROUP BY event_name ORDER BY events DESC"

# nextest, where it is installed, runs every test in a process of its own.
test: setup
	@if cargo nextest --version >/dev/null 2>&1; \
	then cargo nextest run --workspace $(FEATURES); \
	else cargo test --workspace --lib --bins --tests --examples $(FEATURES); fi

setup:
	@sinks/duckdb/libduckdb.sh .libduckdb || [ $$? -eq 3 ]

lint: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets $(FEATURES) -- -D warnings

doctest: setup
	cargo test --workspace --doc $(FEATURES)

# Spark, and the recipes for other engines: a cluster of two executors on this
# machine. Gets Java and Spark itself; skipped in words where they cannot be had.
spark-test: setup
	@cli/spark/test.sh

# Brings the tables in the pages up to date with what the binary knows.
docs: setup
	cargo run -q $(FEATURES) -p mixflow-cli -- docs .

# An archive, a Debian package, a Python wheel, a container's file. With
# `BUNDLED=1` DuckDB is compiled into the binary.
dist: setup
	@BUNDLED="$(BUNDLED)" cli/dist/build.sh "$${CARGO_TARGET_DIR:-target}/dist"
	@cli/dist/test.sh "$${CARGO_TARGET_DIR:-target}/dist"

# mixflow against what anybody would use instead; results in target/bench.
bench: setup
	cargo build --release $(FEATURES) -p mixflow-cli
	cargo build --release -p mixflow-tests
	"$${CARGO_TARGET_DIR:-target}/release/mixflow-bench" --mixflow "$${CARGO_TARGET_DIR:-target}/release/mixflow" $(BENCH)

bench-small:
	$(MAKE) bench BENCH="--events 50000 --profiles 20000 --rounds 3"

# PostgreSQL and SQLite, against what loads a file into them.
bench-databases:
	$(MAKE) bench BENCH=--databases

# The memory of 1, 5 and 20 million events into DuckDB.
bench-memory:
	$(MAKE) bench BENCH=--memory

# What it costs and brings to share a run among machines.
bench-scale:
	$(MAKE) bench BENCH=--scale
