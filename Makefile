# Everything that a person or CI runs here; `make` alone lists it. Everything installs into $(VENV).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.core-installed
DEV := $(VENV)/.dev-installed
TRAIN := $(VENV)/.train-installed
PEERS := $(VENV)/.peers-installed
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.SUFFIXES:
.PHONY: demo test check lint types imports format bench evidence-2 evidence-3 evidence-4 evidence-5 evidence-6
.PHONY: reference-bundle constraints clean help

demo: $(CORE)  ## simulator, engine, decoder and a live view; SECONDS=10 ends it with a summary
	@$(BIN)/cortexwire demo $(if $(SECONDS),--seconds $(SECONDS))

test: $(DEV)  ## all tests, with branch coverage and its gate
	$(BIN)/pytest --cov -n 2 --dist loadfile

check: lint types imports test  ## all that CI checks: style, types, import contracts, tests

lint: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(DEV)
	$(BIN)/mypy

imports: $(DEV)
	$(BIN)/lint-imports

format: $(DEV)  ## put the style right where a tool can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(CORE)  ## speed of the kernels, and latency through the whole service
	$(BIN)/cortexwire bench kernels
	$(BIN)/cortexwire bench latency

evidence-2: $(CORE)  ## the must-show runs of issue 2, as JSON under evidence/
	$(BIN)/python -m cortexwire.bench.evidence 2

evidence-3: $(TRAIN)  ## the must-show runs of issue 3: trains every family, an hour and more on 2 cores
	$(BIN)/python -m cortexwire.bench.evidence 3

evidence-4: $(PEERS)  ## the must-show runs of issue 4: speed beside peers; wants the machine to itself
	$(BIN)/python -m cortexwire.bench.evidence 4

evidence-5: $(DEV)  ## the must-show runs of issue 5: recorded, killed, on a full disk, exported, read
	$(BIN)/python -m cortexwire.bench.evidence 5

evidence-6: $(DEV)  ## the must-show runs of issue 6: swapped, killed, attacked, looked at
	$(BIN)/python -m cortexwire.bench.evidence 6

reference-bundle: $(CORE)  ## train the demo's decoder again, as shipped
	$(BIN)/cortexwire train sim:channels=96,seconds=300,seed=1 --decoder wiener --history 10 --reference mean \
	  --unit cm/s --name reference --out models/cortexwire/decoders/reference --replace

constraints: $(CORE)  ## resolve every dependency anew and write constraints.txt
	@{ sed -n '/^#/p' constraints.txt && \
	  $(BIN)/python -m pip install -qq --dry-run --ignore-installed --report - -e '.[io,train,peers,dev,e2e]' | \
	  $(BIN)/python -c 'import json, re, sys; \
	    found = {re.sub("[-_.]+", "-", it["name"]).lower(): it["version"].split("+")[0] \
	             for it in (row["metadata"] for row in json.load(sys.stdin)["install"])}; \
	    print(*(f"{name}=={version}" for name, version in sorted(found.items()) if name != "cortexwire"), sep="\n")'; \
	} > constraints.new && mv constraints.new constraints.txt

clean:  ## remove the environment and all that tools wrote, but not evidence/
	rm -rf $(VENV) build dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find service models clients bench tests -name __pycache__ -type d -prune -exec rm -rf {} +

help:
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-17s %s\n", $$1, $$2}' Makefile

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "There is no $(PYTHON) here: install Python 3.11 or newer, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "cortexwire needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1)." >&2; \
	  echo "Name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: its venv or ensurepip module is missing." >&2; \
	  echo "On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps are written last, so that an installation that broke off is taken up again. The developer's
# installation contains the core one.
$(CORE): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing cortexwire into $(VENV) ..."
	@$(PIP_INSTALL) -e .
	@touch $@

$(TRAIN): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing cortexwire with what training and its proofs take into $(VENV) ..."
	@$(PIP_INSTALL) -e '.[train,peers]'
	@touch $(CORE) $@

$(PEERS): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing cortexwire with the peers that it is measured beside into $(VENV) ..."
	@$(PIP_INSTALL) -e '.[peers]'
	@touch $(CORE) $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing cortexwire and its development tools into $(VENV) ..."
	@$(PIP_INSTALL) -e '.[dev,e2e]'
	@touch $(CORE) $@
