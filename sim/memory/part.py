"""Parts: the memories that a simulation can have. This file reads them from parts/, a file for each.

A part is a DRAM with its controller and the ports before it; `ideal` is none: a fixed latency. A file names the data
sheets that its numbers come from. All that is computed from them is what the C++ of the model takes (dram_part.h).
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hw.contract.config import AccelConfig
from sw.errors import JobError

__all__ = ["IDEAL", "MEMORIES", "Part", "memory_part"]

IDEAL = "ideal"
"""The memory without a part."""

FOLDER = Path(__file__).with_name("parts")
PARTS = {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}

MEMORIES = (IDEAL, *PARTS)
"""Their names."""

MOST_PORTS = 4
"""As in dram_part.h."""


@dataclass(frozen=True)
class Part:
    """What a file in parts/ says, section by section."""

    name: str
    content: dict[str, Any]

    @property
    def port_mhz(self) -> float:
        """Clock of the AXI ports, and of the accelerator."""
        return self.content["clock"]["port_mhz"]

    @property
    def ports(self) -> int:
        """AXI ports, at most."""
        return len(self.content["port"]["gates"])

    @property
    def access_bytes(self) -> int:
        """Of one column command."""
        return self.content["geometry"]["bus_bytes"] * self.content["geometry"]["burst"]

    def pin_bytes_per_cycle(self, ports: int) -> float:
        """Peak of the DRAM's pins, in bytes per clock of the ports, for as many ports."""
        clock, geometry = self.content["clock"], self.content["geometry"]
        channels = ports if self.content["controller"]["own_channel"] else 1
        return channels * clock["dram_mhz"] / clock["port_mhz"] * geometry["bus_bytes"] * geometry["transfers"]

    def check(self, config: AccelConfig) -> None:
        """Raises JobError if the accelerator's ports do not fit."""
        bits = self.content["port"]["bits"]
        if config.ports > self.ports:
            raise JobError(f"the memory {self.name} has {self.ports} port{'s'[:self.ports > 1]}, but the preset "
                           f"{config.name} needs {config.ports}: use another memory or preset")
        if config.port_bits not in bits:
            raise JobError(f"the memory {self.name} has ports of {' or '.join(map(str, bits))} bits, but those of the "
                           f"preset {config.name} have {config.port_bits}: use another memory or preset")

    def text(self) -> str:
        """For dram_part.h."""
        return ",".join(f"{name}={value}" for name, value in self._fields().items())

    def _fields(self) -> dict[str, int]:
        clock, geometry, controller, port = (self.content[name] for name in ("clock", "geometry", "controller", "port"))
        ratio = clock["ratio"]

        def clocks(ns: float) -> int:
            return math.ceil(round(ns * clock["dram_mhz"] / 1000, 3))  # so that 15.0000001 clocks are 15

        return {
            "dram_khz": round(clock["dram_mhz"] * 1000), "port_khz": round(clock["port_mhz"] * 1000), "ratio": ratio,
            "access_bytes": self.access_bytes, "data": geometry["burst"] // geometry["transfers"],
            **{name: geometry[name] for name in ("groups", "banks", "group_bit", "bank_bit", "row_bit")},
            **{name: max(time.get("clocks", 0), clocks(time.get("ns", 0)))
               for name, time in self.content["timing"].items()},
            **{name: controller[name] for name in ("read_queue", "write_queue", "run")},
            **{name: controller[name] * ratio for name in ("starve", "idle_gap", "bank_change")},
            "own_channel": int(controller["own_channel"]),
            **{f"gate_{n}": ([*port["gates"], *[0] * MOST_PORTS])[n] for n in range(MOST_PORTS)},
            "ports": self.ports,
            **{name: port[name] for name in ("gate_bytes", "split_beats", "commands", "issued", "fifo_bytes")},
            **{name: clocks(port[f"{name}_ns"]) for name in ("request", "path", "response")},
        }


@cache
def memory_part(name: str) -> Part | None:
    """The part of a name; None for `ideal`. Raises JobError for a name that is none."""
    if name == IDEAL:
        return None
    if name not in PARTS:
        raise JobError(f"there is no memory {name!r}: use {', '.join(MEMORIES)}")
    return Part(name, tomllib.loads(PARTS[name].read_text()))
