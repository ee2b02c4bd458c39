"""A chip in a folder: /sys and /dev as the kernel shows them, and a golden machine behind the register window.

The file that stands for the u-dma-buf is what the processor's cache holds; the accelerator has a memory of its own.
Only the two sync commands carry bytes from one to the other, so that a forgotten one is seen.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from hw.contract.config import AccelConfig
from hw.contract.register_map import ID_MAGIC, ID_VERSION, find
from sw.links.mmap import BUFFER_NAME, REGISTER_BYTES, UIO_NAME, MmapBus
from tests.sw.links.golden_machine import GoldenMachine
from tests.words import ABORT, BUSY, DONE, START

PHYSICAL = 0x8_7003_4000
"""Address of the buffer: a page, no multiple of 64 KiB, above 4 GiB."""

WAIT_S = 20.0


class ChipInFolder:
    """`memory` is what the accelerator sees. Used as a context: its thread plays the register protocol inside.

    `stuck`: no run that is started ends or moves; an abort ends it. `with_interrupt`: the UIO device has an interrupt,
    and `interrupts` counts how often it came; `deaf` loses it.
    """

    def __init__(self, folder: Path, config: AccelConfig, size: int) -> None:
        self.root, self.config, self.stuck = folder, config, False
        self.memory = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
        self.error: str | None = None
        self.runs = self.interrupts = 0
        self.deaf = self._armed = False
        self._host, self._kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._host.setblocking(False)
        self._kernel.setblocking(False)
        self._open = os.open
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)
        self._golden = GoldenMachine(config, folder, self.register, self._area)
        uio, buffer = folder / "sys/class/uio/uio7", folder / "sys/class/u-dma-buf" / BUFFER_NAME
        for path, text in (
            (folder / "sys/class/uio/uio0/name", "axi-pmon\n"), (uio / "name", f"{UIO_NAME}\n"),
            (uio / "maps/map0/size", f"{REGISTER_BYTES:#018x}\n"), (buffer / "phys_addr", f"{PHYSICAL:#018x}\n"),
            (buffer / "size", f"{size}\n"), (buffer / "sync_for_cpu", ""), (buffer / "sync_for_device", ""),
            (folder / "dev/uio7", "\0" * REGISTER_BYTES), (folder / "dev" / BUFFER_NAME, ""),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        os.truncate(folder / "dev" / BUFFER_NAME, size)
        self._cache = np.memmap(folder / "dev" / BUFFER_NAME, dtype=np.uint8, mode="r+")
        self._registers = np.memmap(folder / "dev/uio7", dtype="<u4", mode="r+")
        self._set("ID", ID_MAGIC << 16 | ID_VERSION)
        self._set("BUILD_ID_LO", config.build_id & 0xFFFFFFFF)
        self._set("BUILD_ID_HI", config.build_id >> 32)

    def _set(self, name: str, value: int) -> None:
        self._registers[find(name).address // 4] = value

    def register(self, name: str) -> int:
        return int(self._registers[find(name).address // 4])

    # ---- the kernel

    def pwrite(self, descriptor: int, word: bytes, offset: int) -> int:
        """Stands for `os.pwrite`: the sync files of the kernel's driver."""
        command = int(word, 0)
        start, size = command >> 32, command & 0xFFFFFFF0
        if offset or not command & 1 or command & 0xC or start + size > len(self.memory):
            raise OSError(errno.EINVAL, "Invalid argument")
        part = slice(start, start + size)
        name = Path(f"/proc/self/fd/{descriptor}").resolve().name
        if name == "sync_for_cpu":
            self._cache[part] = self.memory[part]
        else:
            assert name == "sync_for_device"
            self.memory[part] = self._cache[part]
        return len(word)

    def with_interrupt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Gives the device an interrupt. Reads and writes of its file go to a socket, as a file has no interrupts."""
        node = self.root / "sys/class/uio/uio7/device/of_node/interrupts"
        node.parent.mkdir(parents=True)
        node.write_bytes(bytes(12))
        monkeypatch.setattr(os, "open", self.open)

    def open(self, path: Path, flags: int) -> int:
        """Stands for `os.open`."""
        if path == self.root / "dev/uio7" and flags & os.O_NONBLOCK:
            return os.dup(self._host.fileno())
        return self._open(path, flags)

    def _interrupt(self) -> None:
        """The level of `irq` at an input of the interrupt controller that the host enables each time anew."""
        with suppress(BlockingIOError):
            word = self._kernel.recv(16)
            assert word == (1).to_bytes(4, sys.byteorder)
            self._armed = True
        if self._armed and self.register("STATUS") & DONE and self.register("INTERRUPT") and not self.deaf:
            self._armed = False
            self.interrupts += 1
            self._kernel.send(self.interrupts.to_bytes(4, sys.byteorder))

    def settled(self) -> None:
        """A command register of silicon acts in a few clocks; this one when its thread gets to it. Clocks pass."""
        end = time.monotonic() + WAIT_S
        while self.register("CONTROL"):
            assert time.monotonic() < end, "the device's thread does not answer"
            time.sleep(0.0002)
        assert self.error is None, self.error
        if self.register("STATUS") & BUSY:
            self._set("CYCLES_LO", self.register("CYCLES_LO") + (100_000 if self.stuck else 1))

    # ---- the accelerator

    def __enter__(self) -> ChipInFolder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._host.close()
        self._kernel.close()
        assert self.error is None, self.error

    def _play(self) -> None:
        try:
            while not self._stop.wait(0.0002):
                command = self.register("CONTROL")
                if command & ABORT:
                    self._set("STATUS", 0)
                elif command & START:
                    self._set("TOKEN_COUNT", 0)
                    self._set("STATUS", BUSY)
                if command:
                    self._set("CONTROL", 0)
                if command & START and not self.stuck:
                    self._run()
                self._interrupt()
        except BaseException:
            self.error = traceback.format_exc()

    def _area(self, address: int, size: int) -> np.ndarray:
        start = address - PHYSICAL
        assert 0 <= start <= start + size <= len(self.memory)
        return self.memory[start : start + size]

    def _run(self) -> None:
        tokens = 0
        for token in self._golden.run():
            if token is not None:
                tokens += 1
                self._set("LAST_TOKEN", token)
                self._set("TOKEN_COUNT", tokens)
            self._set("STREAM_BUSY_LO", self.register("STREAM_BUSY_LO") + 1)
        self.runs += 1
        self._set("STATUS", DONE)


@contextmanager
def chip_in_folder(
    folder: Path, config: AccelConfig, size: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ChipInFolder]:
    """A chip whose kernel is in place, and whose commands act while a bus waits."""
    chip = ChipInFolder(folder, config, size)
    monkeypatch.setattr(os, "pwrite", chip.pwrite)
    pause = MmapBus.pause

    async def settled(bus: MmapBus, clocks: int) -> None:
        chip.settled()
        await pause(bus, clocks)

    monkeypatch.setattr(MmapBus, "pause", settled)
    with chip:
        yield chip
