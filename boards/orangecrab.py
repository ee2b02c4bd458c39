"""OrangeCrab r0.2 with an ECP5-85F and its DDR3 memory: 48 MHz crystal, one chip at twice the clock of the machine."""

from __future__ import annotations

from amaranth.build import Attrs, DiffPairs, Pins, PinsN, Resource, Subsignal
from amaranth.lib import wiring
from amaranth.vendor import LatticeECP5Platform
from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_85FPlatform
from amaranth_boards.resources import LEDResources, UARTResource

from boards.board import Board
from boards.memory.ddr3 import Ddr3Dram
from boards.memory.litedram_core import ddr3_core
from boards.open_ecp5 import OPEN_ECP5
from boards.uart import UartLink
from hw.contract.config import preset
from hw.watch import Synthesis

__all__ = ["ORANGECRAB"]

CLOCK_HZ = 48e6
BAUD = 1_000_000


class OrangeCrabPlatform(Synthesis, LatticeECP5Platform):
    """The board's pins.

    amaranth-boards 0.0.21 has the strobe pairs crosswise and bank pins that are no pins of the memory; here they are as
    in litex-boards. The LED is the green of the coloured one. The serial line is that of the Feather: an adapter's TXD
    at pin 0 (RX), its RXD at pin 1 (TX). The class of amaranth-boards also asks for dfu-util, which nothing here needs.
    """

    device = OrangeCrabR0_2_85FPlatform.device
    package = OrangeCrabR0_2_85FPlatform.package
    speed = OrangeCrabR0_2_85FPlatform.speed
    default_clk = OrangeCrabR0_2_85FPlatform.default_clk
    connectors = OrangeCrabR0_2_85FPlatform.connectors
    resources = [
        *(resource for resource in OrangeCrabR0_2_85FPlatform.resources if resource.name != "ddr3"),
        Resource(
            "ddr3", 0,
            Subsignal("rst", PinsN("L18", dir="o")),
            Subsignal("clk", DiffPairs("J18", "K18", dir="o"), Attrs(IO_TYPE="SSTL135D_I")),
            Subsignal("clk_en", Pins("D18", dir="o")),
            Subsignal("cs", PinsN("A12", dir="o")),
            Subsignal("we", PinsN("B12", dir="o")),
            Subsignal("ras", PinsN("C12", dir="o")),
            Subsignal("cas", PinsN("D13", dir="o")),
            Subsignal("a", Pins("C4 D2 D3 A3 A4 D4 C3 B2 B1 D1 A7 C2 B6", dir="o")),
            Subsignal("ba", Pins("D6 B7 A6", dir="o")),
            Subsignal("dqs", DiffPairs("B15 G18", "A16 H17", dir="io"),
                      Attrs(IO_TYPE="SSTL135D_I", TERMINATION="OFF", DIFFRESISTOR="100")),
            Subsignal("dq", Pins("C17 D15 B17 C16 A15 B13 A17 A13 F17 F16 G15 F15 J16 C18 H16 F18", dir="io"),
                      Attrs(TERMINATION="OFF")),
            Subsignal("dm", Pins("D16 G16", dir="o")),
            Subsignal("odt", Pins("C13", dir="o")),
            Subsignal("vccio", Pins("K16 D17 K15 K17 B18 C6", dir="o"), Attrs(IO_TYPE="SSTL135_II")),
            Subsignal("gnd", Pins("L15 L16 C1 A2 C7", dir="o"), Attrs(IO_TYPE="SSTL135_II")),  # the last: a[13:16]
            Attrs(IO_TYPE="SSTL135_I", SLEWRATE="FAST"),
        ),
        *LEDResources(pins="M3", invert=True, attrs=Attrs(IO_TYPE="LVCMOS33")),
        UARTResource(0, rx="0", tx="1", conn=("io", 0), attrs=Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP")),
    ]


def _memory() -> wiring.Component:
    """128 MB, the smallest chip that boards have, with tRFC of the largest: theirs work as their lowest part.

    Masks swapped, no termination in the chip and the delay of commands are as in litex-boards.
    """
    return Ddr3Dram(ddr3_core(
        "MT41K64M16", device="LFE5U-85F-8MG285C", clock_hz=CLOCK_HZ, input_hz=48e6, init_hz=24e6, refresh_ns=350,
        cmd_delay=100, dm_swap=True, rtt_nom="disabled",
    ))


ORANGECRAB = Board(
    name="orangecrab",
    title="OrangeCrab r0.2 85F, 128 MB DDR3",
    config=preset("ulx3s"),
    toolchain=OPEN_ECP5,
    clock_hz=CLOCK_HZ,
    platform=OrangeCrabPlatform,
    domains=("sync",),
    clock=None,
    memory=_memory,
    memory_bytes=128 << 20,
    memory_bytes_per_s=7.36 * CLOCK_HZ,  # of the ECPIX-5, which has the same controller; not simulated for this chip
    link=lambda board: UartLink(board, baud=BAUD),
    load_bytes_per_s=BAUD / 10,
    flash=("--board", "orangeCrab", "{bitstream}"),
    documents=(
        "https://github.com/orangecrab-fpga/orangecrab-hardware",
        "https://github.com/litex-hub/litex-boards/blob/master/litex_boards/platforms/gsd_orangecrab.py",
    ),
)
