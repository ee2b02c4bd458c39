"""Link to a whole board in Verilator, over its simulated serial link."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager

from boards.board import AnyBoard
from sim.boards.build import baud, build_simulator, check_simulated
from sim.boards.simulator import BoardSimulator
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.links.exchange import LinkError
from sw.links.link import Link, RunStats, Step
from sw.links.machine import MachineLink
from sw.links.serial import BAUDS, connect
from sw.requests import Request
from sw.scrub import Progress

__all__ = ["SimulatedBoardLink"]


class SimulatedBoardLink(Link):
    """Executes requests by the serial link on a board that is simulated from pin to pin.

    The simulator starts with the first use and ends with `close`. The time-outs of the link go by its clock, so that a
    slow simulation is not taken for a silent board. Raises HardwareError as the serial link does; where the simulator
    has ended, one that says so.
    """

    def __init__(self, image: ModelImage, board: AnyBoard) -> None:
        super().__init__(image.plan)
        self.image, self.board = image, check_simulated(board)
        self._simulator: BoardSimulator | None = None
        self._link: MachineLink | None = None

    @property
    def stats(self) -> RunStats | None:
        """As `MachineLink.stats`."""
        return self._link.stats if self._link else None

    def build(self) -> int:
        """Builds the simulator, or finds it. Its id is that of the board, which its Verilog is made of."""
        build_simulator(self.board)
        return self.board.config.build_id

    @contextmanager
    def _machine(self) -> Iterator[MachineLink]:
        """The connected board. If the simulator ended, its error replaces that of the serial link."""
        try:
            if self._simulator is None:
                self._simulator = BoardSimulator(build_simulator(self.board), baud(self.board))
            if self._link is None:
                bus = connect(self._simulator.port, BAUDS[:1], self._simulator.clock)
                self._link = MachineLink(self.image, bus)
                self._link.stop = self.stop
            yield self._link
        except LinkError as error:
            failure = self._simulator and self._simulator.failure()
            if failure:
                raise HardwareError(failure) from error
            raise

    def load(self, progress: Progress) -> None:
        """As `MachineLink.load`."""
        with self._machine() as machine:
            machine.load(progress)

    def scrub(self, progress: Progress) -> None:
        """As `MachineLink.scrub`."""
        with self._machine() as machine:
            machine.scrub(progress)

    def run(self, request: Request) -> Generator[Step, None, None]:
        """As `MachineLink.run`."""
        with self._machine() as machine:
            yield from machine.run(request)

    def close(self) -> None:
        """Ends the simulator. May be called again."""
        if self._link:
            self._link.close()
        if self._simulator:
            self._simulator.close()
