# The Transformer, Measured. `make book` and `make test` do all the set-up a fresh machine needs.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PORT ?= 8000
export JUPYTER_PLATFORM_DIRS = 1
# A reader's own packages and kernels must not stand in for the pinned ones.
export PYTHONNOUSERSITE = 1
export JUPYTER_PREFER_ENV_PATH = 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

.PHONY: book
book: $(READY) ## Execute every chapter and build the book, warnings as errors
	@$(BIN)/jupyter-book build --warningiserror --nitpick --keep-going .
	@echo "Open $(CURDIR)/_build/html/index.html"

.PHONY: test
test: $(READY) ## Run every test: package, pipeline, chapters under nbval, built book in a browser, Colab-like run
	@$(BIN)/python -m pytest

.PHONY: lint
lint: $(READY) ## Check style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright

.PHONY: notebooks
notebooks: $(READY) ## Derive, execute and normalise chapters/*.ipynb from the sources
	@PYTHONPATH=tools $(BIN)/python -m notebooks build

.PHONY: check
check: $(READY) ## Name every drift between package, chapters and notebooks (runs nothing)
	@PYTHONPATH=tools $(BIN)/python -m notebooks check

.PHONY: measure
measure: $(READY) ## Repeat every measurement in full and store the results
	@$(BIN)/transformer-book measure all

.PHONY: serve
serve: book ## Serve the book on http://127.0.0.1:PORT and rebuild on change
	@$(BIN)/python tools/serve.py --port $(PORT)

.PHONY: colab
colab: $(READY) ## Run every notebook in an environment with Colab's versions
	@COLAB_CHAPTERS=all $(BIN)/python -m pytest -m colab tests/colab

.PHONY: constraints
constraints: $(READY) ## Write constraints.txt from what is installed
	@$(BIN)/python tools/constraints.py

.PHONY: address
address: $(READY) ## Set the repository's address everywhere: make address ADDRESS=https://github.com/owner/name
	@$(BIN)/python tools/address.py '$(ADDRESS)'

.PHONY: clean
clean: ## Delete everything built, but not the environment
	@rm -rf _build

# The environment. The stamp is written last, so an interrupted installation is done again.
$(READY): requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python: expected 3.11 or newer, got {v[0]}.{v[1]}; name another with make PYTHON=python3.11")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python has no venv: on Debian, apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV): a few minutes the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@touch $@
