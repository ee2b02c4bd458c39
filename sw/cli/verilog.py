"""`bitnet-fpga verilog`: write the Verilog of the accelerator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["verilog"]


def verilog(
    preset_name: Annotated[str, typer.Option("--preset", help="Accelerator configuration: a name or a TOML "
                                          "file.")] = "tiny",
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to.")] = Path("build/verilog"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Write accelerator.v, a JSON description of its ports, and the licence notices. Same preset, same bytes."""
    from hw.accelerator import Accelerator
    from hw.contract.preset_file import find_preset
    from hw.notice import NOTICE, notice
    from hw.verilog import generate_verilog
    from sw.whole_file import whole_file

    config = find_preset(preset_name)
    output.mkdir(parents=True, exist_ok=True)
    path = output / "accelerator.v"
    with (whole_file(path) as text, whole_file(path.with_suffix(".json")) as description,
          whole_file(output / NOTICE) as notices):
        module = generate_verilog(Accelerator(config), "accelerator")
        text.write(module.text.encode())
        description.write(module.description.encode())
        notices.write(notice())
    summary = {"verilog": str(path), "description": str(path.with_suffix(".json")), "preset": config.name,
               "build_id": f"{config.build_id:016x}", "bytes": path.stat().st_size}
    if as_json:
        print(json.dumps(summary, indent=2))
    else:
        print(f"{path}: {summary['bytes']:,} bytes, preset {config.name}, build {summary['build_id']}")
