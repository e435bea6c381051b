# `make help` is the index of what one can do here.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PACKAGES := varnish varnish-selector varnish-modules tcc binutils libc6-dev curl wrk
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release

.PHONY: help deps build run test lint deny bench-reload bench-throughput crds

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## Install what is missing of Varnish and its compiler (Debian packages)
	@missing=(); \
	for package in $(PACKAGES); do \
	  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing+=($$package); \
	done; \
	if (($${#missing[@]})); then \
	  echo "installing $${missing[*]}"; \
	  $(SUDO) apt-get update -q && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$${missing[@]}" \
	    || { echo "make: cannot install: $${missing[*]}" >&2; exit 1; }; \
	fi
	@command -v cargo >/dev/null && command -v rustc >/dev/null || { \
	  echo "make: Rust is missing; install it as https://rustup.rs says, for example with"; \
	  echo "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"; \
	  exit 1; } >&2
	@command -v cc >/dev/null || { \
	  echo "make: a C linker is missing, which Rust needs: apt-get install gcc" >&2; exit 1; }

build: deps ## Build the optimised binaries and the demo backend
	cargo build --release --bins --example demo-backend

run: build ## Serve examples/quickstart with demo backends; PORT_OFFSET=8000 ADMIN_PORT=9000
	@examples/quickstart.sh $(RELEASE)

test: deps ## Check format and lints, then run all tests
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo test

lint: ## Check format and lints
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

crds: ## Write the CustomResourceDefinitions into crds/ anew
	cargo run --quiet --bin copal -- crds --out crds

deny: ## Check dependencies: bans, licences, sources
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check bans licenses sources

bench-reload: deps ## Measure start and live edits with 1,000 virtual hosts
	cargo bench --bench reload

bench-throughput: deps ## Measure requests a second against a minimal VCL
	cargo bench --bench throughput
