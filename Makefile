# Needs python3 (3.11 or newer) and make; everything else goes into $(VENV).
#
#   make demo            a generated shop: indexed, measured, served         make demo CHECK=1   the same, without staying up
#   make test            the whole test suite                                make check          format, lint, strict types
#   make bench           the quality and speed records                       make docs           the documentation site

PYTHON ?= python3
VENV ?= .venv
CHECK ?=
ARGS ?=
export OMP_WAIT_POLICY = PASSIVE

PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
REQUIREMENTS := pyproject.toml constraints.txt

.PHONY: help demo test check format bench docs clean
help:
	@sed -n 's/^#   //p' Makefile

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'aisle needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo 'no virtual environment could be made; Debian needs: apt-get install python3-venv' >&2; exit 1; }

# A stamp is written after an installation that succeeded, so each is done once for a set of requirements.
$(VENV)/.run: $(REQUIREMENTS) | $(VENV)/bin/python
	@echo 'installing aisle with its encoder (once; some minutes)'
	@$(PIP) -e '.[neural,openvino]'
	@touch $@

$(VENV)/.dev: $(REQUIREMENTS) | $(VENV)/bin/python
	@echo 'installing aisle with its encoder and the development tools (once; some minutes)'
	@$(PIP) -e '.[neural,test,dev,docs]'
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run
	$(VENV)/bin/aisle demo $(if $(CHECK),--check) $(ARGS)

test: $(VENV)/.dev
	$(VENV)/bin/python -m pytest -n 2 $(ARGS)

check: $(VENV)/.dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(VENV)/.dev
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/python docs/generate.py

bench: $(VENV)/.dev
	$(VENV)/bin/aisle bench $(ARGS)

docs: $(VENV)/.dev
	$(VENV)/bin/python docs/generate.py
	$(VENV)/bin/mkdocs build --strict

clean:
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
