# The two commands for a newcomer are `make demo` and `make test`. Both use one cargo profile, so that RocksDB is compiled once.
SHELL := /bin/bash
SCRIPTS := deploy/scripts
CARGO_BUILD := $(SCRIPTS)/with-heartbeat.sh cargo
# Arguments for the demo: make demo ARGS="--seconds 20 --seed 7"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz build lint format clean

help: ## Show this list
	@echo "Forbear. The first build takes about 20 minutes on 2 cores (RocksDB is compiled from source)."
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10 | sed 's/^/  make /'

demo: build ## The whole pipeline in one process, no server needed; ARGS="--seconds 20"
	@cargo run --locked --quiet -- demo $(ARGS)

test: ## Everything: unit, property, simulation, and the suite on a real Kafka
	@$(SCRIPTS)/test.sh

fuzz: ## Fuzz everything that reads bytes from outside (nightly, cargo-fuzz); RUNS=10000000
	@RUNS=$(or $(RUNS),10000000) $(SCRIPTS)/fuzz.sh

build: ## Build the binary (development profile)
	@$(SCRIPTS)/system-packages.sh build
	@$(SCRIPTS)/first-build.sh
	@$(CARGO_BUILD) build --locked --bin forbear

lint: ## Formatting, clippy, and cargo deny where it is installed
	@cargo fmt --check
	@$(SCRIPTS)/first-build.sh
	@$(CARGO_BUILD) clippy --locked --all-targets -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --offline --locked check bans licenses sources; \
	else echo "cargo deny is not installed: licences, bans and sources were NOT checked"; fi

format: ## Format the source
	@cargo fmt

clean: ## Remove what was built (also the compiled RocksDB)
	@cargo clean
