"""Register accesses that train the read delays of a DDR3 controller. This file holds them as lists for RegisterPlayer.

The order of accesses and the waits follow LiteDRAM's own training (liblitedram, sdram.c).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from boards.memory.litedram_core import DramCore
from boards.memory.register_player import RegisterCheck, RegisterWrite

__all__ = [
    "BITSLIPS", "BYTE_LANES", "DELAYS", "FINISH", "NEXT_BITSLIP", "NEXT_DELAY", "RESET", "START", "TEST",
    "training_lists",
]

BYTE_LANES, BITSLIPS, DELAYS = 2, 4, 8
"""Settings of each byte lane of LiteDRAM's PHY for ECP5 with 16 data pins."""

START, RESET, TEST, FINISH, NEXT_BITSLIP, NEXT_DELAY = 0, 1, 2, 3, 4, 5 + BYTE_LANES
"""Numbers of the lists. The last two are for all lanes; those behind them for one lane each, lane 0 first."""

CS, WE, CAS, RAS, WRITE_DATA, READ_DATA = (1 << bit for bit in range(6))
"""Bits of dfii_piN_command."""

COMMAND_CYCLES, SETTLE_CYCLES = 15, 100
"""Clocks to wait after a command, and after a change of a delay."""

SEEDS = (42, 84, 36)
"""One pattern of four words from each."""


def pattern(seed: int) -> list[int]:
    """Four pseudo-random words of 32 bits: a linear-feedback shift register with the taps 32, 22, 2, 1."""
    words = []
    for _ in range(4):
        word = 0
        for bit in range(32):
            seed = (seed >> 1) ^ (0x80200003 if seed & 1 else 0)
            word |= (seed & 1) << bit
        words.append(word)
    return words


def training_lists(core: DramCore) -> list[Sequence[RegisterWrite | RegisterCheck]]:
    """The lists, in the order of the numbers above. A list with checks checks every byte lane."""
    everything = (1 << BYTE_LANES) - 1
    lanes = [everything, *(1 << lane for lane in range(BYTE_LANES))]
    return [
        list(core.start),
        [*_act(core, everything, "rdly_dq_bitslip_rst"), *_act(core, everything, "rdly_dq_rst")],
        list(_test(core)),
        list(core.hand_over),
        [*_act(core, everything, "rdly_dq_bitslip"), *_act(core, everything, "rdly_dq_rst")],
        *(_act(core, one, "rdly_dq_bitslip") for one in lanes[1:]),
        *(_act(core, one, "rdly_dq_inc") for one in lanes),
    ]


def _act(core: DramCore, lanes: int, action: str) -> list[RegisterWrite]:
    """Pulse a register of the PHY while lanes are selected, which pauses their strobes."""
    registers = core.registers
    return [
        RegisterWrite(registers["ddrphy_dly_sel"], lanes, COMMAND_CYCLES),
        RegisterWrite(registers[f"ddrphy_{action}"], 1, COMMAND_CYCLES),
        RegisterWrite(registers["ddrphy_dly_sel"], 0, SETTLE_CYCLES),
    ]


def _test(core: DramCore) -> Iterator[RegisterWrite | RegisterCheck]:
    """Every pattern goes to row 0 of bank 0 and comes back. A lane must also have seen its strobe where it looked."""
    registers, strobes = core.registers, (1 << BYTE_LANES) - 1
    data = {direction: [registers[f"sdram_dfii_pi{phase}_{direction}data"] + offset
                        for phase in range(2) for offset in (0, 4)] for direction in ("wr", "rd")}
    in_lane = tuple(0x00FF00FF << 8 * lane for lane in range(BYTE_LANES))  # a word is two times both lanes

    def command(phase: int, bits: int) -> Iterator[RegisterWrite]:
        yield RegisterWrite(registers[f"sdram_dfii_pi{phase}_command"], bits)
        yield RegisterWrite(registers[f"sdram_dfii_pi{phase}_command_issue"], 1, COMMAND_CYCLES)

    for phase in range(2):
        yield RegisterWrite(registers[f"sdram_dfii_pi{phase}_address"], 0)
        yield RegisterWrite(registers[f"sdram_dfii_pi{phase}_baddress"], 0)
    for seed in SEEDS:
        words = pattern(seed)
        yield from command(0, RAS | CS)
        yield from (RegisterWrite(address, word) for address, word in zip(data["wr"], words, strict=True))
        yield from command(core.write_phase, CAS | WE | CS | WRITE_DATA)
        yield RegisterWrite(registers["ddrphy_burstdet_clr"], 1)
        yield from command(core.read_phase, CAS | CS | READ_DATA)
        yield from command(0, RAS | WE | CS)
        yield from (RegisterCheck(address, word, in_lane) for address, word in zip(data["rd"], words, strict=True))
        yield RegisterCheck(registers["ddrphy_burstdet_seen"], strobes, tuple(1 << n for n in range(BYTE_LANES)))
