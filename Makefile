# Soloist: `make demo` shows it trading on a real cluster, `make test` proves it. Everything else is a part of those two.
PYTHON := $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-down test conformance lint crds images cluster-up cluster-down lock bench model crash-test chaos

help: ## Show what there is to do
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: .venv/installed ## Install Python dependencies, hash by hash, into .venv
.venv/installed: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Soloist needs Python 3.11 or newer, this is " + sys.version'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## Start a cluster, install Soloist, and watch a bot trade
	$(BIN)/python -m examples.demo

demo-down: setup ## Remove everything that the demonstration made
	$(BIN)/python -m tests.cluster down --name soloist-demo

test: setup lint ## Run every test; the cluster starts while the first layers run
	$(BIN)/pytest tests

model: setup ## Search the protocol's state space, the large worlds too
	$(BIN)/python -m tests.model

conformance: setup ## Run every conformance card and write docs/conformance.md; VENUE=demo asks the venue's demo instead
	$(BIN)/python -m tests.conformance.run --venue $(or $(VENUE),local)

crash-test: setup ## Crash the engine ten thousand times in memory, kill its process 500 times, break it on purpose
	$(BIN)/python -m tests.crash

chaos: setup ## Make every disaster on a real cluster, many times; goes on where it was interrupted (hours)
	$(BIN)/python -m tests.chaos --name soloist-chaos

lint: setup ## Check style, types, import contracts and that the CRDs are current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m soloist_operator.api.generate --check
	$(BIN)/python -m soloist_operator.api.generate --check --directory charts/soloist/files/crds

crds: setup ## Write the CRDs again from the pydantic models
	$(BIN)/python -m soloist_operator.api.generate
	$(BIN)/python -m soloist_operator.api.generate --directory charts/soloist/files/crds

images: setup ## Build the operator's and the trader's image
	$(BIN)/python -m tests.cluster images

cluster-up: setup ## Make the test cluster and load the images
	$(BIN)/python -m tests.cluster up --images

cluster-down: setup ## Remove the test cluster
	$(BIN)/python -m tests.cluster down

lock: setup ## Write the hashed lock files again from pyproject.toml
	for part in operator trader dev; do \
	  extras="--extra $$part"; [ $$part != trader ] || extras="--extra trader --extra store"; \
	  [ $$part != dev ] || extras="--extra operator --extra trader --extra store --extra data --extra dev"; \
	  $(BIN)/uv pip compile --quiet pyproject.toml $$extras --generate-hashes --no-emit-index-url --no-annotate \
	    --python-version 3.11 --custom-compile-command "make lock" --output-file requirements/$$part.txt; \
	done
	$(BIN)/uv pip compile --quiet requirements/go.in --generate-hashes --no-emit-index-url --no-annotate \
	  --custom-compile-command "make lock" --output-file requirements/go.txt

BENCHES := exchange_orders exchange_feed exchange_start exchange_core exchange_store journal_commit journal_start tape_frames engine_send
bench: setup ## Measure all of it on a quiet machine (minutes); prints JSON and tables. BENCHES=engine_send: that alone
	set -e; for bench in $(BENCHES); do echo "== $$bench"; $(BIN)/python -m tests.bench.$$bench; done
