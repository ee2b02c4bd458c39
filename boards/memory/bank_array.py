"""Block RAM array of 64-bit words that also uses the ninth bit of each byte, as additional words."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.contract.config import ConfigError, ceil_div
from hw.delay import delayed

__all__ = ["BANK_READ_LATENCY", "BANK_WORD_BITS", "GROUP", "ROW_BITS", "BankArray", "array_words"]

BANK_WORD_BITS = 64
GROUP = 8
"""Banks that have, at one address, the spare bits of a word; also the spare bits of a bank."""

ROW_BITS = BANK_WORD_BITS + GROUP
BANK_READ_LATENCY = 4


def array_words(banks: int, depth: int) -> int:
    """Words of a BankArray. Raises ConfigError if there are no banks, or their depth is not a power of two."""
    if banks < 1 or depth < 2 or depth & (depth - 1):
        raise ConfigError(f"block RAM needs at least one bank, of a power of two of rows, not {banks} of {depth}")
    return (banks + banks // GROUP) * depth


class BankArray(wiring.Component):
    """`banks` memories of `depth` rows of 72 bits: a word, above it 8 spare bits, one for each byte.

    A word address is Cat(row, space). The spaces 0 to `groups` - 1 are the spare bits: byte i of a word of space g are
    those of bank 8 g + i in the same row. The spaces behind are the banks, in order.

    A bank reads or writes, through one port: half the wires to the blocks, which are all over the chip.

    Latency: BANK_READ_LATENCY clocks, a read per clock. A row that was written can be read from the next clock on.
    Cost on ECP5: banks * depth / 256 DP16KD, if a bank has 512 rows or more. With 2,048 rows a block has one byte of
    the word, with fewer more bytes of fewer rows, and so more wires.

    Raises ConfigError, as `array_words` does.

    Attributes:
        groups: words of spare bits per row. words: of the whole array.

    Members:
        address: word to read. o: the row of a bank; for a word of spare bits 0 above it. Undefined beyond the end.
        write_en, write_data: write the row of a bank at `address`, instead of reading; `o` is undefined then.
    """

    def __init__(self, banks: int, depth: int) -> None:
        self.banks, self.depth, self.words = banks, depth, array_words(banks, depth)
        self.groups, self.row_bits = banks // GROUP, exact_log2(depth)
        super().__init__({
            "address": In(range(self.words)), "o": Out(ROW_BITS),
            "write_en": In(1), "write_data": In(ROW_BITS),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # From registers, since the way to the blocks is long.
        address, write_en, write_data = Signal.like(self.address), Signal(), Signal(ROW_BITS)
        m.d.sync += [address.eq(self.address), write_en.eq(self.write_en), write_data.eq(self.write_data)]
        row, space = address[: self.row_bits], address[self.row_bits :]
        rows = []
        for n in range(self.banks):
            m.submodules[f"bank_{n}"] = bank = memory.Memory(shape=ROW_BITS, depth=self.depth, init=[])
            write, read = bank.write_port(), bank.read_port()
            m.d.comb += [
                write.en.eq(write_en & (space == n + self.groups)),
                write.addr.eq(row),
                write.data.eq(write_data),
                read.en.eq(~write_en),
                read.addr.eq(row),
            ]
            rows.append(read.data)

        # A clock later: which bank, or which group's spare bits.
        bank, group, spare = Signal(range(self.banks)), Signal(range(ceil_div(self.banks, GROUP))), Signal()
        m.d.sync += [bank.eq(space - self.groups), spare.eq(space < self.groups)]
        m.d.comb += group.eq(bank // GROUP)
        spare_group = delayed(m, space, 1, name="spare_group")
        with m.If(spare):
            m.d.comb += group.eq(spare_group)

        # Every group has a register, so that no path leads from a block RAM through all of the choice.
        chosen = []
        for n in range(ceil_div(self.banks, GROUP)):
            mine = rows[n * GROUP : (n + 1) * GROUP]
            row = Signal(ROW_BITS, name=f"group_{n}")
            with m.Switch(bank % GROUP):
                for place, data in enumerate(mine):
                    with m.Case(place):
                        m.d.sync += row.eq(data)
            if n < self.groups:
                with m.If(spare):
                    m.d.sync += row.eq(Cat(data[BANK_WORD_BITS:] for data in mine))
            chosen.append(row)
        m.d.sync += self.o.eq(Array(chosen)[delayed(m, group, 1, name="group")])
        return m
