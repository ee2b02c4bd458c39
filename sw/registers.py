"""The registers of a machine on a bus, board or simulator alike: in lists, by name, and only those that change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hw.contract.config import AccelConfig
from hw.contract.register_map import ID_MAGIC, ID_VERSION, decode, encode, find, registers_of
from sw.errors import HardwareError

__all__ = ["ABORT_PAUSES", "Bus", "Machine", "abort", "check_identity", "read_build_id"]

ABORT_PAUSES = 1000
"""Pauses that an abort may take; the memory answers all outstanding bursts in the meantime."""

IDENTITY_REGISTERS = ("id_version", "id_magic", "build_id")
STATUS = ("busy", "done", "error", "error_port")


class Bus(Protocol):
    """Registers and memory of a machine. It is asynchronous, so that a simulator can let clocks pass inside `await`."""

    async def read_registers(self, addresses: Sequence[int]) -> list[int]:
        """32-bit registers, each read after the one before."""
        ...

    async def write_registers(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Address and value of 32-bit registers, each written once, after the one before.

        Where a write fails those behind it may have been done.
        """
        ...

    async def read_memory(self, address: int, size: int) -> NDArray[np.uint8]:
        """Bytes of memory."""
        ...

    async def write_memory(self, address: int, content: bytes) -> None:
        """Bytes of memory."""
        ...

    async def pause(self, clocks: int) -> None:
        """Lets the machine run before it is asked again: for about so many of its clocks and at least for a moment, or
        for a moment alone where it costs next to nothing to ask."""
        ...


async def _read(bus: Bus, *names: str) -> dict[str, int]:
    """Values by name. Their registers are read one after the other, in the order of the names."""
    registers = registers_of(names)
    words = await bus.read_registers([find(name).address for name in registers])
    return decode(dict(zip(registers, words, strict=True)))


async def _write(bus: Bus, words: Mapping[str, int]) -> None:
    """Words of registers by name, one after the other."""
    await bus.write_registers([(find(name).address, word) for name, word in words.items()])


def _build_id(values: Mapping[str, int]) -> int:
    if values["id_magic"] != ID_MAGIC:
        word = encode({name: values[name] for name in ("id_version", "id_magic")})["ID"]
        raise HardwareError(f"no accelerator answers: its ID register reads {word:#010x}; load the bitstream")
    if values["id_version"] != ID_VERSION:
        raise HardwareError(f"the accelerator has register map {values['id_version']}, this driver {ID_VERSION}: "
                            "use host software and bitstream of the same commit")
    return values["build_id"]


def _check_build(values: Mapping[str, int], config: AccelConfig) -> None:
    build_id = _build_id(values)
    if build_id != config.build_id:
        raise HardwareError(
            f"the accelerator is build {build_id:016x}, preset {config.name} is {config.build_id:016x}: "
            "use the preset that it was built with"
        )


async def read_build_id(bus: Bus) -> int:
    """Raises HardwareError if nothing sensible answers."""
    return _build_id(await _read(bus, *IDENTITY_REGISTERS))


async def check_identity(bus: Bus, config: AccelConfig) -> None:
    """Raises HardwareError if nothing sensible answers, or a machine of another build."""
    _check_build(await _read(bus, *IDENTITY_REGISTERS), config)


async def abort(bus: Bus) -> None:
    """Ends a run, clears its error, and returns when the machine is ready for the next one.

    Raises HardwareError if it does not get there, because its memory never answers a burst.
    """
    await _write(bus, encode({"abort": 1}))
    for _ in range(ABORT_PAUSES):
        if not any((await _read(bus, *STATUS)).values()):
            return
        await bus.pause(0)
    raise HardwareError(
        "the abort did not end, because the memory has not answered every burst: power-cycle the board or load its "
        "bitstream again, and run `bitnet-fpga doctor --board NAME`"
    )


class Machine:
    """A machine behind a bus, with what is known of it from run to run: the values of its registers, and its pace.

    Registers keep their values, so a run writes only those that change, if the run before it ended well and nothing has
    happened to the machine since: STATUS says `done`, and CYCLES is what that run left. A reset changes both, and a run
    of another program changes CYCLES. Otherwise a run writes all registers.

    `paces`: clocks per beat of the packet stream, by the kind of run; filled and used by `sw.pace.Pace`.
    """

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.paces: dict[tuple[type, int, bool], float] = {}
        self._written: dict[str, int] = {}
        self._ended: int | None = None

    async def settle(self, config: AccelConfig) -> None:
        """To be called before a run. A machine that is busy, or keeps the error of a run before, is aborted.

        Raises HardwareError as `check_identity` and `abort`.
        """
        ended, self._ended = self._ended, None
        found = await _read(self.bus, *IDENTITY_REGISTERS, *STATUS, *(() if ended is None else ("cycles",)))
        _check_build(found, config)
        unclean = found["busy"] or found["error"] or found["error_port"]
        if ended is None or unclean or not found["done"] or found["cycles"] != ended:
            self._written.clear()
        if unclean:
            await abort(self.bus)

    async def start(self, values: Mapping[str, int]) -> None:
        """Writes these values, by name, to the registers and starts a run, in one list that ends with the start."""
        changed = {name: word for name, word in encode(values).items() if self._written.get(name) != word}
        self._written |= changed
        await _write(self.bus, changed | encode({"start": 1}))

    async def read(self, *names: str) -> dict[str, int]:
        """Values by name; their registers are read one after the other, in the order of the names."""
        return await _read(self.bus, *names)

    def ended(self, cycles: int) -> None:
        """To be called after a run that ended well, with its clocks: the registers are what they were."""
        self._ended = cycles
