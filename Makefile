# The front door. `make repro` and `make test` are all a newcomer needs; the others are for the people who stay.

PYTHON ?= python3
# The environment's programs come first, or `dvc` would run another Python.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1

.PHONY: help setup repro test lint types recipe ui up deploy run worker bench clean

help:  ## list these targets
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:[^#]*## /\t/'

setup: .venv/installed  ## make .venv from requirements.lock and install the package in it

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

repro: setup  ## from the raw data to a registered model: check the params, `dvc repro`, print the result
	@likewise check
	@dvc repro
	@likewise register

test: setup lint types  ## lint, types and tests
	@python -m pytest --numprocesses auto --dist worksteal

lint: setup
	@ruff check .
	@ruff format --check .

types: setup
	@mypy

# The digits are built in: they need no DATA.
recipe: DATA ?= $(if $(filter digits mnist speakers spoken-digits,$(NAME)),data/raw)
recipe: setup  ## try a recipe on your data in a scratch copy: make recipe NAME=faces DATA=path/to/faces
	@test -n "$(DATA)" && test -f "recipes/$(NAME).yaml" || { \
	  echo "usage: make recipe NAME=... DATA=path; names: $(notdir $(basename $(wildcard recipes/*.yaml)))" >&2; exit 2; }
	@scratch=$$(mktemp -d -t likewise-XXXXXX) && git ls-files -z | xargs -0 cp --parents -t "$$scratch" && cd "$$scratch" && \
	  git init -q && sed 's|^  path: data/raw |  path: $(abspath $(DATA)) |' recipes/$(NAME).yaml > params.yaml && \
	  likewise check && dvc repro evaluate && dvc metrics show && echo "report: $$scratch/reports/evaluate/report.html"

ui: setup  ## browse runs, models and the registry on http://127.0.0.1:5000
	@mlflow ui --backend-store-uri "$$(likewise where tracking)" --port 5000

PREFECT_PORT ?= 4200
MLFLOW_PORT ?= 5000

up: setup  ## MLflow, Prefect and a worker a pool on this machine until Ctrl-C: make up PREFECT_PORT=4200 MLFLOW_PORT=5000
	@python -m flows.servers --prefect-port $(PREFECT_PORT) --mlflow-port $(MLFLOW_PORT)

PREFECT_API_URL ?= http://127.0.0.1:$(PREFECT_PORT)/api
deploy run worker: export PREFECT_API_URL := $(PREFECT_API_URL)

deploy: setup  ## put pools, schedules and automations (prefect.yaml) on the Prefect server
	@python -m flows.deploy

run: setup  ## run a deployed flow now and watch it: make run FLOW=retrain ARGS="why=try"
	@test -n "$(FLOW)" || { echo "usage: make run FLOW=retrain; prefect.yaml names the flows" >&2; exit 2; }
	@python -m flows.run "$(FLOW)" $(ARGS)

worker: setup  ## be a worker of a pool: make worker POOL=gpu PREFECT_API_URL=http://host:4200/api
	@python -m flows.worker --pool $(or $(POOL),cpu)

BENCHMARKS := $(filter-out %/__init__.py %/timing.py %/table.py, $(wildcard benchmarks/*.py))

bench: setup  ## run every benchmark, peers in the same run: benchmarks/results/ and docs/benchmarks.md
	@for script in $(BENCHMARKS); do \
	  OMP_WAIT_POLICY=PASSIVE python -m "benchmarks.$$(basename $$script .py)" || exit 1; \
	done
	@python -m benchmarks.table