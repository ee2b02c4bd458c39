"""An accelerator at the registers of a golden board: what it computes is the golden model's, and takes time of the
line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from math import ceil
from pathlib import Path

from hw.contract.config import AccelConfig
from hw.contract.register_map import ID_MAGIC, ID_VERSION, REGISTERS, encode, find
from hw.contract.serial_link_protocol import LinkStatus
from sim.golden.serial_link import GoldenBoard
from tests.sw.links.golden_machine import Area, GoldenMachine
from tests.words import ABORT, BUSY, START

CLOCK_HZ = 50_000_000
NAMES = {register.address: register.name for register in REGISTERS}
HELD = {register.address - 4: register.name for register in REGISTERS if register.held}
"""Registers that are kept when the one at an address is read."""

COMPUTED = ("STATUS", "TOKEN_COUNT", "LAST_TOKEN", "CYCLES_LO", "CYCLES_HI", "STREAM_BUSY_LO",
            "STREAM_BUSY_HI")


class GoldenRegisters:
    """The registers behind a `GoldenBoard`. A beat of the packet stream takes `clocks_per_beat`; a run is computed when
    it starts, and shown as its time passes.

    `accesses` are all that were executed: name and value of a write, name and None of a read. `runs` counts starts.
    """

    def __init__(self, config: AccelConfig, folder: Path, clocks_per_beat: float) -> None:
        self.config, self.clocks_per_beat = config, clocks_per_beat
        self.accesses: list[tuple[str, int | None]] = []
        self.runs = 0
        self._folder = folder
        self._values = dict.fromkeys(NAMES.values(), 0) | {
            "ID": ID_MAGIC << 16 | ID_VERSION, "BUILD_ID_LO": config.build_id & 0xFFFFFFFF,
            "BUILD_ID_HI": config.build_id >> 32,
        }
        self._tokens: list[int] = []
        self._beats: list[int] = []  # of the stream, until each token; the last entry is the end of the run
        self._started: float | None = None
        self._held = 0

    def connect(self, area: Area, clock: Callable[[], float]) -> None:
        """To the memory of the board, and the time of its line."""
        self._clock = clock
        self._golden = GoldenMachine(self.config, self._folder, self._values.__getitem__, area)

    def _start(self) -> None:
        request = self._golden.request()
        self._tokens = [token for token in self._golden.run() if token is not None]
        self._values |= {name.upper(): count for name, count in asdict(self._golden.heads).items()}
        stream = self._values["STREAM_BEATS"]
        head = self._values["HIGH_BEATS" if request.reads_high_plane else "LM_HEAD_BEATS"]
        together = self.config.head_columns
        self._beats = [request.passes(made) * stream + request.lm_heads(made, together) * head
                       for made in range(1, len(self._tokens) + 1)] or [request.passes(0) * stream]
        self._started = self._clock()
        self.runs += 1

    @property
    def due(self) -> list[float]:
        """Times at which the tokens of the last run were made."""
        assert self._started is not None
        return [self._started + beats * self.clocks_per_beat / CLOCK_HZ for beats in self._beats]

    def _computed(self, name: str) -> int:
        if self._started is None:
            return 0
        clocks = min(int((self._clock() - self._started) * CLOCK_HZ), ceil(self._beats[-1] * self.clocks_per_beat))
        beats = int(clocks / self.clocks_per_beat)
        made = sum(beats >= due for due in self._beats) if self._tokens else 0
        words = encode({
            "busy": int(beats < self._beats[-1]), "done": int(beats >= self._beats[-1]), "token_count": made,
            "last_token": self._tokens[made - 1] if made else 0, "cycles": clocks, "stream_busy": beats,
        })
        if find(name).held:
            return self._held
        self._held = words.get(HELD.get(find(name).address, ""), self._held)
        return words[name]

    def read(self, address: int) -> int | LinkStatus:
        name = NAMES[address]
        self.accesses.append((name, None))
        return self._computed(name) if name in COMPUTED else self._values[name]

    def write(self, address: int, value: int) -> LinkStatus:
        name = NAMES[address]
        self.accesses.append((name, value))
        if name != "CONTROL":
            assert self._computed("STATUS") != BUSY, f"{name} was written while busy"
            self._values[name] = value
        elif value & ABORT:
            self._started = None
        elif value & START:
            self._start()
        return LinkStatus.OK


def golden_board(registers: GoldenRegisters, memory_bytes: int) -> GoldenBoard:
    """A board with these registers; they are to be connected when the line is there."""
    return GoldenBoard(registers.config, registers, memory_bytes=memory_bytes, clock_hz=CLOCK_HZ)
