"""A board's block RAM as its memory: AXI4 in front of a `BankArray`."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from boards.memory.bank_array import BANK_READ_LATENCY, BANK_WORD_BITS, GROUP, BankArray, array_words
from boards.memory.port import memory_port
from hw.delay import delayed
from hw.memory.axi import RESPONSE_OKAY, RESPONSE_SLVERR
from hw.streams import Queue
from hw.watch import watch_fifo

__all__ = ["BlockRam", "block_ram_bytes"]

WORD_BYTES = BANK_WORD_BITS // 8
ANSWERS = 16
"""Words read and not yet taken. More than the clocks from a read to its answer and back, so that none is lost."""

ANSWER = data.StructLayout({"data": BANK_WORD_BITS, "last": 1, "id": 1, "wrong": 1})


def block_ram_bytes(banks: int, depth: int) -> int:
    """Size of a BlockRam. Raises ConfigError, as `array_words` does."""
    return array_words(banks, depth) * WORD_BYTES


class BlockRam(wiring.Component):
    """Words of 64 bits from address 0 on, in all bits of the block RAM; zero after configuration.

    A ninth bit can only be written together with its byte. So a write reads the row, changes it and writes it back. The
    words of spare bits, eight rows each, have the lowest addresses: the start of an image, which is written once.

    Rules: bursts are INCR, beats are words; one burst is written at a time, beside reads. What lies beyond the end
    answers SLVERR, a write as a whole, and keeps nothing.
    Latency: 6 clocks from AR to R. Throughput: a word per clock, across bursts too; a write 6 clocks, 41 to spare bits;
    each row that is written takes two clocks of the reads.

    Raises ConfigError, as `array_words` does.

    Members:
        axi: `memory_port` of 64 bits. ready: 1.
    """

    def __init__(self, *, banks: int, depth: int, address_bits: int) -> None:
        self.banks, self.depth, self.words = banks, depth, array_words(banks, depth)
        super().__init__({"axi": In(memory_port(address_bits, BANK_WORD_BITS)), "ready": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi = self.axi
        m.submodules.array = array = BankArray(self.banks, self.depth)
        m.d.comb += self.ready.eq(1)
        word_bits = len(axi.araddr) - exact_log2(WORD_BYTES)
        read_at, write_at, write_turn = Signal(word_bits), Signal(word_bits), Signal()
        target = self._write(m, array, write_at, write_turn)
        m.d.comb += array.address.eq(Mux(write_turn, target, read_at))

        # ---- reads: as many as have room for their answers, in clocks in which no write needs the array
        m.submodules.answers = answers = Queue(ANSWER, ANSWERS)
        watch_fifo(m, platform, answers.i, "the FIFO of words that were read")
        active, left, room = Signal(), Signal(8), Signal(range(ANSWERS + 1), init=ANSWERS)
        read_id, issue, taken = Signal(), Signal(), Signal()
        came = delayed(m, Cat(left == 0, read_id, read_at >= self.words), BANK_READ_LATENCY, name="asked")
        m.d.comb += [
            issue.eq(active & (room != 0) & ~write_turn),
            axi.arready.eq(~active | issue & (left == 0)),
            taken.eq(axi.rvalid & axi.rready),
        ]
        m.d.sync += room.eq(room - issue + taken)
        with m.If(issue):
            m.d.sync += [read_at.eq(read_at + 1), left.eq(left - 1), active.eq(left != 0)]
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [read_at.eq(axi.araddr[-word_bits:]), left.eq(axi.arlen), active.eq(1), read_id.eq(axi.arid)]
        answer = answers.o.payload
        m.d.comb += [
            answers.i.valid.eq(delayed(m, issue, BANK_READ_LATENCY, name="issued")),
            answers.i.payload.eq(Cat(array.o[:BANK_WORD_BITS], came)),
            answers.o.ready.eq(axi.rready),
            axi.rvalid.eq(answers.o.valid),
            axi.rdata.eq(answer.data), axi.rlast.eq(answer.last), axi.rid.eq(answer.id),
            axi.rresp.eq(Mux(answer.wrong, RESPONSE_SLVERR, RESPONSE_OKAY)),
        ]
        return m

    def _write(self, m: Module, array: BankArray, at: Signal, write_turn: Signal) -> Signal:
        """The write side, whose word is at `at`. In clocks of `write_turn` it needs the row at the address returned."""
        axi = self.axi
        space, row = at[array.row_bits :], at[: array.row_bits]
        word, strobe, last = Signal(BANK_WORD_BITS), Signal(WORD_BYTES), Signal()
        byte = Signal(range(GROUP))  # of a word of spare bits: bank of its group
        spare, bank, target = Signal(), Signal(range(array.banks)), Signal(range(self.words))
        row_read = Signal()
        m.d.comb += [
            spare.eq(space < array.groups),
            bank.eq(Mux(spare, Cat(byte, space[: len(bank)]), space - array.groups)),
            target.eq(Cat(row, bank + array.groups)),
            write_turn.eq(row_read | array.write_en), array.write_data.eq(array.o),
        ]
        for n in range(WORD_BYTES):
            with m.If(strobe[n] & ~spare):
                m.d.comb += array.write_data.word_select(n, 8).eq(word.word_select(n, 8))
        with m.If(strobe.bit_select(byte, 1) & spare):
            m.d.comb += array.write_data[BANK_WORD_BITS:].eq(word.word_select(byte, 8))

        row_came = delayed(m, row_read, BANK_READ_LATENCY, name="row_read")
        with m.FSM():
            with m.State("ADDRESS"):
                m.d.comb += axi.awready.eq(1)
                m.d.sync += [at.eq(axi.awaddr[-len(at) :]), axi.bid.eq(axi.awid), axi.bresp.eq(RESPONSE_OKAY)]
                with m.If(axi.awvalid):
                    m.next = "WORD"
            with m.State("WORD"):
                m.d.comb += axi.wready.eq(1)
                m.d.sync += [word.eq(axi.wdata), strobe.eq(axi.wstrb), last.eq(axi.wlast), byte.eq(0)]
                with m.If(axi.wvalid):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += row_read.eq(1)
                m.next = "WRITE"
            with m.State("WRITE"):
                with m.If(row_came):
                    m.d.comb += array.write_en.eq(at < self.words)
                    m.d.sync += byte.eq(byte + 1)
                    with m.If(at >= self.words):
                        m.d.sync += axi.bresp.eq(RESPONSE_SLVERR)
                    with m.If(spare & (byte != GROUP - 1)):
                        m.next = "READ"
                    with m.Else():
                        m.d.sync += at.eq(at + 1)
                        m.next = "WORD"
                        with m.If(last):
                            m.next = "RESPOND"
            with m.State("RESPOND"):
                m.d.comb += axi.bvalid.eq(1)
                with m.If(axi.bready):
                    m.next = "ADDRESS"
        return target
