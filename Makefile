# What a person types: `make demo`, `make test`. `make help` lists the rest.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 10s
BENCH    ?= .
COUNT    ?= 6
FUNCTIONS ?= 10000
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64

GOLANGCI_VERSION := v2.15.0
BUF_VERSION      := 1.75.0

CACHE    := $(CURDIR)/.cache
GOLANGCI := $(CACHE)/bin/golangci-lint-$(GOLANGCI_VERSION)
BUF      := $(CACHE)/buf-$(BUF_VERSION)/node_modules/.bin/buf
LDFLAGS  := -s -w -X main.version=$(VERSION)

# Directories of the Go modules: this one and the nested ones.
MODULES := $(patsubst %/,%,$(dir $(sort $(shell find . -name go.mod -not -path '*/node_modules/*' -not -path './.cache/*' -not -path '*/testdata/*'))))
# The race detector needs cgo. TEST_RACE= turns it off, which `make test` never does by itself.
TEST_RACE ?= -race
TESTFLAGS ?=
# Gives tests temporary folders in memory. SCRATCH= turns it off.
SCRATCH ?= $(CURDIR)/.ci/scratch
# Packages with nothing for the race detector, which make race runs with it all the same: one
# goroutine and hours of generated cases; or what is tested is another program, orla, which
# is built without it, and the test itself only asks and waits.
PLAIN := runtime/wasm internal/acmetest internal/e2e internal/faults

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/orla for this machine
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/orla ./cmd/orla

.PHONY: demo
demo: build ## run a node with the example app, print the URLs, stop on Ctrl-C
	@GO='$(GO)' examples/hello/demo.sh

.PHONY: deps
deps: ## fetch what the tests need
	@GO='$(GO)' .ci/deps

.PHONY: test
test: deps ## run every test of every module, with the race detector
	@for dir in $(MODULES); do \
	  echo "== go test $(TEST_RACE) ($$dir)"; \
	  (cd "$$dir" && $(SCRATCH) $(GO) test $(TEST_RACE) -shuffle=on -timeout 14m $(TESTFLAGS) $$($(GO) list ./... | grep -v $(PLAIN:%=-e '/%$$'))); \
	done
	@echo "== go test ($(PLAIN))"
	@$(SCRATCH) $(GO) test -shuffle=on -timeout 14m $(TESTFLAGS) $(addprefix ./,$(PLAIN))

.PHONY: race
race: deps ## run every test three times over with the race detector, uncached
	@for dir in $(MODULES); do \
	  (cd "$$dir" && $(GO) test -race -shuffle=on -count=3 -timeout 40m $(TESTFLAGS) ./...); \
	done

.PHONY: lint
lint: $(GOLANGCI) ## run golangci-lint on every module, and shell syntax
	@for dir in $(MODULES); do \
	  echo "== golangci-lint ($$dir)"; \
	  (cd "$$dir" && $(GOLANGCI) run --config $(CURDIR)/.golangci.yml ./...); \
	done
	@for script in .ci/run .ci/deps .ci/scratch examples/hello/demo.sh internal/acmetest/install-scanners; do bash -n "$$script"; done

.PHONY: fmt
fmt: $(GOLANGCI) ## format the Go files: gofumpt, import groups
	@for dir in $(MODULES); do (cd "$$dir" && $(GOLANGCI) fmt --config $(CURDIR)/.golangci.yml); done

.PHONY: generate
generate: $(BUF) ## generate the Go code of proto/
	$(BUF) lint
	$(BUF) generate

.PHONY: check
check: $(GOLANGCI) generate ## verify what is committed: generated code, go.mod, formatting
	@git diff --exit-code -- proto || { echo 'check: generated code is stale: run make generate and commit it' >&2; exit 1; }
	@for dir in $(MODULES); do \
	  (cd "$$dir" && $(GO) mod tidy -diff) || { echo "check: $$dir/go.mod is not tidy: run go mod tidy there" >&2; exit 1; }; \
	  (cd "$$dir" && $(GOLANGCI) fmt --diff --config $(CURDIR)/.golangci.yml) || { echo 'check: run make fmt' >&2; exit 1; }; \
	done

.PHONY: fuzz
fuzz: deps ## run every fuzz target for FUZZTIME (10s) each
	@$(GO) list ./... | while read -r pkg; do \
	  { $(GO) test -list '^Fuzz' "$$pkg" || { echo "fuzz: $$pkg does not build" >&2; exit 1; }; } | { grep '^Fuzz' || true; } | while read -r target; do \
	    echo "== $$pkg $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$pkg"; \
	  done; \
	done

.PHONY: fuzz-long
fuzz-long: deps ## a million mutants of real modules, and the rewriter's fuzz target for five minutes
	ORLA_MUTANTS=1000000 ORLA_GENERATED=5000 $(GO) test -timeout 60m -run 'Mutants|Generated' ./runtime/wasm
	$(GO) test -timeout 60m -run xxx -fuzz FuzzPrepare -fuzztime 5m ./runtime/wasm

