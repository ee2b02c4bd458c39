"""A loaded golden board on a line, with the driver in front of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hw.contract.config import PRESETS, AccelConfig
from hw.contract.register_map import REGISTERS
from sim.links.golden import GoldenLink
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.driver import Driver, Generation
from sw.image import ModelImage
from sw.links.machine import MachineLink
from sw.links.serial import SerialBus
from sw.pack import pack
from sw.requests import Job
from sw.sampling import Sampling
from tests.sw.links.golden_registers import CLOCK_HZ, GoldenRegisters, golden_board
from tests.sw.links.noisy_line import BAUD, NoisyLine

CONFIG = PRESETS["tiny"]
ROWS = CONFIG.replace(shortlist=0)
"""The machine without shortlists."""

MEMORY_BYTES = 1 << 20
DRAWN = Job(prompt=(1, 2, 3), max_new_tokens=10, chunk=1, sampling=Sampling(temperature=1.0, seed=3))
GREEDY = replace(DRAWN, sampling=None)
WRITABLE = {register.name for register in REGISTERS if register.access == "rw" and register.there(CONFIG)}


def small_image(folder: Path, vocab: int = 33, config: AccelConfig = CONFIG) -> ModelImage:
    """A random model of a few kilobytes."""
    folder = folder / f"{vocab}-{config.shortlist}"
    folder.mkdir(exist_ok=True)
    checkpoint = write_random_checkpoint(folder / "c", hidden=64, intermediate=96, layers=2, heads=2, kv_heads=1,
                                         vocab=vocab, positions=48, seed=1)
    pack(Checkpoint.open(checkpoint), folder / "i", config)
    return ModelImage.open(folder / "i", config)


def golden(image: ModelImage, job: Job) -> list[int]:
    """The tokens that are right."""
    return Driver(GoldenLink(image)).generate(job).tokens


class Bench:
    """A loaded board whose tokens take so long, on a line."""

    def __init__(
        self, image: ModelImage, folder: Path, token_s: float = 0.002, latency_s: float = 0.001, seed: int = 0
    ) -> None:
        beats = sum(image.plan.regions[name].size for name in ("stream", "head")) // CONFIG.stream_bytes
        self.registers = GoldenRegisters(image.plan.config, folder, token_s * CLOCK_HZ / beats)
        board = golden_board(self.registers, MEMORY_BYTES)
        board.memory[: len(image.memory)] = image.memory  # so that loading does not take the time of the test
        self.line = NoisyLine(board, latency_s=latency_s, seed=seed)
        self.registers.connect(lambda address, size: board.memory[address : address + size], self.line.clock)
        self.bus = SerialBus(self.line, BAUD, self.line.clock)
        self.link = MachineLink(image, self.bus)
        self.link.load()
        self.counters = self.bus.exchange.counters
        self.driver = Driver(self.link)

    def generate(self, job: Job, on_token: Callable[[int], None] = lambda token: None) -> Generation:
        """As the driver does."""
        self.registers.accesses.clear()
        return self.driver.generate(job, on_token)

    def written(self) -> list[tuple[str, int]]:
        """Names and values, in order, since `generate` was called."""
        return [(name, value) for name, value in self.registers.accesses if value is not None]

    def names(self) -> list[str]:
        """Those of `written`."""
        return [name for name, _ in self.written()]
