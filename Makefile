# Everything a developer or CI runs. `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
# Every module of go.work, as package patterns.
PACKAGES = $$(go list -m -f '{{.Dir}}/...')
GO := scripts/need-go.sh && go

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: dev
dev: ## run the whole of Tenon on this machine, with its own PostgreSQL and NATS (ARGS="--port 9000" sets options)
	@$(GO) run ./cmd/tenond dev $(ARGS)

.PHONY: demo
demo: ## run the example in a temporary folder, kill a worker in the middle, and compare the result with the truth
	@$(GO) run ./cmd/tenond demo $(ARGS)

.PHONY: build
build: ## compile the programs into bin/
	@mkdir -p bin
	@$(GO) build -o bin/ ./cmd/...

.PHONY: test
test: ## install what the tests need, then run all of them with the race detector
	@scripts/need-go.sh
	@scripts/setup-test.sh
	go test -race -timeout 15m $(PACKAGES)

.PHONY: screenshots
screenshots: ## write a picture of every page of the dashboard, with a busy data set, to .screenshots/PAGE-THEME-WIDTH.png
	@scripts/need-go.sh
	@scripts/setup-test.sh
	TENON_SCREENSHOTS=$(CURDIR)/.screenshots go test -count=1 -timeout 15m -run '^TestPages$$' ./test/browser

.PHONY: bench
bench: ## measure Tenon beside River, a line of JSON a scenario; SCENARIO=name,name|all REPEAT=3 SCALE=1 PROFILE=folder; soak has RATE=2000 MINUTES=60
	@$(GO) run ./bench --results bench/results --repeat $(or $(REPEAT),3) --scale $(or $(SCALE),1) \
	  $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(PROFILE),--profile $(PROFILE)) \
	  $(if $(RATE),--soak-rate $(RATE)) $(if $(MINUTES),--soak $(MINUTES)m)

.PHONY: bench-compare
bench-compare: ## measure this checkout beside another commit, in turns: BASE=ref, and SCENARIO REPEAT SCALE as above
	@test -n "$(BASE)" || { echo 'bench-compare: say with what, such as `make bench-compare BASE=main SCENARIO=noop_bulk`' >&2; exit 2; }
	@$(GO) run ./bench compare --base $(BASE) --repeat $(or $(REPEAT),3) --scale $(or $(SCALE),1) $(if $(SCENARIO),--scenario $(SCENARIO))

.PHONY: chaos
chaos: ## break an install under load in random ways for MINUTES=5 and judge what it promised (ARGS="--only NATS --seed 1 --keep")
	@$(GO) run ./test/chaos/long --minutes $(or $(MINUTES),5) $(ARGS)

.PHONY: sim sim-nightly
sim: ## play the simulation and its broken engines; SEEDS=2000 worlds from SEED=1 on
	@$(GO) run ./test/sim/simulate --seeds $(or $(SEEDS),2000) --seed $(or $(SEED),1)
sim-nightly: ## the simulation with 100,000 worlds
	@$(GO) run ./test/sim/simulate --seeds $(or $(SEEDS),100000) --seed $(or $(SEED),1)

.PHONY: lint
lint: ## check the code and the .proto files by rule (.golangci.yml, buf.yaml)
	@scripts/need-go.sh
	@scripts/lint.sh

.PHONY: fmt
fmt: ## format hand-written Go and templ files in place
	@scripts/fmt.sh

.PHONY: gen gen-proto gen-sql gen-templ gen-css
gen: ## regenerate all generated files
	@scripts/gen.sh
gen-proto: ## regenerate Go from proto/
	@scripts/gen.sh proto
gen-sql: ## regenerate Go from db/queries
	@scripts/gen.sh sql
gen-templ: ## regenerate Go from the dashboard's templates
	@scripts/gen.sh templ
gen-css: ## regenerate the dashboard's style sheet
	@scripts/gen.sh css

.PHONY: gen-check
gen-check: ## fail if regenerating changes a generated file
	@scripts/gen-check.sh
