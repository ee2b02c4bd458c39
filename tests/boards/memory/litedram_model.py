"""A DDR3 controller of LiteDRAM with its chip, no pads: `python -m tests.boards.memory.litedram_model SETTINGS OUTPUT`.

A process of its own, as boards/memory/litedram_generate.py is, with the same settings and the same fields; besides,
`windows`: of each byte lane the bitslip and the first and last delay where reads are right. The module has the ports of
the real one. +image=FOLDER has the content of its banks for $readmemh, bank0.hex to bank7.hex; with +broken no delay
is right.

The controller is the one that is synthesised. LiteDRAM's own model stands for PHY and chip, with the latencies of its
PHY for ECP5; what reads through a wrong delay gets wrong bytes.
"""

from __future__ import annotations

import json
import re
import sys
import types
from pathlib import Path
from typing import Any

from litedram import gen
from litedram.common import PhySettings, get_default_cl_cwl, get_sys_latency, get_sys_phase
from litedram.phy.dfi import Interface
from litedram.phy.model import SDRAMPHYModel
from litex.build.sim import SimPlatform
from litex.soc.interconnect.csr import CSR, AutoCSR, CSRStatus, CSRStorage
from migen import Cat, If, Signal

from boards.memory import litedram_generate
from boards.memory.litedram_generate import MODULE, fields_of

PHASES, LANES, WORD_BITS = 2, 2, 128


def phy_settings(memtype: str, data_width: int, clk_freq: float) -> PhySettings:
    """As litedram/phy/ecp5ddrphy.py has them."""
    cl, cwl = get_default_cl_cwl(memtype, 1 / (PHASES * clk_freq))
    cl_latency, cwl_latency = get_sys_latency(PHASES, cl), get_sys_latency(PHASES, cwl)
    return PhySettings(
        phytype="ECP5DDRPHY", memtype=memtype, databits=data_width, dfi_databits=4 * data_width, nranks=1,
        nphases=PHASES, rdphase=get_sys_phase(PHASES, cl_latency, cl), wrphase=get_sys_phase(PHASES, cwl_latency, cwl),
        cl=cl, cwl=cwl, read_latency=cl_latency + 10, write_latency=cwl_latency,
    )


class TrainedPhy(SDRAMPHYModel, AutoCSR):
    """LiteDRAM's model behind the registers of its PHY for ECP5."""

    windows: list[list[int]]

    def __init__(self, module: Any, settings: PhySettings, clk_freq: float) -> None:
        super().__init__(module, settings, clk_freq=clk_freq)
        chip = self.dfi
        self.dfi = Interface(len(chip.p0.address), len(chip.p0.bank), 1, settings.dfi_databits, PHASES)
        self._dly_sel = CSRStorage(LANES)
        self._rdly_dq_rst = CSR()
        self._rdly_dq_inc = CSR()
        self._rdly_dq_bitslip_rst = CSR()
        self._rdly_dq_bitslip = CSR()
        self._burstdet_clr = CSR()
        self._burstdet_seen = CSRStatus(LANES)
        broken = Signal(name="broken")
        for lane, (right_bitslip, first, last) in enumerate(self.windows):
            delay, bitslip, right = Signal(3, reset=6), Signal(2, reset=3), Signal(name=f"lane_{lane}_right")
            selected, seen = self._dly_sel.storage[lane], self._burstdet_seen.status[lane]
            self.comb += right.eq((bitslip == right_bitslip) & (delay >= first) & (delay <= last) & ~broken)
            self.sync += [
                If(selected & self._rdly_dq_inc.re, delay.eq(delay + 1)),
                If(selected & self._rdly_dq_rst.re, delay.eq(0)),
                If(selected & self._rdly_dq_bitslip.re, bitslip.eq(bitslip + 1)),
                If(selected & self._rdly_dq_bitslip_rst.re, bitslip.eq(0)),
                If(chip.p0.rddata_valid & (delay >= first), seen.eq(1)),
                If(self._burstdet_clr.re, seen.eq(0)),
            ]
            for outside, inside in zip(self.dfi.phases, chip.phases, strict=True):
                bits = [n for n in range(settings.dfi_databits) if n // 8 % LANES == lane]
                self.comb += If(right, Cat(*(outside.rddata[n] for n in bits)).eq(
                    Cat(*(inside.rddata[n] for n in bits)))).Else(
                    Cat(*(outside.rddata[n] for n in bits)).eq(~Cat(*(inside.rddata[n] for n in bits[1:] + bits[:1]))))
        for outside, inside in zip(self.dfi.phases, chip.phases, strict=True):
            self.comb += outside.connect(inside, omit={"rddata", "rddata_valid"})
            self.comb += outside.rddata_valid.eq(chip.p0.rddata_valid)  # LiteDRAM's model tells phase 0 only


def generate(settings: dict[str, Any]) -> dict[str, Any]:
    """The fields of `DramCore`."""
    TrainedPhy.windows = settings.pop("windows")
    chip = litedram_generate.chip_of(settings["sdram_module"], settings.pop("refresh_ns"))

    class Chip(chip):
        """LiteDRAM's simulations have four phases per clock; this one has two, as the PHY for ECP5."""

        def __init__(self, clk_freq: float, rate: str) -> None:
            super().__init__(clk_freq, f"1:{PHASES}")

    # litex_sim, which holds the latencies of simulated PHYs, needs packages for Ethernet to be imported.
    sys.modules["litex.tools.litex_sim"] = types.ModuleType("litex_sim")
    sys.modules["litex.tools.litex_sim"].get_sdram_phy_settings = phy_settings
    gen.SDRAMPHYModel = TrainedPhy
    platform = SimPlatform("SIM", io=[])
    soc = gen.LiteDRAMCore(platform, settings | {
        "cpu": None, "sdram_module": Chip, "sdram_phy": None, "sdram_rank_nb": 1,
        "user_ports": {"axi0": {"type": "axi", "id_width": 1}},
    })
    for name in ("rst", "ddram"):
        platform.request(name)  # unused, for the sake of the ports
    soc.finalize()
    text = platform.get_verilog(soc, name=MODULE, regular_comb=False).main_source
    banks = re.findall(rf"^reg \[{WORD_BITS - 1}:0\] (mem\w*)\[", text, re.M)
    starts = ['if ($value$plusargs("image=%s", folder)) begin',
              *(f'$readmemh({{folder, "/bank{n}.hex"}}, {bank});' for n, bank in enumerate(banks)), "end"]
    starts += [f'{name} = $test$plusargs("broken");' for name in re.findall(r"^reg +(\w*broken)\b", text, re.M)]
    start = "\n".join(["string folder;", "initial begin", *starts, "end", "endmodule"])
    text = re.sub(r"^endmodule", start, text, flags=re.M)
    return fields_of(soc, text)


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(generate(json.loads(Path(sys.argv[1]).read_text()))))
