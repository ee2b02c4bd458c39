"""Hashes of the Verilog of all presets in a file: `python -m tests.other_tools.hashes` writes it anew."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from hw.accelerator import Accelerator
from hw.contract.config import PRESETS
from hw.verilog import VerilogModule, generate_verilog

__all__ = ["FILE", "digest", "known", "released"]

FILE = Path(__file__).with_name("verilog.sha256")
"""As `sha256sum` writes and checks it, for folders that are called as the presets."""


def released(preset: str) -> VerilogModule:
    """What `bitnet-fpga verilog --preset` writes."""
    return generate_verilog(Accelerator(PRESETS[preset]), "accelerator")


def digest(module: VerilogModule) -> str:
    """SHA-256 of the text."""
    return hashlib.sha256(module.text.encode()).hexdigest()


def known() -> dict[str, str]:
    """The file: hashes by preset."""
    found = re.findall(r"^(\w{64})  ([\w-]+)/accelerator\.v$", FILE.read_text(), re.M)
    return {preset: value for value, preset in found}


def main() -> None:
    """Takes about a minute."""
    FILE.write_text("".join(f"{digest(released(preset))}  {preset}/accelerator.v\n" for preset in PRESETS))


if __name__ == "__main__":
    main()
