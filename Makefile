# Each target does its own set-up in .venv; `make search` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: search test test-faults fuzz test-browser test-cluster test-tracking bench lint audit format clean

search: $(INSTALLED)  ## a whole search on embedded phantoms, on the CPU
	$(BIN)/tune-run demo_space --address local

test: $(INSTALLED)  ## the whole suite, with a fast subset of the faults
	$(BIN)/python -m pytest

test-faults: $(INSTALLED)  ## every fault of the README's table, injected for real
	$(BIN)/python -m pytest tests/faults tests/locked tests/e2e tests/tuning/test_cluster.py -m "faults or not faults"

fuzz: $(INSTALLED)  ## a hundred times as many hostile inputs as `make test` tries, other ones each time
	TUNE_RUN_FUZZ=100 $(BIN)/python -m pytest --timeout 0 tests/locked/test_fuzz.py

test-browser: $(INSTALLED)  ## MLflow's pages and the report as a person sees them, where there is a Chromium ($$CHROMIUM, or on the path)
	$(BIN)/python -m pytest tests/browser -m browser

test-cluster: $(INSTALLED)  ## `ray up` on hosts made of Linux namespaces, as root, where these can be made
	$(BIN)/python -m pytest tests/cluster -m cluster

test-tracking: $(INSTALLED)  ## searches into PostgreSQL, S3 and an MLflow server with passwords, where Debian's PostgreSQL is installed
	$(BIN)/python -m pytest tests/tracking -m tracking

bench: $(INSTALLED)  ## every measurement of benchmarks/README.md
	$(BIN)/python -m benchmarks

lint: $(INSTALLED)  ## style, types, who may import whom, and no GPL among what any of the extras needs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python .ci/licences.py

audit: $(INSTALLED)  ## known vulnerabilities of the pinned packages, from the index's database; pip-audit has a place of its own
	$(BIN)/python -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet pip-audit
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The stamp is touched last: an installation that broke off is taken up again.
$(INSTALLED): pyproject.toml constraints.txt Makefile
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cluster,detr,dev]'
	touch $@

clean:
	rm -rf $(VENV) results mlruns mlflow.db* .mlflow.db.*
