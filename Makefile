# Darkbloom: every target makes what it needs; `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
export PYTHON
# Hundreds of processes of a run import the same modules: the first one compiles them for all.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup run test lint format bench test-full test-twin fuzz soak soak-provider clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

setup: ## make .venv with everything that the other targets need, half a minute the first time
	@sh scripts/setup_venv.sh

run: setup ## start a coordinator, a provider and the demo model; stream a first answer; stay up
	@$(BIN)/darkbloom dev $(ARGS)

test: setup ## unit, property and end-to-end tests, 10 minutes (ARGS="path -k name" for a part)
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else
	@sh scripts/run_tests.sh $(BIN)/python
endif

lint: setup ## ruff, format check, mypy strict, 1-2 minutes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## run all benchmarks on a quiet machine and write docs/benchmarks.md, 10 minutes
	$(BIN)/python -m bench all --write docs/benchmarks.md

test-twin: setup ## unit and property tests with the pure-Python twin, 6 minutes
	DARKBLOOM_NATIVE=0 $(BIN)/python -m pytest tests/unit -n auto --dist loadfile $(ARGS)

test-full: setup ## everything: nightly property profile, pump and twin, all scenarios; hours
	@sh scripts/run_tests.sh $(BIN)/python full

fuzz: setup ## sanitizer build of the C code under the fuzz driver, 10 minutes (SECONDS=n for another time)
	$(BIN)/python scripts/fuzz_native.py --seconds $(or $(SECONDS),600)

soak: setup ## a coordinator and providers under load and faults, 10 minutes (SECONDS=n for another time)
	$(BIN)/python -m tests.testbed.soak --seconds $(or $(SECONDS),600)

soak-provider: setup ## a provider under mixed traffic and model switches, 30 minutes (SECONDS=n for another time)
	$(BIN)/python -m tests.testbed.provider_soak --seconds $(or $(SECONDS),1800)

clean: ## remove the virtual environment and all build products
	rm -rf .venv build dist *.egg-info native/_speed*.so native/_speed*.c
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
