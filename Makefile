# The Transformer, Measured. `make book` and `make test` do all the set-up a fresh machine needs.
SHELL := /bin/bash
BIN := .venv/bin
PORT ?= 8000
TESTS_AT_ONCE ?= 2
export PYTHON ?= python3
# A reader's own packages and kernels must not stand in for the pinned ones.
export PYTHONNOUSERSITE = 1
export JUPYTER_PREFER_ENV_PATH = 1
export JUPYTER_PLATFORM_DIRS = 1

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 14

.PHONY: environment
environment: ## Install what the book needs into .venv (every other target does this first)
	@bash tools/environment.sh

.PHONY: book
book: environment ## Execute every chapter and build the book, warnings as errors
	@$(BIN)/jupyter-book build --warningiserror --nitpick --keep-going .
	@echo "Open $(CURDIR)/_build/html/index.html"

.PHONY: pdf
pdf: book ## Print the whole book as one PDF, beside the pages (needs Chromium)
	@$(LOCK) env PYTHONPATH=tools $(BIN)/python -m takeaway pdf

.PHONY: epub
epub: book ## Pack the whole book as one EPUB, beside the pages (needs Chromium and epubcheck)
	@$(LOCK) env PYTHONPATH=tools $(BIN)/python -m takeaway epub

.PHONY: test
test: environment ## Run every test: package, pipeline, chapters under nbval, built book in a browser, Colab-like run
	@$(BIN)/python -m pytest --numprocesses $(TESTS_AT_ONCE) --dist loadfile --no-loadscope-reorder

.PHONY: lint
lint: environment ## Check style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright

.PHONY: notebooks
notebooks: environment ## Derive, execute and normalise chapters/*.ipynb from the sources
	@PYTHONPATH=tools $(BIN)/python -m notebooks build

.PHONY: prose
prose: environment ## Write the notebooks of chapters whose text changed and whose code did not; runs nothing
	@PYTHONPATH=tools $(BIN)/python -m notebooks prose

.PHONY: check
check: environment ## Name every drift between package, chapters and notebooks (runs nothing)
	@PYTHONPATH=tools $(BIN)/python -m notebooks check

.PHONY: validate
validate: environment ## Run every notebook again and compare (VALIDATE="--platform other": as on another machine)
	@$(BIN)/python tools/validate.py $(VALIDATE)

.PHONY: measure
measure: environment ## Repeat every measurement in full and store the results
	@$(BIN)/transformer-book measure all

.PHONY: gpu
gpu: environment ## Run GPU tests, every chapter and the quick measurements on CUDA (needs a GPU)
	@PYTHONPATH=tools $(BIN)/python tools/gpu.py

.PHONY: bench
bench: environment ## Compare with other libraries side by side and store it (BENCH="--quick" only tries it)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --upgrade --target _build/peers --requirement benchmarks/requirements.txt
	@PYTHONPATH=_build/peers $(BIN)/python -m benchmarks $(BENCH)

.PHONY: serve
serve: environment ## Serve the book on http://127.0.0.1:8000 (or PORT=…) and rebuild it on change
	@$(BIN)/python tools/serve.py --port $(PORT)

.PHONY: slides
slides: book ## Write slides of every chapter into _build/slides (needs Chromium, and npm's registry once)
	@PYTHONPATH=tools $(BIN)/python -m slides

.PHONY: students
students: environment ## Write notebooks without solutions into _build/students, and check that nothing leaks
	@PYTHONPATH=tools $(BIN)/python -m notebooks students _build/students

.PHONY: mark
mark: environment ## Run the exercises of handed-in notebooks and let the checks judge: make mark WORK=folder
	@PYTHONPATH=tools $(BIN)/python -m notebooks mark '$(WORK)'

.PHONY: colab
colab: environment ## Run every notebook in an environment with Colab's versions
	@COLAB_CHAPTERS=all $(BIN)/python -m pytest -m colab tests/colab

.PHONY: oldest
oldest: ## Test the package with the oldest versions that it allows (needs uv)
	@bash tools/versions.sh oldest

.PHONY: newest
newest: ## Test the package and the notebooks with the newest versions (needs uv)
	@bash tools/versions.sh newest

.PHONY: escape
escape: environment ## Build the book by the newest plain Sphinx, without Jupyter Book, into _build/escape
	@$(BIN)/python tools/escape.py escape

.PHONY: links
links: environment ## Ask for every address in the book (needs the network)
	@$(BIN)/python tools/escape.py links

.PHONY: lighthouse
lighthouse: book ## Judge every page of the built book with Lighthouse (needs npm's registry and Chromium)
	@$(BIN)/python tools/lighthouse.py

.PHONY: constraints
constraints: environment ## Write constraints.txt from what is installed
	@$(BIN)/python tools/constraints.py

.PHONY: address
address: environment ## Set the repository's address everywhere: make address ADDRESS=https://github.com/owner/name
	@PYTHONPATH=tools $(BIN)/python tools/address.py '$(ADDRESS)'

.PHONY: clean
clean: ## Delete everything built, but not the environment
	@rm -rf _build
