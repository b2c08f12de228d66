# `make help` lists what there is. Each step is repeated only when what it depends on has changed.

PYTHON ?= python3
PYTHON2 ?= python2.7
PORT ?= 8000
ARGS ?=

VENV := .venv
RUN := $(VENV)/bin/python
PACKAGES := $(VENV)/.packages-installed
OPENLINE := $(VENV)/.openline-installed
NODE_PACKAGES := web/node_modules/.packages-installed
BENCH := .bench
BENCH_PACKAGES := $(BENCH)/.packages-installed
BENCH_NODE_PACKAGES := bench/node/node_modules/.packages-installed
AUTOBAHN := .autobahn
SDK_SUITES := .sdk-suites
AUTOBAHN_PACKAGES := $(AUTOBAHN)/packages/.packages-installed
PAGES := src/openline/demo/static/index.html
# Folders count too: their date tells that a file was removed.
WEB_SOURCES := $(shell find web/. -path web/./node_modules -prune -o -print 2>/dev/null)
# Hashes and no addresses, for every platform and every Python from the oldest on: the files work with any index.
LOCK_OPTIONS := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock"

.DELETE_ON_ERROR:
.PHONY: help setup web demo test autobahn sdk-suites chaos bench bench-cluster check format docs wheel lock proto chromium debian clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(OPENLINE) ## prepare .venv with the locked packages (PYTHON= names the interpreter)

web: $(PAGES) ## build the pages

demo: $(OPENLINE) $(PAGES) ## start the demo on http://127.0.0.1:8000 (PORT= changes it)
	@echo "The demo is at http://127.0.0.1:$(PORT) (Ctrl-C ends it)"
	@$(VENV)/bin/openline run openline.demo.app:app --host 127.0.0.1 --port $(PORT)

test: $(OPENLINE) $(PAGES) $(NODE_PACKAGES) chromium debian ## prepare what is missing and run every test (ARGS= goes to pytest)
	@$(RUN) -m pytest $(ARGS)

autobahn: $(OPENLINE) $(AUTOBAHN_PACKAGES) ## run the Autobahn suite against the fast wire (PYTHON2= names a Python 2.7)
	@PYTHON2="$(PYTHON2)" $(RUN) -m tests.autobahn $(ARGS)

sdk-suites: $(OPENLINE) ## run the suites of SDKs on openline serve (SDK_JS= names a checkout of centrifuge-js)
	@PYTHON="$(RUN)" SDK_JS="$(SDK_JS)" scripts/sdk-suites.sh $(SDK_SUITES)
	@$(RUN) -m tests.sdk_suites --folder $(SDK_SUITES) $(ARGS)

chaos: $(OPENLINE) debian ## break nodes, engines and lines under load (ARGS=--quick for a short run)
	@$(RUN) -m tests.chaos $(ARGS)

bench: $(BENCH_PACKAGES) $(BENCH_NODE_PACKAGES) ## measure Openline beside others (ARGS=--quick for a short look)
	@PYTHONPATH=src $(BENCH)/bin/python -m bench $(ARGS)

bench-cluster: $(OPENLINE) ## measure many nodes beside what they are made of (ARGS=--quick for a short look)
	@$(RUN) -m bench.cluster $(ARGS)

check: $(OPENLINE) ## ruff, mypy --strict and the floors
	@$(RUN) -m ruff check
	@$(RUN) -m ruff format --check
	@$(RUN) -m mypy --strict src tests bench
	@$(RUN) -m pytest -q tests/test_floors.py

format: $(OPENLINE) ## put the sources into the house format
	@$(RUN) -m ruff check --fix
	@$(RUN) -m ruff format

docs: $(OPENLINE) ## make the reference anew from docstrings, codes and messages
	@$(RUN) docs/generate.py

wheel: $(OPENLINE) $(PAGES) ## build the wheel into dist/
	@$(RUN) -m hatchling build --target wheel

lock: $(OPENLINE) ## write the locks anew from pyproject.toml and each package.json
	@$(RUN) -m uv --quiet pip compile --upgrade $(LOCK_OPTIONS) --all-extras --group dev pyproject.toml --output-file requirements/dev.txt
	@$(RUN) -m uv --quiet pip compile --upgrade $(LOCK_OPTIONS) --constraints requirements/dev.txt --group proto --output-file requirements/proto.txt
	@$(RUN) -m uv --quiet pip compile --upgrade $(LOCK_OPTIONS) --constraints requirements/dev.txt --extra server --group bench pyproject.toml --output-file requirements/bench.txt
	@cd web && npm update --package-lock-only --no-audit --no-fund
	@cd bench/node && npm update --package-lock-only --no-audit --no-fund

proto: $(OPENLINE) ## write the Protobuf code anew from client.proto
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/proto.txt
	@$(RUN) -m grpc_tools.protoc --proto_path=src --python_out=src --pyi_out=src src/openline/protocol/client.proto

chromium: $(OPENLINE)
	@$(RUN) tests/browser/chromium.py

debian:
	@scripts/debian.sh

clean: ## remove what was made, .venv and node_modules included
	rm -rf $(VENV) $(BENCH) $(AUTOBAHN) $(SDK_SUITES) .chaos web/node_modules bench/node/node_modules src/openline/demo/static dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests scripts bench -type d -name __pycache__ -exec rm -rf {} +

$(PACKAGES): requirements/dev.txt scripts/venv.sh
	@PYTHON="$(PYTHON)" scripts/venv.sh $(VENV) requirements/dev.txt
	@touch $@

$(AUTOBAHN_PACKAGES): requirements/autobahn.txt scripts/autobahn.sh
	@PYTHON2="$(PYTHON2)" scripts/autobahn.sh $(@D)
	@touch $@

$(BENCH_PACKAGES): requirements/bench.txt scripts/venv.sh
	@PYTHON="$(PYTHON)" scripts/venv.sh $(BENCH) requirements/bench.txt
	@touch $@

$(OPENLINE): $(PACKAGES) pyproject.toml src/openline/version.py
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(NODE_PACKAGES): web/package.json web/package-lock.json web/.npmrc scripts/node.sh
	@scripts/node.sh web
	@touch $@

$(BENCH_NODE_PACKAGES): bench/node/package.json bench/node/package-lock.json bench/node/.npmrc scripts/node.sh
	@scripts/node.sh bench/node
	@touch $@

$(PAGES): $(WEB_SOURCES) $(NODE_PACKAGES)
	@echo "Building the pages"
	@cd web && npm run --silent build
	@touch $@