.PHONY: faults-long
faults-long: deps ## what is done to clusters, for as long as it may last in the field: partitions of a minute, twelve of them
	ORLA_FAULTS_LONG=1 $(GO) test -v -timeout 90m ./internal/faults ./internal/e2e

.PHONY: scan-tls
scan-tls: deps ## look at a node with testssl.sh, sslscan and Chromium, some minutes
	internal/acmetest/install-scanners
	ORLA_SCAN_TLS=1 $(GO) test -v -count=1 -timeout 30m -run '^TestScan' ./internal/acmetest

.PHONY: bench
bench: deps ## run the benchmarks matching BENCH, COUNT (6) times
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) -timeout 60m ./...

.PHONY: bench-guest
bench-guest: deps ## run the benchmarks of functions, beside plain wazero, workerd and wasmtime
	internal/peers/install
	$(GO) test -run '^$$' -bench 'Hello|Instance|Cores' -benchmem -count $(COUNT) -timeout 30m ./runtime
	$(GO) test -run '^$$' -bench 'Reset' -count $(COUNT) ./runtime/memory
	$(GO) test -run '^$$' -bench 'Instrumented|Prepare' -count $(COUNT) -timeout 30m ./runtime/wasm
	$(GO) test -run '^$$' -bench 'Load' -benchtime 3x -timeout 30m ./runtime/compile
	$(GO) test -run '^$$' -bench 'HTTP' -benchtime 20000x -count $(COUNT) -timeout 30m ./internal/benchguest
	$(GO) test -run '^$$' -bench 'Idle' -benchtime $(FUNCTIONS)x -timeout 30m ./internal/benchguest

.PHONY: bench-certs
bench-certs: deps ## run the benchmarks of certificates: 100,000 of them, and strangers
	$(GO) test -run '^$$' -bench 'Index|Handshakes' -benchtime 1x -timeout 15m ./certs

.PHONY: bench-cluster
bench-cluster: deps ## run the benchmarks of a cluster, within 15 minutes (see docs/BENCHMARKS.md)
	@command -v rsync >/dev/null || echo 'bench-cluster: there is no rsync to compare deploys with: apt-get install rsync' >&2
	$(GO) test -run '^$$' -bench 'Push' -benchtime 200x -timeout 3m ./internal/benchcluster
	$(GO) test -run '^$$' -bench 'Row|Staleness|Election' -benchtime 1x -timeout 3m ./internal/benchcluster
	$(GO) test -run '^$$' -bench 'Release' -benchtime 1x -timeout 4m ./internal/benchcluster
	MOST=$${MOST:-100000} $(GO) test -run '^$$' -bench 'Scale' -benchtime 1x -timeout 15m ./internal/benchcluster

.PHONY: sim
sim: ## measure this machine, then simulate a push to 10,000 nodes (see docs/SCALE.md)
	$(GO) run ./internal/sim/plan

.PHONY: cover
cover: deps ## run the tests of this module with coverage: coverage.out and the total
	$(GO) test -shuffle=on -timeout 14m -coverprofile coverage.out -coverpkg ./... ./...
	@$(GO) tool cover -func coverage.out | tail -n 1

.PHONY: dist
dist: ## build static binaries of PLATFORMS into dist/ with checksums
	@rm -rf dist && mkdir -p dist
	@for platform in $(PLATFORMS); do \
	  os="$${platform%/*}" arch="$${platform#*/}"; \
	  echo "dist/orla-$$os-$$arch"; \
	  CGO_ENABLED=0 GOOS="$$os" GOARCH="$$arch" $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o "dist/orla-$$os-$$arch" ./cmd/orla; \
	done
	@cd dist && { sha256sum orla-* 2>/dev/null || shasum -a 256 orla-*; } > SHA256SUMS && cat SHA256SUMS
	@mkdir -p dist/root && mkdir -m 0700 dist/root/data # for the image: /data as it has to be
	@for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do \
	  if [[ -f "$$bundle" ]]; then cp "$$bundle" dist/ca-certificates.crt; break; fi; \
	done

.PHONY: clean
clean: ## remove what the other targets made
	rm -rf bin dist .cache coverage.out

$(GOLANGCI):
	@echo "installing golangci-lint $(GOLANGCI_VERSION) (once, some minutes)"
	@GOFLAGS= GOBIN=$(dir $@) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv $(dir $@)golangci-lint $@

$(BUF):
	@command -v npm >/dev/null || { echo 'generate needs npm: install Node.js 20 or newer' >&2; exit 1; }
	@npm install --no-fund --no-audit --silent --prefix $(CACHE)/buf-$(BUF_VERSION) @bufbuild/buf@$(BUF_VERSION)
