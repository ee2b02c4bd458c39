"""The checks of a board, in order. Each relies on the checks before it, so the first failure names the cause."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hw.contract.config import AccelConfig
from sw.checkpoint import Checkpoint
from sw.cli.doctor import memory
from sw.cli.doctor.finding import Finding
from sw.driver import Driver
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.links.machine import MachineBus, MachineLink
from sw.pack import pack
from sw.registers import check_identity
from sw.scrub import Progress
from sw.session import Session

if TYPE_CHECKING:
    from sim.known_answer import Case

__all__ = ["examine"]


def examine(config: AccelConfig, bus: MachineBus, *, full: bool, progress: Progress) -> Iterator[Finding]:
    """Yield a finding for each check, and stop after the first failure. Overwrites the board's memory.

    Args:
        config: configuration that the board's bitstream should have.
        bus: connection to the board.
        full: also write and read all memory.
        progress: called with the bytes written and the total while all memory is written.
    """
    from sim.known_answer import CASES

    checks: list[tuple[str, Any]] = [
        ("build", lambda: asyncio.run(_build(config, bus))),
        ("data lines", lambda: asyncio.run(memory.data_lines(bus, config.beat_bytes))),
        ("address lines", lambda: asyncio.run(memory.address_lines(bus))),
        ("random content", lambda: asyncio.run(memory.random_blocks(bus))),
    ]
    if full:
        checks.append(("all memory", lambda: asyncio.run(memory.everything(bus, progress))))
    for case in CASES:
        checks.append((case.name, lambda case=case: _known_answer(config, bus, case)))
    for name, check in checks:
        try:
            yield Finding(name, True, check())
        except HardwareError as error:
            yield Finding(name, False, str(error))
            return


async def _build(config: AccelConfig, bus: MachineBus) -> str:
    await check_identity(bus, config)
    return f"{config.build_id:016x}, preset {config.name}"


def _known_answer(config: AccelConfig, bus: MachineBus, case: Case) -> str:
    """Run a small model on the board and in the golden model. Raises HardwareError for the first difference."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, path = Path(folder) / "checkpoint", Path(folder) / "model.img"
        case.write_checkpoint(checkpoint)
        pack(Checkpoint.open(checkpoint), path, config)
        image, job = ModelImage.open(path, config), case.job(config)
        with Session(path, preset=config) as golden:
            expected = golden.generate(job)
        assert expected.logits is not None
        found = Driver(MachineLink(image, bus)).generate(job)
        for position, (row, right) in enumerate(zip(found.logits, expected.logits, strict=False)):
            wrong = np.flatnonzero(row != right)
            if len(wrong):
                first = wrong[0]
                raise HardwareError(f"{len(wrong)} of {len(right)} logits of position {position} are wrong; the first "
                                    f"is {row[first]} instead of {right[first]}: {case.suspect}")
        if tuple(found.tokens) != expected.tokens:
            raise HardwareError(f"the board generated tokens {found.tokens} instead of {list(expected.tokens)}: "
                                f"{case.suspect}")
    return f"{len(expected.logits)} positions, {expected.logits[0].size} logits each, equal bit for bit"
