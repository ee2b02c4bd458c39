"""Memory of the vectors of all columns: residual stream and work area."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.payloads import column_values

__all__ = ["Scratchpad", "scratchpad_address", "scratchpad_depth", "scratchpad_read", "scratchpad_write"]


def scratchpad_depth(config: AccelConfig) -> int:
    """Words of V floats: `column_words` per column, one column after the other."""
    return config.columns * config.column_words


def scratchpad_address(m: Module, config: AccelConfig, *, column: Value, word: Value) -> Signal:
    """Address of a word of a column: column * column_words + word."""
    address = Signal(range(scratchpad_depth(config)))
    m.d.comb += address.eq(column * config.column_words + word)
    return address


def scratchpad_read(config: AccelConfig) -> wiring.Signature:
    """A read port, seen from the reader: `data` of `addr` one clock after `en`; it holds while `en` is low."""
    return wiring.Signature({
        "en": Out(1),
        "addr": Out(range(scratchpad_depth(config))),
        "data": In(column_values(config)),
    })


def scratchpad_write(config: AccelConfig) -> wiring.Signature:
    """A write port, seen from the writer: all V floats of a word at once."""
    return wiring.Signature({
        "en": Out(1),
        "addr": Out(range(scratchpad_depth(config))),
        "data": Out(column_values(config)),
    })


class Scratchpad(wiring.Component):
    """Stores `scratchpad_depth` words of V machine floats in block RAM: per column the residual stream, then the work
    area.

    Rules: a word can be read from the clock after its write; a read in the clock of the write returns the word before.
    The content is zero until written.

    Throughput: one read and one write per clock.

    Members:
        read: the read port.
        write: the write port.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({"read": In(scratchpad_read(config)), "write": In(scratchpad_write(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.words = words = memory.Memory(
            shape=column_values(config), depth=scratchpad_depth(config), init=[])
        write, read = words.write_port(), words.read_port()
        m.d.comb += [
            write.en.eq(self.write.en),
            write.addr.eq(self.write.addr),
            write.data.eq(self.write.data),
            read.en.eq(self.read.en),
            read.addr.eq(self.read.addr),
            self.read.data.eq(read.data),
        ]
        return m
