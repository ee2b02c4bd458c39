"""RowDots equals NumPy for any codes and operands, clock by clock; a chain is what DSP blocks have, and no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import unsigned

from boards.resources import KINDS, resources
from hw.contract.config import PRESETS
from hw.dot.dot_chain import DotChain
from hw.dot.row_dots import RowDots
from hw.verilog import to_verilog
from hw.watch import Synthesis
from tests.hw.steps import Step, run_steps

OPERAND_BITS = 18
CONFIG = PRESETS["tiny"].replace(ports=2, rows=4, query_rows=2)
BEATS = 40


KINDS_OF_BEATS = {
    "8 bit": (8, 0), "8 bit, head": (8, 1), "16 bit": (16, 0), "16 bit, head": (16, 1),
}


def check(kv_bits: int, head: int, simulator: str = "pysim") -> None:
    """A beat per clock. The operands of element e come e clocks late; the tags and the dots of a beat come `latency`
    clocks after it."""
    config = CONFIG.replace(kv_bits=kv_bits)
    random, rows = np.random.default_rng(kv_bits + head), config.query_rows
    # bytes of an element of the beat, and of one of a chain, which the operands wait for
    size, step = 1 if head else config.kv_bytes, config.kv_bytes
    lanes, lowest = config.beat_bytes // size, -(2 ** (8 * size - 1))
    dut = RowDots(config, operand_bits=OPERAND_BITS, tag=unsigned(6))
    # a clock for each element of a beat, two more for the last one, and one to add the bytes of two
    assert dut.latency == {8: 10, 16: 7}[kv_bits]
    clocks = BEATS + dut.latency
    codes = random.integers(lowest, -lowest, (clocks, config.ports, lanes))
    operands = random.integers(-(2**17), 2**17, (clocks, lanes, rows))
    codes[:2], operands[:2] = lowest, -(2**17)  # the largest sum that there is
    codes[2], operands[2] = -lowest - 1, -(2**17)
    codes[3], operands[3] = -1, 2**17 - 1  # low bytes of all ones
    codes[4], operands[4] = lowest, 2**17 - 1  # low bytes of zeros
    beats = codes.astype(f"<i{size}").view(np.uint8).reshape(clocks, -1)
    by_byte = np.repeat(operands, size, axis=1)
    late = np.stack([np.roll(by_byte[:, byte], byte // step, axis=0) for byte in range(config.beat_bytes)], axis=1)
    steps = [Step(set={"beat": beats[n].tolist(), "head": head, "operands": late[n].tolist(), "tag": n % 64},
                  read=["dots", "done", "coming"]) for n in range(clocks)]
    run = run_steps(dut, steps, outputs=(), simulator=simulator)
    dots = np.einsum("nlr,npl->nrp", operands, codes)
    for n in range(BEATS):
        assert run.read[n + dut.latency][:2] == [dots[n].tolist(), n % 64]
        assert run.read[n + dut.latency - 1][2] == n % 64


@pytest.mark.parametrize("name", KINDS_OF_BEATS)
def test_a_beat_per_clock(name: str) -> None:
    check(*KINDS_OF_BEATS[name])


def test_one_byte_at_a_time() -> None:
    """The dot of beat n has byte n of each port alone, with an operand of its own."""
    config = CONFIG.replace(query_rows=1)
    for kv_bits, head in KINDS_OF_BEATS.values():
        config = config.replace(kv_bits=kv_bits)
        size = 1 if head else config.kv_bytes
        dut = RowDots(config, operand_bits=OPERAND_BITS, tag=unsigned(6))
        beat = np.tile(np.arange(1, config.beat_bytes + 1, dtype=np.uint8) * 23, config.ports)
        codes = beat.view(f"<i{size}").reshape(config.ports, -1).astype(int)
        lanes = codes.shape[1]
        per_byte = [[(element + 1) * -321 if byte // size == element else 0] for element in range(lanes)
                    for byte in range(config.beat_bytes)]
        operands = np.array(per_byte).reshape(lanes, config.beat_bytes, 1)
        operands = np.pad(operands, ((0, dut.latency), (0, 0), (0, 0)))
        late = [np.roll(operands[:, byte], byte // config.kv_bytes, axis=0) for byte in range(config.beat_bytes)]
        steps = [Step(set={"beat": beat.tolist(), "head": head, "operands": words.tolist()}, read=["dots"])
                 for words in np.stack(late, axis=1)]
        read = run_steps(dut, steps, outputs=()).read
        assert [dots[0] for dots, in read[dut.latency :]] == [
            ((element + 1) * -321 * codes[:, element]).tolist() for element in range(lanes)]


def test_verilated() -> None:
    for kv_bits, head in KINDS_OF_BEATS.values():
        check(kv_bits, head, "verilator")


LANES = 4
CODE_BITS = 9
ADDERS = sum(OPERAND_BITS + CODE_BITS + (lane > 0) + (lane > 1) for lane in range(1, LANES))
"""Bits of the adders of a chain of 4 lanes with codes of signed or unsigned bytes."""


@pytest.mark.parametrize(("synth", "multiplier", "most_luts"), [
    ("synth_xilinx -family xc7", "DSP48E1", 0),
    ("synth_xilinx -family xcup", "DSP48E2", ADDERS),  # Yosys moves neither adders nor registers into a DSP48E2
    ("synth_ecp5 -noflatten", "MULT18X18D", 0),  # adders are carry cells
])
def test_a_lane_is_one_multiplier(synth: str, multiplier: str, most_luts: int, tmp_path: Path) -> None:
    chain = DotChain(LANES, CODE_BITS, OPERAND_BITS)
    file = tmp_path / "chain.v"
    file.write_text(to_verilog(chain, "chain", platform=Synthesis()))
    cells = resources(file, "chain", tmp_path / "work", synth)["chain"]
    assert cells[multiplier] == chain.lanes == LANES
    assert sum(count for cell, count in cells.items() if cell in KINDS["LUT"]) <= most_luts
    if multiplier == "DSP48E1":
        assert not any(cells[cell] for cell in KINDS["FF"])
