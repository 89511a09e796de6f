# Everything a developer does here. Needs make and Python >= 3.11 with venv; all else goes into .venv.
#   make demo                       a call, played in the terminal
#   make page                       phones in a browser, to call with
#   make test                       all checks
#   make test PYTEST_ARGS="-k races -x"
#   make test PYTHON=/opt/python3.13/bin/python3
#   make exhaustive                 all orders of small sets of events
#   make matrix                     each Python and each server of this machine

VENV := .venv
TOOLS := .tools
BIN := $(VENV)/bin
PYTHON ?=
PYTEST_ARGS ?=
MATRIX_ARGS ?=
EXHAUSTIVE_ARGS ?=
CHAOS_ARGS ?=
PYTEST = $(BIN)/python -m pytest
LOCK_ARGS ?=
UV := uv==0.13.9
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' invites/__init__.py)

# What another project's shell may have left behind must not reach into this one's environment. With the last of these,
# each of the many processes of the tests would compile all that it imports.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo page browser screenshot picture test lint types pytest coverage matrix chaos exhaustive format install schema node image pin \
  tools sbom lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: install ## Play calls in the terminal, on a server of its own (under 20 s)
	@$(BIN)/invites demo

picture: install ## Play the same, and make a picture of it for the README
	@$(BIN)/invites demo --svg workers/lab/demo/ladder.svg

page: install ## Show phones on a page of this machine, http://127.0.0.1:8100/, until Ctrl-C
	@$(BIN)/invites demo --page

browser: install ## Install Debian's chromium and Playwright, and test the pages in them
	@command -v chromium >/dev/null || $$([ "$$(id -u)" = 0 ] || echo sudo) apt-get install --yes --no-install-recommends chromium
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --only-binary :all: \
	  --require-hashes --requirement requirements-browser.lock
	$(PYTEST) tests/browser

screenshot: install ## Make the pictures of the pages for the documentation (after `make browser`)
	@$(BIN)/python -m tests.browser.screenshot tests/browser/phones.png tests/browser/console.png

test: lint types pytest ## Check everything: style, types, tests

lint: install ## Check style and formatting
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check

types: install ## Check types, strictly
	$(BIN)/python -m mypy

# What computes, and does not mind a busy machine, runs on all cores. What plays with processes and time runs after it,
# and mostly waits: so one process plays chaos, and others the rest meanwhile (ONE_AFTER_THE_OTHER in tests/conftest.py).
COMPUTING := tests/lua tests/model tests/unit tests/deploy tests/fuzz \
  $(wildcard tests/integration/test_cli_*.py tests/integration/test_reshard*.py tests/integration/test_sippo_*.py) \
  $(patsubst %,tests/integration/test_%.py, bench_gateway bench_memory bench_plots call_metrics check_servers client \
    commits_under_way connections console data_loss dead_letters demo dropping embedded erase examples fake_sippo \
    gateway gateway_limits gateway_page gateways group_calls http http_api invite_queries lookups_legacy lookups_nested_groups \
    lookups_parallel_sip lookups_reachability moves outages overview page poison probe push relay \
    renewal_of_connections retention runbook size spans tls_faults traces wheel worker_permissions worker_streams)

pytest: install
ifeq ($(PYTEST_ARGS),)
	$(PYTEST) --numprocesses auto $(COMPUTING)
	$(PYTEST) --numprocesses 3 --dist loadgroup $(COMPUTING:%=--ignore=%)
else
	$(PYTEST) $(PYTEST_ARGS)
endif

# A test that fails leaves the figure too low, but does not keep it back.
coverage: install ## Measure which branches of invites and workers the tests reach (some 15 min)
	@$(BIN)/python -m coverage erase
	@$(MAKE) --ignore-errors pytest PYTEST="$(BIN)/python -m coverage run -m pytest"
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report

matrix: install ## Play a part of the tests on each Python and each server found here (some 10 min)
	@$(BIN)/python -m tests.matrix $(MATRIX_ARGS)

# The rest of the ten minutes is for beginnings and ends.
chaos: install ## Harm workers and servers of every kind while calls are played (10 min)
	@$(BIN)/python -m tests.chaos --place all --seconds 400 $(CHAOS_ARGS)

