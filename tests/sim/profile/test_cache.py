"""A filled cache: codes and scales of every position, layer and head, and nothing behind them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hw.contract.config import PRESETS
from hw.contract.isa import Opcode
from sim.golden.machine import GoldenMachine
from sim.profile.cache import fill_cache
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.image import ModelImage
from sw.pack import pack

CONFIG = PRESETS["tiny"]
POSITIONS = 21


def machine_of(folder: Path) -> GoldenMachine:
    if not (folder / "m.img").exists():
        write_random_checkpoint(folder / "m", hidden=128, intermediate=256, layers=2, heads=4, kv_heads=2, vocab=33,
                                positions=70, seed=1)
        pack(Checkpoint.open(folder / "m"), folder / "m.img", CONFIG, sequences=3)
    return GoldenMachine(ModelImage.open(folder / "m.img", CONFIG))


def test_every_position_is_filled_and_none_behind(tmp_path: Path) -> None:
    machine = machine_of(tmp_path)
    fill_cache(machine, POSITIONS, 1)
    for operands in (packet.operands for packet in machine.plan.layer_packets if packet.opcode is Opcode.ATTEND):
        for head in range(2):
            for slot in range(3):
                cache = machine._kv_head(operands, slot, head, 32)
                assert np.isfinite(cache.scales).all()
                assert (cache.scales >= 0).all()
                assert np.count_nonzero(cache.scales) == 2 * POSITIONS
                assert np.count_nonzero(cache.keys) == np.count_nonzero(cache.values) == 32 * POSITIONS
    assert np.count_nonzero(machine.kv) < machine.kv.size


def test_the_seed_decides_and_the_slots_are_equal(tmp_path: Path) -> None:
    kv = []
    for seed in (1, 1, 2):
        machine = machine_of(tmp_path)
        fill_cache(machine, POSITIONS, seed)
        kv.append(machine.kv.reshape(3, -1))
    assert (kv[0] == kv[1]).all()
    assert (kv[0] == kv[0][0]).all()
    assert (kv[0] != kv[2]).any()
