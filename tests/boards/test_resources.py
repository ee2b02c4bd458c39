"""Sums over the hierarchy, and modules that are mapped once for many."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from boards.resources import resources, share_modules, table, usage

LEAF = """module \\{name} (a, b, q, clk);
  input [3:0] a;
  input [3:0] b;
  input clk;
  output [3:0] q;
  reg [3:0] q = 4'h0;
  always @(posedge clk) q <= a {operator} b;
endmodule
"""

PAIR = """module \\{name} (a, b, q, clk);
  input [3:0] a;
  input [3:0] b;
  input clk;
  output [3:0] q;
  \\{name}.leaf  leaf (
    .a(a), .b(b), .q(q), .clk(clk)
  );
endmodule
"""

TOP = """module top(a, b, q, clk);
  input [3:0] a;
  input [3:0] b;
  input clk;
  output [11:0] q;
""" + "".join(f"""  \\top.p{n}  p{n} (
    .a(a), .b(b), .q(q[{4 * n + 3}:{4 * n}]), .clk(clk)
  );
""" for n in range(3)) + "endmodule\n"

TEXT = TOP + "".join(
    "\n" + PAIR.format(name=f"top.p{n}") + "\n" + LEAF.format(name=f"top.p{n}.leaf", operator=operator)
    for n, operator in enumerate("&&^")
)


def test_equal_modules_become_one() -> None:
    """Two of three pairs are equal, down to their leaves; names do not matter."""
    shared = share_modules(TEXT)
    assert TEXT.count("\nmodule ") + 1 == 7
    assert ("\n" + shared).count("\nmodule ") == 5
    assert shared.count("  \\top.p0  p") == 2
    assert shared.count("  \\top.p2  p2") == 1
    assert share_modules(shared) == shared


def test_sharing_changes_no_number(tmp_path: Path) -> None:
    file = tmp_path / "top.v"
    file.write_text(TEXT)
    netlist = resources(file, "top", tmp_path / "work")
    assert netlist["top"]["top.p0"] == 2
    used = usage(netlist, "top")
    assert (used["FF"], used["LUT"], used["RAMB36"], used["DSP"]) == (12, 12, 0, 0)


def test_sums() -> None:
    netlist = {"top": Counter({"u": 3, "LUT6": 1, "RAMB18E2": 1}),
               "u": Counter({"LUT2": 2, "RAM32M16": 1, "FDRE": 5, "DSP48E2": 1, "CARRY4": 9})}
    assert usage(netlist, "top") == {"LUT": 31, "FF": 15, "RAMB36": 0.5, "URAM": 0, "DSP": 3}
    assert table(netlist, "top", 1).splitlines()[-1] == "| &nbsp;&nbsp;u x 3 | 10 | 5 | 0 | 0 | 1 |"
