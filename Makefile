# `make help` is the index of what one can do here.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# gcc, which Rust links with, comes with varnish.
PACKAGES := varnish varnish-selector varnish-modules tcc binutils libc6-dev curl wrk openssl nghttp2-client
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release
# Only a KUBECONFIG that is given to make is meant: one that lies about in the environment may be of a cluster in use.
E2E := $(if $(findstring command,$(origin KUBECONFIG)),E2E_KUBECONFIG="$(abspath $(KUBECONFIG))" )e2e

.PHONY: help deps build run test lint crds deny e2e e2e-up e2e-test e2e-down bench-certificates bench-reload bench-throughput bench-tls bench-upstream bench-routes

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Beside what is measured against, wrk and the rest come from the list above.
bench-tls: PACKAGES += hitch haproxy

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

build: deps ## Build the optimised binaries and the demo backend
	cargo build --release --bins --example demo-backend

run: build ## Serve examples/quickstart with demo backends; PORT_OFFSET=8000 ADMIN_PORT=9000
	@examples/quickstart.sh $(RELEASE)

test: deps lint ## Check format and lints, then run all tests
	cargo test

lint: ## Check format and lints
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

crds: ## Write crds/ anew from the types in src/api
	cargo run -q -- crds --out crds

deny: ## Check dependencies: bans, licences, sources
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check bans licenses sources

e2e: ## Run the conformance suite and e2e/tests on a cluster of its own; KUBECONFIG=FILE: on that one
	@$(E2E)/run.sh

e2e-up: ## Boot the e2e cluster and deploy Copal; again after a change: deploy anew
	@$(E2E)/prepare.sh

e2e-test: ## Run one test there: RUN=HTTPRouteWeight (the suite's) or RUN=faults (of e2e/tests)
	@if [ -z "$(RUN)" ]; then echo "make: name a test: make e2e-test RUN=HTTPRouteWeight" >&2; exit 1; fi
	@$(E2E)/prepare.sh
	@if [ -e "e2e/tests/$(RUN).sh" ]; then $(E2E)/run-tests.sh $(RUN); else $(E2E)/conformance.sh $(RUN); fi

e2e-down: ## Remove every trace of the e2e cluster
	@$(E2E)/down.sh

bench-reload: deps ## Measure start and live edits with 1,000 virtual hosts
	cargo bench --bench reload

bench-throughput: deps ## Measure requests a second against a minimal VCL
	cargo bench --bench throughput

bench-upstream: deps ## Measure what TLS and HTTP/2 to backends add to a request
	cargo bench --bench upstream

bench-tls: deps ## Measure TLS connections and handshakes against Hitch and HAProxy
	cargo bench --bench tls

bench-certificates: deps ## Measure 10,000 certificates: memory, and a renewed one
	cargo bench --bench certificates

bench-routes: ## Measure how the operator follows routes, on the e2e cluster
	@$(E2E)/bench-routes.sh
