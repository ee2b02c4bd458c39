"""What Ddr3Training sees of a controller and its chip: registers, one row of memory, and where reads are right.

Also the choice that it should make, found on another way.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

LANES, BITSLIPS, DELAYS = 2, 4, 8
CS, WE, CAS, RAS, WRITE_DATA, READ_DATA = 1, 2, 4, 8, 16, 32

Map = Sequence[Sequence[Sequence[bool]]]
"""By lane, bitslip and delay: reads are right."""


def expected_choice(works: Map) -> list[tuple[int, int]] | None:
    """Bitslip and delay of each lane, from a list of all windows; None if a lane has none of two delays or more."""
    choice = []
    for lane in works:
        windows = [
            (last - first + 1, -bitslip, -first)
            for bitslip, row in enumerate(lane)
            for first in range(DELAYS) for last in range(first + 1, DELAYS) if all(row[first : last + 1])
        ]
        if not windows:
            return None
        length, bitslip, first = max(windows)
        choice.append((-bitslip, (-2 * first + length - 1) // 2))
    return choice


class Phy:
    """Registers by address. A wrong order of accesses is an assertion here, data that went wrong are not.

    Attributes:
        works: where reads are right; elsewhere one bit of the lane's eight bytes is wrong, now and then all of them.
        blind: lanes whose strobe is never seen. stuck: lanes of which it is told that it always is.
        place: bitslip and delay of each lane. control, opened: what the controller was told last.
    """

    def __init__(self, registers: dict[str, int], phases: tuple[int, int], works: Map, seed: int) -> None:
        self.names = {address: name for name, address in registers.items()}
        for name in ("wrdata", "rddata"):  # of two words
            for phase in range(2):
                self.names[registers[f"sdram_dfii_pi{phase}_{name}"] + 4] = f"sdram_dfii_pi{phase}_{name}_low"
        self.values = dict.fromkeys(self.names.values(), 0)
        self.read_phase, self.write_phase = phases
        self.works, self.random = works, random.Random(seed)
        self.blind: set[int] = set()
        self.stuck: set[int] = set()
        self.place = [(3, 5)] * LANES
        self.opened, self.open_row, self.tests = 0, False, 0
        self.memory = [0] * 16

    @property
    def control(self) -> int:
        return self.values["sdram_dfii_control"]

    def read(self, address: int) -> int:
        name = self.names[address]
        if name == "ddrphy_burstdet_seen":
            return self.values[name] | sum(1 << lane for lane in self.stuck)
        return self.values[name]

    def write(self, address: int, value: int) -> None:
        name = self.names[address]
        self.values[name] = value
        if name.startswith("ddrphy_rdly"):
            selected = self.values["ddrphy_dly_sel"]
            assert value == 1
            assert selected
            for lane in range(LANES):
                if selected >> lane & 1:
                    self._move(lane, name.removeprefix("ddrphy_rdly_dq_"))
        elif name == "ddrphy_burstdet_clr":
            self.values["ddrphy_burstdet_seen"] = 0
        elif name.endswith("command_issue"):
            assert self.control & 1 == 0, "a command by register while the controller is in charge"
            self._command(int(name.removeprefix("sdram_dfii_pi")[0]))
        elif name == "ddrctrl_init_done":
            assert self.control == 1
            self.opened = value

    def _move(self, lane: int, action: str) -> None:
        bitslip, delay = self.place[lane]
        self.place[lane] = {
            "rst": (bitslip, 0), "inc": (bitslip, (delay + 1) % DELAYS),
            "bitslip_rst": (0, delay), "bitslip": ((bitslip + 1) % BITSLIPS, delay),
        }[action]

    def _command(self, phase: int) -> None:
        prefix = f"sdram_dfii_pi{phase}_"
        command = self.values[prefix + "command"]
        assert self.values["ddrphy_dly_sel"] == 0, "a command while lanes are paused"
        if command in (RAS | CAS | WE | CS, WE | CS):  # of the chip's start: mode registers, calibration
            return
        assert self.values[prefix + "address"] == self.values[prefix + "baddress"] == 0
        words = [f"sdram_dfii_pi{n}_{{}}{part}" for n in range(2) for part in ("", "_low")]
        if command == RAS | CS:
            assert not self.open_row
            self.open_row = True
        elif command == RAS | WE | CS:
            self.open_row = False
        elif command == CAS | WE | CS | WRITE_DATA:
            assert self.open_row
            assert phase == self.write_phase
            self.memory = [byte for word in words for byte in self.values[word.format("wrdata")].to_bytes(4, "little")]
        else:
            assert command == CAS | CS | READ_DATA
            assert self.open_row
            assert phase == self.read_phase
            self.tests += 1
            content = bytes(self._through_lane(n % LANES, n // LANES, byte) for n, byte in enumerate(self.memory))
            for n, word in enumerate(words):
                self.values[word.format("rddata")] = int.from_bytes(content[4 * n : 4 * n + 4], "little")

    def _through_lane(self, lane: int, number: int, byte: int) -> int:
        """A byte of a burst, which is the `number`-th of its lane; the first draws where the error will be."""
        if number == 0:
            self.values["ddrphy_burstdet_seen"] |= (lane not in self.blind) << lane
            self.wrong = self.wrong if lane else {}
            # One of the three patterns of a test always fails; the others may come through.
            fails = not self._right(lane) and (self.tests % 3 == 0 or self.random.random() < 0.3)
            self.wrong[lane] = (self.random.randrange(8), 1 << self.random.randrange(8)) if fails else None
            if fails and self.random.random() < 0.2:
                self.wrong[lane] = (range(8), 0xFF)
        wrong = self.wrong[lane]
        if wrong and (number in wrong[0] if isinstance(wrong[0], range) else number == wrong[0]):
            return byte ^ wrong[1]
        return byte

    def _right(self, lane: int) -> bool:
        bitslip, delay = self.place[lane]
        return self.works[lane][bitslip][delay]
