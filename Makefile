# Everything a developer does here. Needs make and Python >= 3.11 with venv; all else goes into .venv.
#   make demo                       a call, played in the terminal
#   make test                       all checks
#   make test PYTEST_ARGS="-k races -x"
#   make test PYTHON=/opt/python3.13/bin/python3

VENV := .venv
TOOLS := .tools
BIN := $(VENV)/bin
PYTHON ?=
PYTEST_ARGS ?=
LOCK_ARGS ?=
UV := uv==0.13.9

# What another project's shell may have left behind must not reach into this one's environment.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help demo picture test lint types pytest format install lock clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: install ## Play calls in the terminal, on a server of its own (under 20 s)
	@$(BIN)/invites demo

picture: install ## Play the same, and make a picture of it for the README
	@$(BIN)/invites demo --svg workers/lab/demo/ladder.svg

test: lint types pytest ## Check everything: style, types, tests

lint: install ## Check style and formatting
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check

types: install ## Check types, strictly
	$(BIN)/python -m mypy

# What computes runs on all cores; what plays with processes and time runs after it, undisturbed.
COMPUTING := tests/lua tests/model tests/unit

pytest: install
ifeq ($(PYTEST_ARGS),)
	$(BIN)/python -m pytest --numprocesses auto $(COMPUTING)
	$(BIN)/python -m pytest $(COMPUTING:%=--ignore=%)
else
	$(BIN)/python -m pytest $(PYTEST_ARGS)
endif

format: install ## Format the code and mend what can be mended automatically
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

install: $(VENV)/.installed ## Make .venv with the locked packages and the command `invites`

# The environment is made anew when the content of the lock has changed, not merely its date.
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

lock: ## Lock the dependencies of pyproject.toml anew (newer versions: LOCK_ARGS=--upgrade)
	python=$$(PYTHON="$(PYTHON)" sh .ci/find-python) && "$$python" -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install -qq --disable-pip-version-check "$(UV)"
	$(TOOLS)/bin/uv pip compile pyproject.toml --output-file requirements.lock $(LOCK_FLAGS)
	$(TOOLS)/bin/uv pip compile pyproject.toml --output-file requirements-dev.lock $(LOCK_FLAGS) \
	  --group dev --constraint requirements.lock

LOCK_FLAGS = --quiet --no-config --system-certs --universal --python-version 3.11 --generate-hashes --annotation-style line \
  --custom-compile-command "make lock" $(LOCK_ARGS)

clean: ## Remove all that was made here
	rm -rf $(VENV) $(TOOLS) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find invites workers tests -name __pycache__ -type d -prune -exec rm -rf {} +
