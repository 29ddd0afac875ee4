# `make demo` and `make test` need nothing but Linux, make and Python 3.11 or newer: each does its own set-up, once, in .venv.
# The tests of the report page also want Chromium: `make test` installs it with apt as root, and names what it leaves out elsewhere.
# Settings:  PYTHON=…       the interpreter that makes the virtual environment
#            TORCH_INDEX=…  another index for torch, e.g. https://download.pytorch.org/whl/cpu for the small CPU build

PYTHON      ?= $(shell command -v python3.11 || command -v python3)
TORCH_INDEX ?=
VENV        := .venv
PIP         := $(VENV)/bin/pip --disable-pip-version-check
KIMIVL      := $(VENV)/bin/kimivl
RECIPE      := recipes/nano/recipe.yaml
RUN         := runs/nano

.PHONY: help setup demo test test-slow lint clean

help:
	@echo "make demo       build the data, train the nano model through every stage, write the report"
	@echo "make test       set up and run the tests (under 12 minutes on 2 cores)"
	@echo "make test-slow  the tests that 'make test' leaves out for their time"
	@echo "make lint       ruff and mypy only"
	@echo "make setup      only the virtual environment with everything in it"
	@echo "make clean      remove the virtual environment and the caches; data and runs stay"

setup: $(VENV)/.ready-dev

demo: $(VENV)/.ready-demo
	$(KIMIVL) data build nano
	$(KIMIVL) run $(RECIPE)
	@echo
	@echo "Report:  $(RUN)/report/index.html"
	@echo "Scores:  $(RUN)/summary.json"
	@echo "Talk:    $(KIMIVL) chat --image data/nano/easy_vqa/images/test-0.png \"what shape is in the image?\""

test: $(VENV)/.ready-dev
	@sh scripts/test_system_packages.sh
	$(VENV)/bin/python -m pytest -m "not slow"

test-slow: $(VENV)/.ready-dev
	@sh scripts/test_system_packages.sh
	$(VENV)/bin/python -m pytest -m slow

lint: $(VENV)/.ready-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache

# Stamps: a step runs again only when the files that decide its result have changed.
# torch comes first and alone, because a later range would let pip choose another build of it.
$(VENV)/.ready-torch: constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "kimivl needs Python 3.11 or newer; '$(PYTHON)' is older or missing. Give another with: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || \
	  { echo "The virtual environment could not be made; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(PIP) install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $$(grep -x 'torch==.*' constraints.txt)
	@touch $@

$(VENV)/.ready-demo: $(VENV)/.ready-torch pyproject.toml
	$(PIP) install --quiet -c constraints.txt -e ".[data]"
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready-demo
	$(PIP) install --quiet -c constraints.txt -e ".[data,dev]"
	@touch $@
