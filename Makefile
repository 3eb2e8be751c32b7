# make demo       the whole way of an update on this machine, in under two minutes after the build
# make test       format, lints, licences, house rules, all tests that need no network namespace
# make test-real  namespaces, root, runc: the fleet with a WAN and counters at its interfaces
# make test-kill  power loss: the agent killed at every call that touches its state
# make bench      measurements; nothing here fails on a number
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := demo
.PHONY: demo test test-real test-kill bench build tools fmt lint

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/fullmetal
export CARGO_TARGET_DIR ?= $(CACHE)/target
export PATH := $(CACHE)/tools/bin:$(HOME)/.cargo/bin:$(PATH)
BIN := $(CARGO_TARGET_DIR)/release
# Integration tests that need root, runc or namespaces; cargo runs them only when named.
REAL := host_runc
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=CARGO_TARGET_DIR,PATH,HOME)

tools:
	@.ci/install-tools build

build: tools
	cargo build --release --locked -p fullmetal -p fullmetal-sim
	cargo build --release --locked -p fullmetal-gateway

demo: build
	@.ci/install-tools run
	$(AS_ROOT) $(BIN)/fullmetal-sim demo

fmt: tools
	cargo fmt --all

lint: tools
	@.ci/install-tools lint
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	cargo deny --locked check bans licenses sources
	! cargo tree --locked -p fullmetal-gateway -e normal --prefix none | grep -q '^ostree '

test: build lint
	@.ci/install-tools run
	cargo test --release --locked --workspace

test-real: build
	@.ci/install-tools run
	for t in $(REAL); do $(AS_ROOT) env PATH="$$PATH" cargo test --release --locked -p fullmetal --test $$t; done
