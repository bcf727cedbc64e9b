# Each target does its own set-up in .venv; `make search` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# On 2 cores a third process works while others wait, for example for Ray to start. Files start in the order of their
# names: by default, those with the fewest tests would come last, which are the slowest.
PARALLEL := --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations=10

.PHONY: install search test test-all test-slow test-faults fuzz test-gpu test-browser test-cluster test-tracking test-serving bench lint audit docs format clean

install: $(INSTALLED)  ## install everything into .venv

search: $(INSTALLED)  ## run a whole search on embedded phantoms, on the CPU
	$(BIN)/tune-run demo_space --address local

test: $(INSTALLED)  ## run the ordinary suite, with a fast subset of the faults
	$(BIN)/python -m pytest $(PARALLEL)

test-all: test test-slow test-faults test-browser test-cluster test-tracking test-serving  ## run every suite, one after another

test-slow: $(INSTALLED)  ## run the ordinary tests that take about ten seconds or longer
	$(BIN)/python -m pytest $(PARALLEL) -m slow

test-faults: $(INSTALLED)  ## inject the failures of docs/how-to/resume-and-failures.md
	$(BIN)/python -m pytest tests/faults tests/security tests/e2e tests/tuning/ray_backend/test_cluster.py -m "faults or not faults"

fuzz: $(INSTALLED)  ## try a hundred times as many hostile inputs as `make test` does, different ones each time
	TUNE_RUN_FUZZ=100 $(BIN)/python -m pytest --timeout 0 tests/security/test_fuzz.py

test-gpu: $(INSTALLED)  ## run the tests that need a GPU; they skip without one
	$(BIN)/python -m pytest -m gpu $$(grep -rl pytest.mark.gpu tests)

test-browser: $(INSTALLED)  ## check MLflow's pages and the report in a Chromium ($$CHROMIUM, or on the path)
	$(BIN)/python -m pytest tests/browser -m browser

test-cluster: $(INSTALLED)  ## run `ray up` on hosts made of Linux namespaces; needs root
	$(BIN)/python -m pytest tests/cluster -m cluster

test-tracking: $(INSTALLED)  ## run searches into PostgreSQL, S3, and an MLflow server with passwords; needs Debian's PostgreSQL
	$(BIN)/python -m pytest tests/tracking -m tracking

test-serving: $(INSTALLED)  ## install a model's requirements into an environment of their own, and serve it there
	$(BIN)/python -m pytest tests/serving -m serving -s

bench: $(INSTALLED)  ## run the measurements of benchmarks/README.md
	$(BIN)/python -m benchmarks

lint: $(INSTALLED)  ## check style, types, import contracts, and licences
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python .ci/licences.py

audit: $(INSTALLED)  ## look up known vulnerabilities of the pinned packages; needs a network
	$(BIN)/python -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet pip-audit
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

docs: $(INSTALLED)  ## build the documentation site into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

format: $(INSTALLED)  ## fix what ruff can fix, and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The stamp is touched last, so an interrupted installation is repeated.
$(INSTALLED): pyproject.toml constraints.txt Makefile
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13) and "Python 3.11 or 3.12 is needed: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cluster,detr,dev,docs,export,medical]'
	touch $@

clean:
	rm -rf $(VENV) build results mlruns mlflow.db* .mlflow.db.*
