# Tapkeep. `make help` tells what can be made; scripts/packages lists what is installed for it.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO   ?= cargo
TARGET  := $(or $(CARGO_TARGET_DIR),target)
BIN     := $(TARGET)/release/tapkeep
PREFIX  ?= /usr/local
SYSCONF ?= /etc
NEED    := scripts/install-packages
UNITS   := systemd/tapkeep.service systemd/tapkeep@.service
SCRIPTS := $(wildcard .ci benches container fuzz/run fuzz/seeds packaging scripts systemd tests yocto)
SHELLS  := $(shell grep -rIlE '^\#!/(usr/)?bin/(env )?(ba|da)?sh' $(SCRIPTS))
PYTHONS := $(shell grep -rIlE '^\#!/usr/bin/(env )?python3' $(SCRIPTS)) $(wildcard tests/*/*.py)
FUZZ    := 20
# How often the emulated board loses its power.
CUTS    := 2
# What a board is built for: Debian's names of architectures.
BOARDS   := arm64 armhf
PROFILE  ?= release
VERSION  := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
# What is tested as a board's program under qemu-user: the store, crash and fault stories, formats, decoding, flows, detectors and
# the whole command line. Not what captures (qemu-user has no packet sockets), nor what measures or traces the process. Of the chosen
# ones are left out: what runs itself again as another process (an emulated program cannot), what asks a card for its offloads
# (qemu-user does not pass that on), and what bounds a time or runs hundreds of programs within one.
EMULATED := --lib --test crash --test faults --test store --test format --test detect --test flow_files --test flows \
            --test flows_cli --test cli --test replay --test import --test summary
NOT_EMULATED := a_gzip_bomb_grows_no_memory a_group_member_reads_while_it_runs the_loopback_has_offloads hostile_files_cost_little \
                damaged_files_do_no_harm hostile_files_do_no_harm a_panic_is_told_on_a_terminal_as_it_was
DEB_ARCH ?= all
DEB_DIR  := $(TARGET)/deb$(if $(filter-out release,$(PROFILE)),/$(PROFILE))
DEBS     := $(if $(filter all,$(DEB_ARCH)),amd64 $(BOARDS),$(DEB_ARCH))

# Where a machine builds, a test that cannot run is a failure, not a skip.
ifneq ($(CI),)
export TAPKEEP_TEST_REQUIRE := 1
endif

.PHONY: $(shell sed -n 's/^\([a-z-]*\):[^\#]*\#\# .*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## Tell what can be made
	@printf 'make TARGET, with TARGET one of\n\n'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20
	@printf '\nmake demo shows Tapkeep at work; make test runs every test. Missing system packages are installed\n'
	@printf 'with apt-get (as root or through sudo).\n'

build: ## Build the program (release profile): target/release/tapkeep
	@$(NEED) rust build
	$(CARGO) build --release --locked

cross: $(BOARDS:%=cross-%) ## Build the program for boards, arm64 and armhf, with libpcap linked in (docs/APPLIANCE.md)

cross-%: cross-packages
	scripts/cross/cargo $* build --profile $(PROFILE) --locked
	scripts/cross/check $(TARGET)/cross/$*/$(PROFILE)/tapkeep

.PHONY: cross-packages
cross-packages:
	@$(NEED) rust build cross

deb: $(DEBS:%=deb-%) ## Make Debian packages: target/deb (DEB_ARCH=all, amd64, arm64 or armhf; PROFILE=quick to try)

deb-%: cross-% manual
	packaging/deb/build $* $(PROFILE)

appliance-test: deb-arm64 ## Boot the package on an emulated ARM board, check it, cut its power, hang it (CUTS=2: 12 minutes; CUTS=20)
	@$(NEED) appliance
	tests/appliance/run --deb $(DEB_DIR)/tapkeep_$(VERSION)-1_arm64.deb --cuts $(CUTS) --work $(TARGET)/appliance

manual: ## Write manual pages and completions for bash, zsh and fish: target/manual
	@$(NEED) rust build
	$(CARGO) run --quiet --locked --example manual -- $(TARGET)/manual

demo: build ## Record a live wire (as root) or replay a capture, and show what one can do with it
	@$(NEED) demo
	@scripts/demo $(BIN)

# What a script starts in its background ignores SIGINT, and so would all that the tests interrupt.
test: ## Run every test: units, properties, crashes, live capture (as root), documentation, the demo
	@$(NEED) rust build test demo
	env --default-signal=INT,HUP $(CARGO) test --locked
	scripts/demo $(TARGET)/debug/tapkeep

test-cross: $(BOARDS:%=emulated-%) ## Run what needs no capture as ARM programs, under qemu-user (minutes)

emulated-%: cross-packages
	@$(NEED) test
	scripts/cross/cargo $* test --profile quick --locked $(EMULATED) -- $(NOT_EMULATED:%=--skip %)

test-deb: ## Install, upgrade, roll back and purge the Debian package in minimal systems (as root)
	@$(NEED) package
	$(MAKE) deb-amd64 PROFILE=quick
	DEB_VERSION=0.0.1-1 packaging/deb/build amd64 quick
	lintian --fail-on error --tag-display-limit 0 $(TARGET)/deb/quick/*_amd64.deb
	tests/package/lifecycle $(TARGET)/deb/quick/tapkeep_0.0.1-1_amd64.deb \
	  $(TARGET)/deb/quick/tapkeep_$(VERSION)-1_amd64.deb

lint: ## Check form, clippy, documentation, scripts, units, licences and Rust versions
	@$(NEED) rust build lint
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps
	shellcheck $(SHELLS)
	python3 -c 'import sys; [compile(open(f).read(), f, "exec") for f in sys.argv[1:]]' $(PYTHONS)
	scripts/check-dependencies
	$(CARGO) metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null
	scripts/check-units

audit: ## Check dependencies for known vulnerabilities (wants cargo-deny and the network)
	@cargo-deny --version >/dev/null || { echo 'cargo-deny is missing: cargo install --locked cargo-deny' >&2; exit 1; }
	cargo-deny check

bench: build ## Measure live capture against dumpcap and tcpdump (as root, about 6 minutes; BENCH="--quick")
	@$(NEED) bench
	@benches/live --binary $(BIN) $(BENCH)

bench-offline: build ## Measure the analysis of captures against tshark, softflowd and others, and queries (about 10 minutes)
	@$(NEED) bench
	@benches/offline --binary $(BIN) $(BENCH)

bench-parts: ## Measure the parts of the analysis by themselves (a minute; CAPTURES="FILE…")
	@$(NEED) rust build
	$(CARGO) bench --locked --bench parts -- $(abspath $(CAPTURES))

bench-writeback: build ## Measure the age of the oldest unsynced packet on a slow disk (as root, half a minute)
	@$(NEED) bench
	@benches/writeback --binary $(BIN) $(BENCH)

fuzz: ## Fuzz the decoder, the importers and the JSONB reader (FUZZ=20 seconds each)
	@$(NEED) rust build fuzz
	fuzz/seeds $(or $(TAPKEEP_CORPORA),../shared/corpora)
	fuzz/run $(FUZZ)

yocto-crates: ## Make the Yocto recipe's list of crates of Cargo.lock
	@yocto/crates

yocto-check: yocto-crates ## Check the Yocto layer, as far as one can without a build host (as root)
	@$(NEED) rust build yocto
	$(CARGO) build --locked
	tests/yocto/check $(TARGET) $(TARGET)/debug/tapkeep

yocto-boot: yocto-check ## Boot what the layer installs on an emulated board (as root, by hand: 10 minutes)
	@$(NEED) cross appliance yocto-boot
	$(MAKE) cross
	unshare --mount tests/yocto/boot $(TARGET) $(TARGET)/yocto/bitbake/root $(TARGET)/cross/arm64/tapkeep

container-test: ## Build the container image, run it as docker-compose.yml says, record a veth (as root; CONTAINER=--compile)
	@$(NEED) rust build container
	$(CARGO) build --locked
	tests/container/run $(TARGET) $(TARGET)/debug/tapkeep $(CONTAINER)

doc: ## Build the documentation of the source: target/doc/tapkeep/index.html
	$(CARGO) doc --locked --no-deps --document-private-items

install: ## Install program, units, sample configuration, the manual if it is made (PREFIX=/usr/local SYSCONF=/etc DESTDIR=)
	@test -x $(BIN) || { echo 'nothing to install: run "make build" first' >&2; exit 1; }
	install -D -m 0755 -s $(BIN) $(DESTDIR)$(PREFIX)/bin/tapkeep
	install -D -m 0644 config/tapkeep.toml $(DESTDIR)$(PREFIX)/share/tapkeep/tapkeep.toml
	install -D -m 0644 systemd/tapkeep.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/tapkeep.conf
	install -D -m 0644 systemd/tapkeep.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/tapkeep.conf
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system $(UNITS)
	sed -i 's#/usr/bin/tapkeep#$(PREFIX)/bin/tapkeep#' $(addprefix $(DESTDIR)$(PREFIX)/lib/,$(UNITS:systemd/%=systemd/system/%))
	@test -e $(DESTDIR)$(SYSCONF)/tapkeep/tapkeep.toml || \
	  install -D -m 0644 config/tapkeep.toml $(DESTDIR)$(SYSCONF)/tapkeep/tapkeep.toml
	install -D -m 0644 systemd/tapkeep.catalog $(DESTDIR)$(PREFIX)/lib/systemd/catalog/tapkeep.catalog
	@if test -d $(TARGET)/manual; then \
	  install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man1 $(TARGET)/manual/*.1; \
	  install -D -m 0644 $(TARGET)/manual/tapkeep.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/tapkeep; \
	  install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(TARGET)/manual/_tapkeep; \
	  install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d $(TARGET)/manual/tapkeep.fish; fi
	@echo 'installed; settings: $(DESTDIR)$(SYSCONF)/tapkeep/tapkeep.toml (left alone if it was there)'

uninstall: ## Remove what install installed, but for the settings and the data
	rm -rf $(DESTDIR)$(PREFIX)/bin/tapkeep $(DESTDIR)$(PREFIX)/share/tapkeep \
	  $(DESTDIR)$(PREFIX)/share/{man/man1/tapkeep*.1,bash-completion/completions/tapkeep,zsh/site-functions/_tapkeep} \
	  $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/tapkeep.fish \
	  $(DESTDIR)$(PREFIX)/lib/{sysusers,tmpfiles}.d/tapkeep.conf $(DESTDIR)$(PREFIX)/lib/systemd/catalog/tapkeep.catalog \
	  $(addprefix $(DESTDIR)$(PREFIX)/lib/,$(UNITS:systemd/%=systemd/system/%))

clean: ## Remove what was built
	$(CARGO) clean
