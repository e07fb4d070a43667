# Two commands do everything on a fresh machine: make demo, make test. Each installs what it needs first.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK = 1
SHELL  := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

.PHONY: demo test check venv system system-test bench clean

demo: system venv
	@$(BIN)/smartphase demo $(ARGS)

test: system-test venv
	@$(BIN)/pytest $(ARGS)

check: venv
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench: system-test venv
	@for each in tests/bench/*.py; do echo "# $$each"; $(BIN)/python $$each || exit 1; done

venv: $(STAMP)

$(STAMP): pyproject.toml
	@echo "installing SmartPhase and what it needs into $(VENV) (about a minute the first time)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install --progress-bar off --editable '.[demo,test,check]' | \
	    sed -nu -e 's/^Collecting \([A-Za-z0-9._-]*\).*/  \1/p' -e 's/^\(Installing collected packages\):.*/\1 .../p'
	@touch $@

# System packages: installed with apt where we may, otherwise named, and the demo falls back to its own broker.
system:
	@sh tools/system-packages mosquitto python3-venv

system-test:
	@sh tools/system-packages mosquitto python3-venv tmux systemd poppler-utils

clean:
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache .hypothesis
