"""KV260: a Zynq UltraScale+ of a K26 module; four 128-bit ports into the processor's 4 GiB of DDR4. Not run on one yet.

docs/boards/kv260.md has the steps.
"""

from __future__ import annotations

from boards.vivado import VIVADO, ZynqBoard
from hw.contract.config import preset

__all__ = ["HP_PORTS", "KV260"]

HP_PORTS = 4
"""S_AXI_HP0_FPD to S_AXI_HP3_FPD."""

KV260 = ZynqBoard(
    name="kv260",
    title="AMD Kria KV260, 4 GiB DDR4",
    config=preset("kv260"),
    toolchain=VIVADO,
    clock_hz=200_000_000,
    part="xck26-sfvc784-2LV-c",
    board_parts="*kv260_som*",
    ctrl_address=0xA000_0000,
    memory_bytes=1600 << 20,
    memory_bytes_per_s=15.32e9,  # ddr4-2133 of docs/memory-model.md
    resources={"LUT": 117_120, "FF": 234_240, "RAMB36": 144, "URAM": 64, "DSP": 1_248},
    documents=(
        "https://docs.amd.com/r/en-US/ds987-k26-som",
        "https://docs.amd.com/r/en-US/ug1085-zynq-ultrascale-trm",
        "https://github.com/ikwzm/udmabuf",
    ),
)
