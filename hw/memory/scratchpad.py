"""Memory of the vectors of all columns: residual stream and work area."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.contract.config import AccelConfig, ceil_div
from hw.contract.payloads import column_values, quantize_values
from hw.watch import ultra_ram

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

    Where Quantize takes two words per clock, words of even and of odd addresses lie in a memory each, so that a word
    and the one behind it can be read at once.

    Rules: a word can be read from the clock after its write; a read in the clock of the write returns the word before.
    The content is zero until written.

    Throughput: one read and one write per clock.

    Members:
        read: the read port.
        values: what is read, for Quantize: the same word and, where Q is 2 V, the one behind it.
        write: the write port.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "read": In(scratchpad_read(config)),
            "values": Out(quantize_values(config)),
            "write": In(scratchpad_write(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        banks = config.quantize_lanes // config.vector
        shift = exact_log2(banks)
        first = Signal(range(max(2, banks)))  # the bank of the word that was read
        words = Signal(data.ArrayLayout(column_values(config), banks))
        with m.If(self.read.en):
            m.d.sync += first.eq(self.read.addr[:shift])
        for n in range(banks):
            m.submodules[f"bank_{n}"] = bank = memory.Memory(
                shape=column_values(config), depth=ceil_div(scratchpad_depth(config), banks), init=[],
                attrs=ultra_ram(platform))
            write, read = bank.write_port(), bank.read_port()
            m.d.comb += [
                write.en.eq(self.write.en & (self.write.addr[:shift] == n)),
                write.addr.eq(self.write.addr >> shift),
                write.data.eq(self.write.data),
                read.en.eq(self.read.en),
                read.addr.eq((self.read.addr + (banks - 1 - n)) >> shift),
                words[n].eq(read.data),
            ]
        m.d.comb += [
            self.values.eq(Cat(words[(first + n)[:shift] if shift else 0].as_value() for n in range(banks))),
            self.read.data.eq(self.values.as_value()),
        ]
        return m
