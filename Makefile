# Everything runs in a virtual environment of its own, from the pinned versions in constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?=
MINUTES ?= 30
export PYTHONUNBUFFERED := 1

.PHONY: help install demo up test check lint types imports audit sbom format clean chaos fuzz upgrade differential \
	bench-transport bench-recommend bench-distill bench-ranking bench-service

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## Make the virtual environment

$(VENV)/.installed: pyproject.toml clients/python/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Preceptor needs Python 3.11 or later; $(PYTHON) is older. Try: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Installing into $(VENV) (once; some minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e clients/python -e ".[worker,oidc,telemetry,demo,dev]"
	@touch $@

demo: install ## The main job on real models: rank a zoo, explain, distil (about a minute on two idle cores)
	@$(BIN)/python -m examples.demo

up: install ## Run the whole stack; Ctrl-C drains it
	@$(BIN)/preceptor-server dev

test: install ## All tests
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup

check: lint types imports ## Lint, types, import rules

lint: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: install
	@$(BIN)/pyright

imports: install
	@$(BIN)/lint-imports

audit: install ## Dependencies: pins, licences, known holes; STRICT=1 fails where advisories cannot be had
	@STRICT="$(STRICT)" $(BIN)/python -m deploy.dependencies audit

sbom: install ## Bill of materials of the environment: build/sbom.cdx.json (CycloneDX), validated
	@$(BIN)/python -m deploy.dependencies sbom

format: install ## Format the code
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench-transport: install ## Speed of the transport engine against its peers
	@$(BIN)/python -m benchmarks.transport

bench-recommend: install ## How fast a ranking is, end to end
	@$(BIN)/python -m benchmarks.recommend

bench-distill: install ## Does distilling help? make bench-distill DATA=folder
	@$(BIN)/python -m benchmarks.distill $(if $(DATA),--data "$(DATA)")

bench-ranking: install ## How well the rankings predict what distilling reaches; make bench-ranking DATA=folder
	@$(BIN)/python -m benchmarks.ranking $(if $(DATA),--data "$(DATA)")

bench-service: install ## The service under load, beside a bare route
	@$(BIN)/python -m benchmarks.service

chaos: install ## Mixed jobs while everything is killed; MINUTES=30 by default
	@$(BIN)/python -m tests.chaos --minutes $(MINUTES)

upgrade: install ## From older code, with running jobs; make upgrade FROM=commit
	@$(BIN)/python -m tests.upgrade --from "$(or $(FROM),$(error give the older version: make upgrade FROM=commit))"

fuzz: install ## Hostile inputs for every parser; make fuzz SECONDS=600
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),600)

differential: install ## Teachers against transformers itself: tokens, pixels, logits
	@$(BIN)/python -m tests.differential

clean: ## Remove the virtual environment and the local data
	rm -rf $(VENV) .preceptor .demo
