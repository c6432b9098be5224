# Two commands on a fresh machine with Python ≥ 3.11, make, git and a package index: `make demo` and `make test`.
SHELL := /bin/sh
PYTHON ?= python3
DATA := $(abspath ../shared/data)
ifneq ($(wildcard $(DATA)/README.md),)
export NOVUM_DATA ?= $(DATA)
endif
export UV_PYTHON_DOWNLOADS = never

# uv from the PATH, or a private one: .tools holds nothing else.
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN := $(UV) run --no-sync
STAMP := .venv/.installed
PROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml)

.PHONY: help demo test check format docs notebooks install clean
help:
	@echo "make demo    the quick start: one claim on images, text and control (two or three minutes)"
	@echo "make test    every test"
	@echo "make check   ruff (lint and format) and mypy"
	@echo "make docs    the documentation's site, into build/site, offline once its tools are installed"
	@echo "make install everything that the above need, into .venv"

.tools/bin/uv:
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet "uv>=0.8"

$(STAMP): $(PROJECTS) | $(filter .tools/bin/uv,$(UV))
	$(UV) sync --quiet --compile-bytecode --python $(PYTHON) --all-packages --all-extras
	@touch $(STAMP)

install: $(STAMP)

demo: $(STAMP)
	$(RUN) novum demo

# two files of tests at a time: most of them wait for processes of their own
test: $(STAMP)
	$(RUN) pytest -n 2 --dist loadfile

check: $(STAMP)
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy core plugins docs/examples/novum-tabular/novum_tabular

# --inexact: what is installed already stays. NO_MKDOCS_2_WARNING: see docs/decisions on the choice of tool.
docs: $(STAMP)
	$(UV) sync --quiet --inexact --python $(PYTHON) --all-packages --all-extras --group docs
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict --quiet
	@echo "build/site/index.html opens without a server; search needs one: python3 -m http.server -d build/site"

# runs them again and keeps what they print
notebooks: $(STAMP)
	$(RUN) python docs/building/execute.py docs/notebooks/*.ipynb

format: $(STAMP)
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

clean:
	rm -rf build .venv .tools .mypy_cache .ruff_cache .pytest_cache
