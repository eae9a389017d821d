# Every target that CI runs is here; `make check` is what CI runs after `go test ./...`.
GO    ?= go
TOOL  := $(GO) tool -modfile=tools.mod
# These tests mostly wait for leases of killed processes to expire, so eight can share two cores.
E2E   := -tags e2e -count=1 -timeout 20m -parallel 8 ./internal/e2e/...
FUZZ  ?= 20s

# For the container images: where they are prepared, their tag, and the roots that their programs trust.
IMAGES    ?= bin/images
TAG       ?= dev
CA_BUNDLE ?= /etc/ssl/certs/ca-certificates.crt

.PHONY: help demo up build images test race lint fmt imports deadcode e2e cluster grants posts fuzz bench check

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## run the whole pipeline against simulators
	$(GO) run ./cmd/kindling demo

up: ## keep the sandbox running on http://127.0.0.1:8090
	$(GO) run ./cmd/kindling up --sandbox --data kindling-data

build: ## build every program into bin/
	$(GO) build -trimpath -o bin/ ./cmd/...

images: export CGO_ENABLED = 0
images: export GOOS = linux
images: ## container images kindling:$TAG and kindling-nats:$TAG
	rm -rf $(IMAGES) && mkdir -p $(IMAGES)/kindling/bin $(IMAGES)/nats/data
	$(GO) build -trimpath -o $(IMAGES)/kindling/bin/ $(addprefix ./cmd/,kindling callback-ingest token-worker warmy-worker console)
	$(GO) build -trimpath -o $(IMAGES)/nats/ github.com/nats-io/nats-server/v2
	cp $(CA_BUNDLE) $(IMAGES)/kindling/ca-certificates.crt
	cp deployments/nats/single.conf deployments/nats/cluster.conf $(IMAGES)/nats/
	docker build -q -t kindling:$(TAG) -f deployments/Dockerfile $(IMAGES)/kindling
	docker build -q -t kindling-nats:$(TAG) -f deployments/nats/Dockerfile $(IMAGES)/nats

test: ## the tests that need nothing but Go
	$(GO) test ./...

race: ## the same under the race detector, in random order
	$(GO) test -race -shuffle=on -count=1 -timeout 15m $(TESTFLAGS) ./...

lint: ## golangci-lint with .golangci.yml
	$(TOOL) golangci-lint config verify
	$(TOOL) golangci-lint run ./...

fmt: ## format everything
	$(TOOL) golangci-lint fmt ./...

imports: ## which package may import which
	$(GO) test -count=1 -run 'Imports|Layer|Speaks|Table' .

deadcode: ## functions that nothing reaches
	@out="$$($(TOOL) deadcode -test -tags e2e ./...)" && if [ -n "$$out" ]; then echo "$$out"; exit 1; fi

e2e: ## built programs, two of each, killed at random
	$(GO) test -v $(E2E)

# How long it takes: about 15 s for each kill and 4 min for each round of the other faults.
cluster: export CLUSTER_KILLS ?= 100
cluster: export CLUSTER_ROUNDS ?= 20
cluster: export CLUSTER_PARTITION ?= 60s
cluster: ## three NATS nodes in containers, each failing CLUSTER_KILLS times and in CLUSTER_ROUNDS rounds of partitions
	$(GO) test -v -tags e2e -count=1 -timeout 12h -run '^TestCluster' ./internal/e2e/

grants: export GRANTS_CODES ?= 10000
grants: export GRANTS_KILLS ?= 20
grants: ## GRANTS_CODES codes in three messages each, three token-workers, GRANTS_KILLS of them killed
	$(GO) test -v -tags e2e -count=1 -timeout 1h -run '^TestCodesThatAreDelivered' ./internal/e2e/

posts: export POSTS ?= 10000
posts: export POSTS_KILLS ?= 20
posts: export POSTS_AFTER ?= 60
posts: ## POSTS mailboxes, every fifth POST of unknown outcome, three warmy-workers, POSTS_KILLS of them killed
	$(GO) test -v -tags e2e -count=1 -timeout 1h -run '^TestPostsOfUnknown' ./internal/e2e/

fuzz: ## every fuzz target for FUZZ (default 20s)
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZ) $$pkg; \
	  done; done

bench: ## figures with their aims, the longest ones shortened (README.md, Figures)
	$(GO) run ./cmd/kindling bench all

check: imports lint deadcode race e2e ## all that CI runs beside `go test ./...`
