# make demo       the whole way of an update on this machine, in under two minutes after the build
#                 (HAWKBIT=http://host:port: that Hawkbit server takes the decisions, else one in memory;
#                 PLAIN=1: from a central repo of whole objects, such as FullMetalUpdate's, instead of frames)
# make test       format, lints, licences, house rules, all tests that need no network namespace
# make test-real  namespaces, root, runc: the fleet with a WAN and counters at its interfaces, a real Hawkbit server
#                 (HAWKBIT=http://host:port: that server instead of one of its own; test-hawkbit: this part alone)
# make test-kill  power loss: agent, gateway and the gateway's peer killed at every call that touches their state; an operating
#                 system's update and the agent in it, too (that takes hours)
# make test-power power cuts on disks that lose what was not flushed: a device in namespaces (CUTS=6, SEED; 20 s for each), and
#                 machines in qemu with GRUB and with U-Boot and a kernel of their own (CUTS=1 with each; two minutes for each)
# make test-mutants  bugs planted into the core one after the other: the simulator must find each (SEEDS=1000 at most)
# make deb        the Debian packages of device and gateway, in ~/.cache/fullmetal/target/deb (VERSION=1.2.3: as that)
# make bench      measurements; nothing here fails on a number
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := demo
.PHONY: demo deb test test-real test-hawkbit test-kill test-power test-mutants bench build tools fmt lint

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/fullmetal
export CARGO_TARGET_DIR ?= $(CACHE)/target
export PATH := $(CACHE)/tools/bin:$(HOME)/.cargo/bin:$(PATH)
# A test that fails says what and where; the frames below hide it.
export RUST_BACKTRACE := 0
BIN := $(CARGO_TARGET_DIR)/release
# Test programs that need root run through sudo unless we are root.
ifneq ($(shell id -u),0)
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER ?= sudo --preserve-env
endif
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=HOME)
DEMO = $(AS_ROOT) $(BIN)/fullmetal-sim demo $(if $(HAWKBIT),--hawkbit $(HAWKBIT)) $(if $(PLAIN),--plain)
REAL_TESTS := boot_loader host_runc host_systemd device_fleet device_os packages readme first_fleet bad_input fleet lab power_loss power_cuts
# Most tests wait more than they compute: twice as many at once as a machine of CI has cores.
THREADS := 4
# The whole workspace, also for one test: features are the union then, so that what `make test` compiled serves here too.
REAL := cargo test --release --locked --workspace

tools:
	@.ci/install-tools build

build: tools
	cargo build --release --locked -p fullmetal -p fullmetal-sim
	cargo build --release --locked -p fullmetal-gateway

demo: build
	@.ci/install-tools run
	$(DEMO)

deb: build
	@.ci/install-tools deb
	debian/package $(BIN) $(CARGO_TARGET_DIR)/deb $(VERSION)

fmt: tools
	cargo fmt --all

lint: tools
	@.ci/install-tools lint
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	cargo clippy --release --locked --workspace $(REAL_TESTS:%=--test %) -- -D warnings
	cargo deny --locked check bans licenses sources
	tree=$$(cargo tree --locked -p fullmetal-gateway -e normal --prefix none); ! grep -q '^ostree ' <<< "$$tree"

test: build lint
	@.ci/install-tools run
	env -u CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER RUST_TEST_THREADS=$(THREADS) cargo test --release --locked --workspace
	$(MAKE) build

test-hawkbit: build
	@$(if $(HAWKBIT),,.ci/install-tools hawkbit)
	env -u CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER tests/hawkbit/real-server --release

test-real: deb test-hawkbit
	@.ci/install-tools run
	$(REAL) $(REAL_TESTS:%=--test %) --no-run
	$(REAL) --test host_runc --test boot_loader
# Machines compute all the time, and these others wait for most of theirs.
	nice $(REAL) --test power_cuts -- loses_its_power --nocapture &> $(CARGO_TARGET_DIR)/power_cuts.log & cuts=$$!; \
	  { $(REAL) --test host_systemd -- --test-threads=2 && $(REAL) --test packages --test first_fleet && \
	  $(REAL) --test power_loss -- --nocapture; } || failed=1; \
	  wait $$cuts || failed=1; cat $(CARGO_TARGET_DIR)/power_cuts.log; [ -z "$${failed:-}" ]
	$(REAL) --test device_fleet --test device_os -- --test-threads=$(THREADS)
	$(MAKE) build
	$(REAL) --test readme --test bad_input -- --test-threads=$(THREADS)
	$(REAL) --test fleet --test lab -- --test-threads=1 --nocapture
	$(MAKE) build
	$(DEMO)
	$(if $(PLAIN),,$(DEMO) --plain)

test-kill: deb
	@.ci/install-tools run
	FULLMETAL_KILL=all $(REAL) --test power_loss -- --nocapture
	FULLMETAL_KILL=all $(REAL) --test device_os -- a_step_that_is_cut_off --nocapture
	FULLMETAL_KILL=all $(REAL) --test device_fleet -- an_agent_that_hangs_or_is_killed --nocapture

test-power: deb
	@.ci/install-tools run
	$(if $(CUTS),FULLMETAL_CUTS=$(CUTS)) $(if $(SEED),FULLMETAL_SEED=$(SEED)) $(REAL) --test power_cuts -- --test-threads=2 --nocapture

test-mutants: tools
	tests/mutants/run

bench: build
	@.ci/install-tools run
	cargo bench --locked -p fullmetal-proto --bench core -- --noplot
	cargo bench --locked -p fullmetal --bench import -- --noplot
	$(REAL) --test fleet a_release_crosses -- --nocapture
	cargo bench --locked -p fullmetal-gateway --bench thousand
	cargo bench --locked -p fullmetal-sim --bench scale
	cargo bench --locked -p fullmetal-sim --bench curve
	-$(BIN)/fullmetal-sim run --json simulations/scenarios/wifi-cell.toml
	@.ci/install-tools bench
	cargo bench --locked -p fullmetal-sim --bench ways
	cargo bench --locked -p fullmetal-sim --bench cases
