# Every target sets itself up: Python 3.11 or newer, make and a package index are all it takes.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SEGMENT_SDK := 47.0.0-b8398
export DAGSTER_HOME ?= $(CURDIR)

.DEFAULT_GOAL := help
.PHONY: help demo dev test test-long test-browser test-node test-spark check format lint types contracts bench soak lock

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | while IFS='|' read -r t d; do printf '  %-13s %s\n' "$$t" "$$d"; done

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked packages into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(READY)

demo: $(READY) ## The main job on sample data: facts, audiences, a destination, backfill, changes
	@exec $(BIN)/engage demo

dev: $(READY) ## The Dagster UI on the state of the demo, or of ENGAGE_HOME
	@exec $(BIN)/engage dev

test: $(READY) ## The whole suite that needs nothing but Python
	$(BIN)/pytest -n 3 -m "not browser and not long"

test-long: $(READY) ## Days of the product with a real daemon, a minute or two each
	$(BIN)/pytest -n 3 -m long

test-browser: $(READY) ## The Dagster UI in a real browser (Debian's chromium)
	$(BIN)/pytest -m browser

test-node: $(READY) ## The API, driven by Segment's own TypeScript client (needs Node)
	@command -v npm >/dev/null || { echo "SKIPPED make test-node: Node and npm are not on this machine"; exit 0; }; \
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	npm install --silent --no-audit --no-fund --prefix "$$folder" @segment/public-api-sdk-typescript@$(SEGMENT_SDK) && \
	ENGAGE_SDK_FOLDER="$$folder" $(BIN)/pytest tests/server/test_segment_client.py

test-spark: $(READY) ## Spark's own answer to CASES=n (200) random definitions; needs a JVM, or root on Debian
	@command -v java >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends default-jre-headless; } || true
	@command -v java >/dev/null 2>&1 || { echo "SKIPPED test-spark: Spark needs a JVM, which this machine does not have"; exit 0; }; \
	test -x .venv-spark/bin/python || $(PYTHON) -m venv .venv-spark; \
	.venv-spark/bin/python -m pip install --quiet --disable-pip-version-check "pyspark==4.3.0" && \
	$(BIN)/python -m engage_pipelines.testing.spark_cases .venv-spark/cases.jsonl --cases $(or $(CASES),200) --seed $$(date +%s) && \
	.venv-spark/bin/python tests/facts/warehouse/run_spark.py .venv-spark/cases.jsonl

check: format lint types contracts test test-long ## Format, lint, types, import contracts, tests

format: $(READY)
	$(BIN)/ruff format --check .

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/pyright

contracts: $(READY)
	$(BIN)/lint-imports

bench: $(READY) ## One ratio table per benchmark
	@for file in $(filter-out benchmarks/deliver_table.py,$(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

soak: $(READY) ## Random histories of the sync protocol for MINUTES=n (10)
	$(BIN)/python -m engage_pipelines.testing.simulate --seeds $$(date +%s)000: --minutes $(or $(MINUTES),10)

lock: $(READY) ## Pin the newest versions that pyproject.toml allows
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/python -m uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --quiet --upgrade -o requirements.lock
