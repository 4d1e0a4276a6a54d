# Kairos. Needs make and Python 3.11 or 3.12; `make help` lists the targets.
#   PYTHON=/path/to/python   the Python to make the environment with, else one that fits (to change it: make clean first)
#   ARGS="..."               arguments for demo, test (pytest) and bench

.DEFAULT_GOAL := help
.PHONY: help install demo test lint bench notebooks clean

PYTHON ?=
ARGS ?=
INSTALLED := .venv/.installed
FITS := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

install: $(INSTALLED) ## Make the environment in .venv from the lock file.
	@echo "Installed in .venv: try make demo, or .venv/bin/kairos --help"

demo: $(INSTALLED) ## Watch a simulated shop learn what to show (ARGS=--once stops at the summary).
	@.venv/bin/kairos demo $(ARGS)

test: lint ## Check and test everything.
	.venv/bin/pytest --numprocesses 2 --dist loadfile $(ARGS)

lint: $(INSTALLED) ## Check style, types and the direction of imports.
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: $(INSTALLED) ## Measure decisions beside the floor and beside a plain stack.
	.venv/bin/python tests/benchmarks/run.py $(ARGS)

notebooks: $(INSTALLED) ## Execute the notebooks.
	.venv/bin/jupyter-execute notebooks/*.ipynb

clean: ## Remove the environment, caches and builds; data in .kairos stays.
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. uv from PATH chooses (or fetches) a Python by itself; without uv, candidates are run to see whether
# they fit, as a name on PATH may be a shim for a version that is not there.
$(INSTALLED): pyproject.toml uv.lock tests/service/segment_node/package-lock.json tests/service/ofrep_node/package-lock.json tests/service/ofrep_web/package-lock.json
	@set -eu; \
	unset VIRTUAL_ENV; export UV_PROJECT_ENVIRONMENT=.venv; \
	if command -v uv > /dev/null 2>&1 && uv --version > /dev/null 2>&1; then \
		python="$(PYTHON)"; uv sync --frozen --compile-bytecode $${python:+--python "$$python"}; \
	else \
		fits() { "$$1" -c '$(FITS)' > /dev/null 2>&1; }; \
		if ! fits .venv/bin/python || [ -n "$(PYTHON)" ]; then \
			python=; \
			if [ -n "$(PYTHON)" ]; then set -- "$(PYTHON)"; else set -- python3.12 python3.11 python3 python; fi; \
			for candidate in "$$@"; do if fits "$$candidate"; then python=$$candidate; break; fi; done; \
			if [ -z "$$python" ]; then \
				echo "Kairos needs Python 3.11 or 3.12 with the venv module; none of these is one: $$*" >&2; \
				echo "Install one (Debian: apt install python3-venv) or name it: make PYTHON=/path/to/python3.12" >&2; \
				exit 1; \
			fi; \
			"$$python" -m venv --clear .venv; \
		fi; \
		if ! .venv/bin/uv --version > /dev/null 2>&1; then \
			.venv/bin/python -m pip --version > /dev/null 2>&1 || .venv/bin/python -m ensurepip > /dev/null; \
			.venv/bin/python -m pip install --quiet --disable-pip-version-check uv; \
		fi; \
		.venv/bin/uv sync --frozen --inexact --compile-bytecode --python .venv/bin/python; \
	fi
	@.venv/bin/python tests/service/segment_node/install.py
	@touch $@