exhaustive: install ## Play small sets of events in all orders, on the rules and on the model of them
	@$(BIN)/python -m tests.model.exhaustive $(EXHAUSTIVE_ARGS)

format: install ## Format the code and apply automatic fixes
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

install: $(VENV)/.installed ## Make .venv with the locked packages and the command `invites`

# The environment is rebuilt when the content of the lock has changed, not merely its date.
$(VENV)/.locked: requirements-dev.lock
	@if cmp -s $< $@; then touch $@; else \
	  python=$$(PYTHON="$(PYTHON)" sh .ci/find-python) && rm -rf $(VENV) && \
	  echo "Installing the locked packages into $(VENV) ($$python)" && \
	  "$$python" -m venv $(VENV) && \
	  $(BIN)/python -m pip install -qq --disable-pip-version-check --only-binary :all: \
	    --require-hashes --requirement $< && \
	  cp $< $@; \
	fi

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

schema: install ## Regenerate deploy/schema and the types in deploy/node
	@for name in events notifications config asyncapi; do $(BIN)/invites schema $$name > deploy/schema/$$name.json; done
	@$(BIN)/python -m invites.schema.typescript > deploy/node/src/contract.ts

node: ## Install what the tests of deploy/node need (Node 20 or newer with npm)
	cd deploy/node && npm ci --ignore-scripts --no-audit --no-fund

image: ## Build the image of workers and gateways, with its commit and version (needs Docker)
	docker build --file deploy/Dockerfile --build-arg COMMIT="$$(git describe --always --dirty --exclude='*' --abbrev=12)" \
	  --build-arg VERSION="$(VERSION)" --tag invites-worker:"$(VERSION)" --tag invites-worker .

pin: ## Add the digests of the base images to deploy/Dockerfile and the compose file, or renew them (needs Docker)
	deploy/pin-images deploy/Dockerfile deploy/compose.yaml

tools: $(TOOLS)/deploy/.locked ## Install what checks the files of deploy/ and writes the SBOM (130 MB)

$(TOOLS)/deploy/.locked: requirements-deploy.lock
	python=$$(PYTHON="$(PYTHON)" sh .ci/find-python) && rm -rf $(@D) && "$$python" -m venv $(@D)
	$(@D)/bin/python -m pip install -qq --disable-pip-version-check --only-binary :all: --require-hashes --requirement $<
	@cp $< $@

sbom: tools ## Write sbom.json, the CycloneDX bill of materials of what an installation runs
	$(TOOLS)/deploy/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --mc-type application \
	  --output-reproducible --output-format JSON --output-file sbom.json

lock: ## Renew the locks of the dependencies in pyproject.toml (newer versions: LOCK_ARGS=--upgrade)
	python=$$(PYTHON="$(PYTHON)" sh .ci/find-python) && "$$python" -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install -qq --disable-pip-version-check "$(UV)"
	$(TOOLS)/bin/uv pip compile pyproject.toml --output-file requirements.lock $(LOCK_FLAGS)
	$(TOOLS)/bin/uv pip compile pyproject.toml --output-file requirements-dev.lock $(LOCK_FLAGS) \
	  --group dev --extra embedded --constraint requirements.lock
	$(TOOLS)/bin/uv pip compile --group build --output-file requirements-build.lock $(LOCK_FLAGS) --constraint requirements-dev.lock
	$(TOOLS)/bin/uv pip compile --group deploy --output-file requirements-deploy.lock $(LOCK_FLAGS)
	$(TOOLS)/bin/uv pip compile --output-file requirements-browser.lock $(LOCK_FLAGS) \
	  --group pyproject.toml:browser --constraint requirements-dev.lock

LOCK_FLAGS = --quiet --no-config --system-certs --universal --python-version 3.11 --generate-hashes --annotation-style line \
  --custom-compile-command "make lock" $(LOCK_ARGS)

clean: ## Remove all that was made here
	rm -rf $(VENV) $(TOOLS) build dist sbom.json deploy/node/dist deploy/node/node_modules .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find invites workers tests -name __pycache__ -type d -prune -exec rm -rf {} +
