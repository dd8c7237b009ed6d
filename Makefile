# make run | run-front | test | lint | bench | proof | install: each installs what it lacks, and says so.

# rustup puts cargo there; a fresh shell may not know yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: run run-front test lint proof bench install

# A registry: one process, nothing besides. The profile quick is built sooner than release: Cargo.toml.
run:
	scripts/install build
	cargo build --profile quick
	scripts/run

# Two registries of another make, with Entrepot in front.
run-front:
	scripts/install front
	cargo build --profile quick
	scripts/run-front

test:
	scripts/install test
	cargo test

# What is asked of the dependencies and of the oldest Rust: 15 minutes at first, for the tools that it builds.
lint:
	scripts/install build
	scripts/lint

# What is too long for every commit: 6 GiB both ways, 10,000 pulls with a peer killed among them, 10,000 requests while processes take
# each other's place, instances are restarted and keys change, a soak of collections while everybody pushes: 30 minutes, or
# ENTREPOT_SOAK=3h make proof.
proof:
	scripts/install test proof
	cargo test --release --test proof -- --nocapture --test-threads=1

bench:
	scripts/install bench
	cargo build --release
	bench/run

install:
	scripts/install build front test proof bench
