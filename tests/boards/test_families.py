"""The table of other families: sums, and memories that were lost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from boards.families import FAMILIES, Family, Row, page, unmapped
from boards.resources import resources, usage

RAM = """
module accelerator(
  input clk, input [9:0] a, input [9:0] w, input we, input [15:0] d, output reg [15:0] q, output reg [31:0] p
);
  reg [15:0] words [1023:0];
  reg [15:0] x, y;
  always @(posedge clk) begin
    if (we) words[w] <= d;
    q <= words[a];
    x <= d;
    y <= x;
    p <= x * y;
  end
endmodule
"""


def test_memories_that_were_lost() -> None:
    """Tables of Yosys itself are none of ours, and a memory counts once."""
    own = "Mapping memory \\words in module \\top.unit:\n"
    log = own * 2 + "Mapping memory $auto$proc_rom$1 in module \\top.unit:\n"
    assert unmapped(log) == ["top.unit.words"]


def test_page() -> None:
    netlist = {"accelerator": Counter({"unit": 2, "LUT4": 1, "CCU2": 3}), "unit": Counter({"DPR16X4": 1, "OSC": 1})}
    before = {"accelerator": Counter({"unit": 2}), "unit": Counter({"$mul": 2})}
    text = page([Row(FAMILIES[1], netlist, before, "Mapping memory \\m in module \\unit:\n", 9.6)], "made")
    assert "| Nexus: CertusPro-NX | `synth_nexus -noflatten` | 10 | 7 | 0 | 8 | 0 | 0 |" in text
    assert ("**Nexus.** Memories in flip-flops, or in logic if they are never written: `unit.m`. Multiplications in "
            "logic: `unit` 2. Cells that are not counted: OSC.") in text


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_memory_and_a_multiplier_are_counted(family: Family, tmp_path: Path) -> None:
    """By the names that this Yosys has for the cells of the family."""
    file = tmp_path / "accelerator.v"
    file.write_text(RAM)
    used = usage(resources(file, "accelerator", tmp_path / "work", family.synth), "accelerator", family.kinds)
    assert used["block RAM"] >= 0.5
    assert used["multiplier"] >= 1
    assert unmapped((tmp_path / "work" / "log").read_text()) == []
