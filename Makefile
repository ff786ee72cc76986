# The commands of this repository. Everything that must pass is listed in .ci/test.

.DEFAULT_GOAL := help
.PHONY: help demo serve-demo test sim proof bench counts peers fuzz threads mutants fmt lint clean

help: ## this list
	@sed -n 's/^\([a-z-]*\): ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## a guided tour of all profiles on a store of its own; fails when a step does not hold
	.ci/need cc
	cargo run --release --locked --features cli -- demo --once

serve-demo: ## the same tour, then the sample API until it is interrupted
	.ci/need cc
	cargo run --release --locked --features cli -- demo

test: ## everything that must pass, installing what it needs
	.ci/test

sim: ## the simulator alone; SEED=N replays a seed, SEED=random draws one
	.ci/need cc
	cargo test --locked --features test-util,encrypt --test sim -- --nocapture

proof: ## the long proof, row by row, under 90 minutes; PROOF_PERCENT=10 for a tenth of it
	.ci/proof

bench: ## the benchmarks: onceward and plain redb in turn, a few minutes
	.ci/need cc
	cargo bench --locked --bench store
	cargo bench --locked --features http --bench paths
	cargo bench --locked --features cli --bench overhead
	READS_RECORDS=1000000 cargo bench --locked --features test-util --bench reads

counts: ## instructions of the hot paths beside benches/counts/baseline.txt; BLESS=1 writes that anew
	.ci/need cc valgrind gungraun-runner
	.ci/counts

peers: ## onceward beside redb, LMDB, RocksDB, fjall, SQLite, Redis and PostgreSQL: PEERS_ARGS='s1 s4 --quick'
	.ci/peers $(PEERS_ARGS)

fuzz: ## every fuzz target for a minute each, or FUZZ_SECONDS
	.ci/need cc c++ nightly cargo-fuzz
	.ci/fuzz

threads: ## the store under a scheduler, in SCHEDULES (ten million) orders of its threads: a quarter of an hour
	.ci/need cc
	cd threads && SCHEDULES=$${SCHEDULES:-10000000} CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-../target}/threads" cargo test --locked

mutants: ## makes the engine wrong, one place at a time: some test must fail; hours, and goes on where it was cut off
	.ci/need cc
	.ci/mutants

fmt: ## puts the source in its one form
	cargo fmt --all

lint: ## clippy over every target, warnings denied
	cargo clippy --locked --all-features --all-targets -- -D warnings

clean: ## forgets everything that was built
	cargo clean
