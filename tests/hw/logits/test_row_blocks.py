"""RowBlocks divides rows into blocks, and gives them no more than two ahead of those that are read."""

from __future__ import annotations

import pytest

from hw.contract.config import AccelConfig
from hw.contract.head_layout import HeadLayout
from hw.logits.row_blocks import RowBlocks
from tests.hw.steps import Step, run_steps


def config(ports: int, port_bits: int) -> AccelConfig:
    return AccelConfig(name="blocks", ports=ports, port_bits=port_bits, rows=4, inputs=5 * ports * port_bits // 32,
                       max_vocab=300)


CONFIGS = {"2 rows a group": config(1, 64), "16 rows a group": config(2, 256), "a group is a block": config(4, 512)}
ROWS = [1, 2, 63, 64, 65, 130, 300]


def check(name: str, stall: float, simulator: str = "pysim") -> None:
    """One command after the other; each block is reported and read before the next."""
    dut = CONFIGS[name]
    steps, items, blocks = [], [], []
    for m in ROWS:
        layout = HeadLayout(dut, 1, m)
        steps.append(Step(send={"i": [{"columns": 1, "row_beats": 3, "m": m}]}, clocks=60))
        for first in range(0, layout.groups, layout.block_groups):
            groups = min(layout.block_groups, layout.groups - first)
            items.append({"value": 0, "bank": 0, "operands": 0, "groups": groups})
            blocks.append({"bank": 0, "rows": groups * layout.group_rows, "first": first == 0,
                           "last": first + groups == layout.groups})
            steps += [Step(set={"done": {"valid": 1, "bank": 0}}),
                      Step(set={"done": {"valid": 0, "bank": 0}}, clocks=60), Step(set={"read": 1}),
                      Step(set={"read": 0}, clocks=60)]
        steps.append(Step(read=["command"]))
    run = run_steps(RowBlocks(dut), steps, outputs=("o_item", "o_block"), stall=stall, seed=3, simulator=simulator)
    banks = [item["bank"] for item in run.received["o_item"]]
    # banks alternate, also from command to command
    for received, expected in (("o_item", items), ("o_block", blocks)):
        found = [{**one, "bank": 0} for one in run.received[received]]
        assert found == expected
        assert [one["bank"] for one in run.received[received]] == banks
    assert banks == [n % 2 for n in range(len(banks))]
    assert [read[0]["m"] for read in run.read] == ROWS


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize("name", CONFIGS)
def test_any_rows(name: str, stall: float) -> None:
    check(name, stall)


@pytest.mark.parametrize("name", CONFIGS)
def test_two_ahead(name: str) -> None:
    """Two items are given, and no third one until the first block has been read; nor the next command."""
    command = {"columns": 1, "row_beats": 3, "m": 193}
    steps = [Step(set={"i.valid": 1, "i.payload": command}, clocks=20, read=["i.ready"]),
             Step(set={"done": {"valid": 1, "bank": 0}}), Step(set={"done": {"valid": 0, "bank": 0}}, clocks=20),
             Step(set={"read": 1}), Step(set={"read": 0}, clocks=20, read=["i.ready"])]
    run = run_steps(RowBlocks(CONFIGS[name]), steps, outputs=("o_item", "o_block"))
    assert run.clocks["o_item"][1] - run.clocks["o_item"][0] == 1
    assert len(run.clocks["o_item"]) == 3
    assert run.clocks["o_item"][2] > 40
    assert len(run.clocks["o_block"]) == 1
    assert run.read == [[0], [0]]


def test_verilated() -> None:
    check("16 rows a group", 0.4, "verilator")
