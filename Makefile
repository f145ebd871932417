# Every target makes or renews the virtual environment that it runs in (scripts/setup.sh).
#
#   make test PYTHON=python3.13 VENV=.venv-313    another interpreter, in an environment beside
#   make test ARGS="-k frames -x"                 words for pytest

PYTHON ?= python3.11
VENV ?= .venv
ARGS ?=
UPGRADE ?=

BIN := $(VENV)/bin
# Two test processes run side by side; libraries that start a thread per core would fight.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 POLARS_MAX_THREADS=2
# The platform of the pinned sets: both stacks' wheels run on it.
COMPILE = .venv-uv/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-annotate --no-header --extra dev \
	--python-platform x86_64-manylinux_2_40 $(UPGRADE) pyproject.toml

.PHONY: help setup test chaos lint format coverage constraints

help:
	@echo "make test         the test suite (doctests too), without the long kill and soak tests"
	@echo "make chaos        the long kill and soak tests"
	@echo "make lint         ruff, mypy and the import contracts"
	@echo "make format       let ruff rewrite what it can"
	@echo "make coverage     the test suite, with a coverage report"
	@echo "make constraints  pin the dependencies anew (UPGRADE=--upgrade for newer versions)"

setup:
	@scripts/setup.sh "$(PYTHON)" "$(VENV)"

test: setup
	$(ONE_THREAD) $(BIN)/pytest -n 2 --dist worksteal -m "not chaos" $(ARGS)

# pytest ends with 5 where it found no test, and that is a failure here.
chaos: setup
	$(ONE_THREAD) $(BIN)/pytest -m chaos $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: setup
	$(ONE_THREAD) $(BIN)/pytest -n 2 --dist worksteal -m "not chaos" --cov --cov-report=term $(ARGS)

# Keeps what is pinned already, as far as pyproject.toml allows; UPGRADE=--upgrade renews all.
constraints: .venv-uv/bin/uv
	$(COMPILE) --python-version 3.11 -o constraints/py311.txt
	$(COMPILE) --python-version 3.13 -o constraints/py313.txt

.venv-uv/bin/uv:
	$(PYTHON) -m venv .venv-uv
	.venv-uv/bin/pip install --quiet uv
