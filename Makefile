# From a bare clone, `make lab` opens the book and `make test` shows that all of it holds.
# Each makes what it needs first: the environment in .venv, and uv in .uv where the machine has none.

.DEFAULT_GOAL := help
.SUFFIXES:

PYTHON_FOR_UV ?= python3
PYTHON_RANGE := >=3.11,<3.14
PY := .venv/bin/python

UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
# Trust the certificates the machine trusts: schools and companies often add one of their own.
export UV_SYSTEM_CERTS = 1
# An environment that happens to be active is not the one to install into.
unexport VIRTUAL_ENV
# Every notebook has a Python of its own: to compile all of pandas for each anew takes longer than to run it.
unexport PYTHONDONTWRITEBYTECODE

LAB_FLAGS ?=
ROOT_FLAG := $(if $(filter 0,$(shell id -u)),--allow-root)
TEST_FLAGS ?=
NOTEBOOKS ?=
SIDE_BY_SIDE := tests/labs tests/book tests/programs tests/scenarios tests/transport

.PHONY: help
help: ## what can be made
	@awk -F ':.*## ' '/^[.a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

.PHONY: lab
lab: .venv/ready ## open the book in JupyterLab
	@# Unsigned, the stored pictures would show as text until each notebook is run.
	.venv/bin/jupyter-trust book/*.ipynb >/dev/null
	$(PY) -m jupyterlab $(ROOT_FLAG) --ServerApp.root_dir="$(CURDIR)" \
	  --LabApp.default_url=/lab/tree/book/index.ipynb $(LAB_FLAGS)

.PHONY: test
test: lint ## style, types, all tests and every output in the book (minutes)
	$(PY) -m pytest -n 2 --dist loadfile -m "not check" $(TEST_FLAGS)

.PHONY: check
check: .venv/ready ## the long tests: containers, browsers, fresh clones
	@# What is simulated, and each of the labs' answers, stands by itself: nothing there disturbs another.
	$(PY) -m pytest -m check -n 2 $(SIDE_BY_SIDE) $(TEST_FLAGS)
	$(PY) -m pytest -m check tests $(SIDE_BY_SIDE:%=--ignore=%) $(TEST_FLAGS)

.PHONY: lint
lint: .venv/ready ## style and types only
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

.PHONY: book
book: .venv/ready ## run the notebooks afresh and store them (some: make book NOTEBOOKS=book/03-…ipynb)
	$(PY) book/normalise.py --execute $(NOTEBOOKS)

.PHONY: features
features: .venv/ready ## write the README's table, and docs/tcp-scenarios.md, from the marks on the tests
	$(PY) -m docs.features
	$(PY) -m docs.scenarios

.PHONY: congestion
congestion: .venv/ready ## write docs/congestion.md, the golden table of congestion control (minutes)
	$(PY) -m docs.congestion

.PHONY: labs
labs: .venv/ready ## the labs as students get them, into labs/release/ and, for you, labs/mine/
	$(PY) labs/course.py release

.PHONY: mark
mark: .venv/ready ## mark your labs/mine/LAB.ipynb (make mark LAB=00-first-mark)
	@$(PY) labs/course.py mark $(LAB)

.PHONY: bench
bench: .venv/ready ## measure speed on this machine
	.venv/bin/labstack bench

.PHONY: lock
lock: $(UV) ## pin every package again after a change to pyproject.toml (all newer: make lock LOCK_FLAGS=--upgrade)
	$(UV) pip compile pyproject.toml --all-extras --universal --generate-hashes --no-emit-index-url \
	  --quiet --custom-compile-command "make lock" $(LOCK_FLAGS) --output-file requirements.lock
	@! grep -n '://' requirements.lock || { echo "requirements.lock names a host: it must hold names, versions and hashes only"; exit 1; }

.PHONY: clean
clean: ## remove the environment and all that the tools left
	rm -rf .venv .uv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -type d -prune -exec rm -rf {} +

.PHONY: .venv
.venv: .venv/ready ## only build the environment

# The stamp is written last: an interrupted build is done again.
.venv/ready: pyproject.toml requirements.lock | $(UV)
	test -x $(PY) || $(UV) venv --quiet --python "$(PYTHON_RANGE)" .venv
	$(UV) pip sync --quiet --require-hashes --python $(PY) requirements.lock
	$(UV) pip install --quiet --no-deps --no-build-isolation --python $(PY) --editable .
	@# nbgrader's own pages are for the server of a course: they would cost every reader three seconds.
	rm -f .venv/etc/jupyter/jupyter_server_config.d/nbgrader.json
	$(PY) -m jupyterlab.labextensions disable --level=sys_prefix "@jupyter/nbgrader" \
	  "@jupyterlab/apputils-extension:announcements" 2>/dev/null
	@touch $@

.uv/bin/uv:
	$(PYTHON_FOR_UV) -m venv .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check uv
