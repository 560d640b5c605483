# make demo    set up .venv, simulate a study, run it, say where the outputs are
# make test    the same set-up, then all tests
# make notebook    run examples/notebook/walkthrough.py as a notebook, with its outputs
# make lint types wheel clean    style, type checks, a wheel in dist/, remove what the others made
#
# PYTHON is the interpreter the environment is made from (3.11 or newer), VENV where it is made, ARGS more
# arguments for pytest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test notebook lint types wheel clean
.DEFAULT_GOAL := help

help:
	@sed -n '1,/^PYTHON/{s/^# \{0,1\}//p}' Makefile

# Made again only when pyproject.toml has changed: the install is editable, so sources need nothing.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "bayestwas needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version): a few minutes the first time."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[simulate,test,dev]'
	@touch $@

demo: $(STAMP)
	@echo "Simulating a study (3 ancestries, 2 tissues, 6 blocks, 60 genes) in demo/study."
	@$(BIN)/bayestwas simulate --preset demo --out demo/study --overwrite
	@echo "Running it into demo/results."
	@$(BIN)/bayestwas run demo/study/study.toml --out demo/results --overwrite
	@echo
	@echo "Study and truth: demo/study (truth.tsv names the causal genes). Results: demo/results"

notebook: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[notebook]'
	$(BIN)/python examples/notebook/make_notebook.py

test: $(STAMP)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadscope $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

wheel: $(STAMP)
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

clean:
	rm -rf build dist demo bayestwas.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
