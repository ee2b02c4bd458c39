# Verbs only; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test test-all sim verilog verilog-hashes bitstream board-results flash lint inspect full-size netlist
.PHONY: families area same measured bench full-token split-head server-load readme wheel-check clean
PRESET ?= tiny
FULL_PRESET ?= kv260
MEMORY ?= ideal
BOARD ?= ulx3s
SEED ?=
UNIT ?= array
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The scripts of a virtual environment hold its path: where the folder was moved, or the Python is gone, it is made anew.
MOVED := $(shell [ "$$(cat $(VENV)/.ready 2>/dev/null)" = "$$(pwd -P)" ] && $(BIN)/python -c '' || echo moved)
.PHONY: $(if $(MOVED),$(VENV)/.ready)

setup: $(VENV)/.ready  ## virtual environment with pinned packages; system packages by apt-get where allowed

$(VENV)/.ready: pyproject.toml requirements.lock tools/system_packages.sh
	sh tools/system_packages.sh
	$(PYTHON) -m venv $(if $(MOVED),--clear )$(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@pwd -P > $@

demo: setup  ## text from the demo model, computed by the simulated accelerator
	$(BIN)/python -m sw generate models/shakespeare-nano --backend sim --prompt "ROMEO:" --max-new-tokens 48

test: setup  ## the tests but those that are marked long
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not long"

test-all: $(VENV)/.board  ## docs/results/tests.md: every test; saves what passed and goes on from there
	$(BIN)/python -m tools.all_tests

sim: setup  ## benches of one unit (UNIT=array, UNIT=system: whole models); WAVES=1 keeps a VCD
	WAVES=$(WAVES) $(BIN)/python -m pytest -q -s $(if $(wildcard tests/hw/$(UNIT)),tests/hw/$(UNIT),tests/$(UNIT))

verilog: setup  ## build/verilog/accelerator.v of PRESET, and its description
	$(BIN)/python -m sw verilog --preset $(PRESET) -o build/verilog

verilog-hashes: setup  ## tests/other_tools/verilog.sha256 anew, after a change of the Verilog that is meant
	$(BIN)/python -m tests.other_tools.hashes

$(VENV)/.board: requirements-board.lock $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-board.lock
	@touch $@

# Programs that others wrote and that tests run against `serve`, in an environment of their own.
build/clients/.ready: requirements-clients.lock
	$(PYTHON) -m venv --clear build/clients
	build/clients/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-clients.lock
	@touch $@

bitstream: $(VENV)/.board  ## build/BOARD/BOARD.bit and report.json (BOARD=ulx3s, SEED of place and route), or a Vivado project (kv260)
	$(BIN)/python -m sw build --board $(BOARD)$(if $(SEED), --seed $(SEED))

board-results: bitstream  ## docs/results/boards.md of all boards that have been built
	$(BIN)/python -m boards.results

flash: $(VENV)/.board  ## load the connected BOARD with its bitstream
	$(BIN)/python -m sw flash --board $(BOARD)

lint: setup verilog  ## ruff, pyright, and Verilator's lint of the generated Verilog
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python -m sim.lint build/verilog/accelerator.v

inspect: setup  ## what is inside the demo checkpoint
	$(BIN)/python -m sw inspect models/shakespeare-nano

full-size: setup  ## docs/results/full-size.md: packing at the size of bitnet-b1.58-2B-4T; 4 GB of disk
	$(BIN)/python -m sim.full_size

netlist: setup  ## docs/results/netlist.md: the ECP5 netlist of a small accelerator, simulated against its Verilog
	$(BIN)/python -m sim.netlist_check

families: setup  ## docs/results/families.md: what Yosys makes of a small accelerator for FPGAs without a board here
	$(BIN)/python -m boards.families

area: setup  ## docs/results/area.md: resources and logic depth of every unit, against the record before; an hour
	$(BIN)/python -m boards.area

same: setup  ## whether the machine does exactly what docs/results/same-machine.json says; some minutes
	$(BIN)/python -m tools.same_machine compare

measured: $(VENV)/.board  ## docs/results/measured.json: simulated numbers for README.md; some minutes
	$(BIN)/python -m tools.measured

bench: setup  ## docs/results/performance.json of FULL_PRESET and MEMORY: full-width layers; saves and resumes; hours
	$(BIN)/python -m tools.bench --preset $(FULL_PRESET) --memory $(MEMORY)

full-token: setup  ## docs/results/full_token.md: a whole model in simulation against golden; saves and resumes; 4 GB
	$(BIN)/python -m tools.full_token --preset $(FULL_PRESET) --memory $(MEMORY)

split-head: setup  ## docs/results/split_head.md: rows and bytes of the split head, demo model and full size; 3 GB
	$(BIN)/python -m tools.split_head

server-load: setup  ## docs/results/server-load.json: 32 clients of `serve` for two minutes, 4 in simulation
	$(BIN)/python -m tools.server_load
	$(BIN)/python -m tools.server_load --backend sim --clients 4 --slots 4

readme: setup  ## the tables of README.md from the committed results
	$(BIN)/python -m tools.readme_table

wheel-check:  ## the wheel, in an environment of its own: installed with its extras, and run
	PYTHON=$(PYTHON) sh tools/wheel_check.sh

clean:  ## remove everything that was built, and the simulators in the user's cache folder
	rm -rf build $(VENV) "$${BITNET_FPGA_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/bitnet-fpga}/simulators"
