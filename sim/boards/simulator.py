"""Process that simulates a board and has a serial port."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import tempfile
import tty
import weakref
from pathlib import Path

from sw.errors import HardwareError

__all__ = ["BoardSimulator"]

STILL_LOOKS = 120_000
"""Looks at a clock that stands still before the simulator counts as hung: 120 s at least, because the serial link waits
for 1 ms between two of them. Seconds would also pass while this process is stopped, and the simulator with it."""

END_S = 5
"""Seconds that a simulator which has closed its port may take to end."""


def _end(process: subprocess.Popen[bytes], slave: int, folder: Path) -> None:
    """End the process and remove its folder."""
    process.kill()
    process.wait()
    os.close(slave)
    shutil.rmtree(folder, ignore_errors=True)


class BoardSimulator:
    """Starts the program that `build_simulator` has made. It ends with this object, and with this process.

    `port` is the name of the serial port, where any bit rate is right.
    """

    def __init__(self, program: Path, baud: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=f"bitnet-fpga-board-{os.getpid()}-"))
        self._log = self._folder / "simulation.log"
        master, slave = os.openpty()
        tty.setraw(slave)
        self.port = os.ttyname(slave)
        with (self._folder / "clock").open("w+b") as clock, self._log.open("wb") as log:
            clock.truncate(mmap.PAGESIZE)
            self._time = mmap.mmap(clock.fileno(), mmap.PAGESIZE)
            self._process = subprocess.Popen(
                [program, str(master), str(clock.fileno()), str(10**12 // baud)], pass_fds=[master, clock.fileno()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )
        os.close(master)
        self._last, self._looks = 0, 0
        self.close = weakref.finalize(self, _end, self._process, slave, self._folder)
        """Ends what still runs and removes its folder; harmless afterwards."""

    def clock(self) -> float:
        """Simulated seconds. Raises HardwareError if simulated time stops."""
        now = int.from_bytes(self._time[:8], "little")
        self._looks = self._looks + 1 if now == self._last else 0
        self._last = now
        if self._looks > STILL_LOOKS:
            raise HardwareError(f"the simulator of the board hangs at {now / 1e12:.6f} s of simulated time: start it "
                                "again")
        return now / 1e12

    def failure(self) -> str | None:
        """Why the simulator has ended; None if it still runs. Its log is kept."""
        try:
            code = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            return None
        self.close.detach()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        said = self._log.read_text(errors="replace").splitlines()
        why = next((f": {line}" for line in said if "$finish" not in line), "")
        return f"the simulator of the board ended with {how}{why} (log: {self._log})"
