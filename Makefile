# What people type. `make` alone lists it. Nothing is needed but make and Python 3.11 or newer with venv.

PYTHON ?= python3
BIN := .venv/bin
STAMPS := .venv/stamps
WEB := shared/web/frontend
# Two at a time, since they wait more than they work, each on a platform of its own; the longest come first. What breaks
# things on purpose comes afterwards, alone.
SIDE_BY_SIDE := tests/integration tests/e2e tests/contract tests/unit

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
export npm_config_update_notifier := false
.PHONY: help setup demo test run bench faults lint clean always

# Caches lie in the clone where the user has no home to write to.
ifneq ($(shell test -w "$$HOME" && echo yes),yes)
export UV_CACHE_DIR := $(CURDIR)/.cache/uv
export npm_config_cache := $(CURDIR)/.cache/npm
endif

# An environment knows its own place: in a clone that was moved or copied it is made anew.
ifneq ($(shell cat .venv/place 2>/dev/null),$(CURDIR))
$(STAMPS)/uv: always
endif

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST)

setup: $(STAMPS)/project $(STAMPS)/kafka $(STAMPS)/aot_cache $(if $(wildcard $(WEB)/package.json),$(STAMPS)/web) ## make the environment: packages, Kafka, web files (once; later runs do nothing)

demo: setup ## replay a real petition through everything and compare the totals (SCALE=1 for all five million)
	$(BIN)/mille demo

run: setup ## start everything and keep it running until Ctrl-C
	$(BIN)/mille run

test: setup ## run the tests: unit, integration, contract, end to end
ifdef TESTS
	$(BIN)/python -m pytest $(TESTS)
else
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(SIDE_BY_SIDE)
	$(BIN)/python -m pytest tests/faults
endif

lint: setup ## check style, types and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy services shared deploy tests
	$(BIN)/lint-imports

bench: setup ## measure, and write build/bench.json and docs/benchmarks.md (QUICK=1: four minutes; ROWS=counter,mail: these again)
	$(BIN)/mille bench

faults: setup ## break things on purpose and check that nothing is lost or counted twice (SABOTAGED=1: that this is noticed)
	$(BIN)/python -m pytest --faults tests/faults

clean: ## delete everything that was made here, data included
	$(PYTHON) -m deploy.local.clean
	rm -rf .venv .cache build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache $(WEB)/node_modules shared/web/static/built
	find deploy services shared tests -name __pycache__ -type d -prune -exec rm -rf {} +

always:

$(STAMPS)/uv: deploy/requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Name another one: make setup PYTHON=python3.12")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	mkdir -p $(STAMPS)
	printf %s "$(CURDIR)" > .venv/place
	touch $@

$(STAMPS)/packages: deploy/requirements/development.txt deploy/requirements/build.txt $(STAMPS)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --build-constraints deploy/requirements/build.txt -r $<
	touch $@

$(STAMPS)/project: pyproject.toml $(STAMPS)/packages
	$(BIN)/uv pip install --quiet --python $(BIN)/python --offline --no-deps --no-build-isolation --editable .
	touch $@

$(STAMPS)/kafka: deploy/local/kafka.jars.lock $(STAMPS)/packages
	$(BIN)/python -m deploy.local.jars fetch
	touch $@

$(STAMPS)/aot_cache: $(STAMPS)/kafka
	$(BIN)/python -m deploy.local.aot_cache
	touch $@

$(STAMPS)/node: $(wildcard $(WEB)/package-lock.json) $(STAMPS)/packages
	PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --prefix $(WEB) --no-audit --no-fund --loglevel=error
	touch $@

$(STAMPS)/web: $(shell find $(WEB) -name node_modules -prune -o -type f -print 2>/dev/null) $(STAMPS)/node
	PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent --prefix $(WEB) build
	touch $@
