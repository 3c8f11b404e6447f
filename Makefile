# Every command builds what it needs; running one again is quick. `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
SCENARIOS ?= push endtoend
SECONDS ?= 120
# Processes that share the tests: most tests wait for a process, a time-out or Redis. They keep the bytecode of plugins,
# which pytest rewrites: without it, each process would rewrite them at its start.
PARALLEL ?= 4
# NO_MKDOCS_2_WARNING suppresses a note on the future of mkdocs. No --quiet: strict mode would count no warnings and never fail.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
# Not $(BIN)/pip: the virtual environment may have been made without one (see below).
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test check fuzz format bench docs lock test-newest clean

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST)

demo: $(VENV)/installed ## Start everything embedded, with simulated devices; Ctrl-C ends it
	@exec $(BIN)/rhopush demo

test: $(VENV)/installed-dev ## Install what the tests need, run them all (ARGS="-k word tests/...")
	@tools/debian-packages
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(PARALLEL) --dist worksteal $(ARGS)

check: $(VENV)/installed-dev ## Lock files, lint, format, types, import layers, house rules, documentation site
	@$(BIN)/python tools/lock.py --check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/house_rules.py
	$(MKDOCS)

docs: $(VENV)/installed-dev ## The documentation site, in build/site
	$(MKDOCS)

fuzz: $(VENV)/installed-dev ## Fuzz all parsers with random inputs (SECONDS=120 ARGS="--target http-heads")
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

format: $(VENV)/installed-dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/installed-dev ## The benchmark report (SCENARIOS="push endtoend")
	@$(BIN)/rhopush bench $(SCENARIOS) $(ARGS)

lock: $(VENV)/installed-dev ## Update the lock files to the newest versions within the ranges (ARGS=--keep: only where necessary)
	@$(BIN)/python tools/lock.py $(ARGS)

test-newest: ## Tests of the parts that use libraries, with the newest versions within the ranges (ARGS="tests/...")
	@tools/debian-packages
	@tools/test-newest $(PYTHON) $(VENV)-newest $(ARGS)

clean: ## Remove the virtual environment and all caches
	rm -rf $(VENV) $(VENV)-newest fuzz-failures build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find gateway protocols tests tools benchmarks -name __pycache__ -prune -exec rm -rf {} +

# The installation is editable: it follows the source. Packages come from the lock files, with their hashes, and are
# installed again only when those change. What builds the project is locked too: hence no build isolation.
$(VENV)/installed: pyproject.toml requirements/build.txt requirements/runtime.txt | $(VENV)/made
	$(PIP_INSTALL) --require-hashes --requirement requirements/build.txt
	$(PIP_INSTALL) --require-hashes --no-build-isolation --requirement requirements/runtime.txt
	PYTHONWARNINGS=ignore:Editable $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml requirements/build.txt requirements/dev.txt | $(VENV)/made
	$(PIP_INSTALL) --require-hashes --requirement requirements/build.txt
	$(PIP_INSTALL) --require-hashes --no-build-isolation --requirement requirements/dev.txt
	PYTHONWARNINGS=ignore:Editable $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/installed

$(VENV)/made:
	@tools/make-venv $(PYTHON) $(VENV)
	@touch $@
