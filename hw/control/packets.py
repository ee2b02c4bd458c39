"""The packet reader: it separates the headers of the packet stream from their payloads."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
from hw.contract.config import HEADER_BYTES, AccelConfig
from hw.contract.isa import CARRIES_PAYLOAD, HEADER, Opcode
from hw.contract.payloads import stream_beat
from hw.contract.register_map import ErrorCode
from hw.control.header_crc import HeaderCrc
from hw.watch import watch_stream

__all__ = ["PacketReader", "payload_beat"]


class PacketReader(wiring.Component):
    """Splits the beats of a packet stream (docs/isa.md) into headers and payloads.

        i -> header beats -> HeaderCrc, opcode check -> o_header
        |
        +--> payload beats ---------------------------> o_payload

    Rules: the header is offered on `o_header` before its payload. The payload starts when the header has been accepted,
    because the header selects the unit that receives the payload. The next header starts after the last payload beat. A
    header is an error if its CRC is wrong, if its opcode does not exist, if it announces a payload that its opcode does
    not have, or if it lacks the payload of its opcode. Such a header is not offered: `o_error` is set until reset, and
    no further beat is accepted.

    Latency: a header is offered in the clock after its last beat; the payload passes combinationally, one beat per
    clock. Cost per packet: `config.header_beats` clocks to collect the header and one to pass it on.

    Members:
        i: beats of the stream.
        o_header: HEADER.
        o_payload: the beats of the payload, with `last`.
        o_error: NONE, HEADER_CRC or BAD_OPCODE.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(stream_beat(config))),
            "o_header": Out(stream.Signature(HEADER)),
            "o_payload": Out(stream.Signature(payload_beat(config))),
            "o_error": Out(ErrorCode),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o_payload, "o_payload")
        beats = self.config.header_beats
        step = min(8 * self.config.stream_bytes, 8 * HEADER_BYTES)
        collected = Signal(8 * HEADER_BYTES)
        count = Signal(range(beats + 1))
        bounded(platform, count, "beats of a header", "32 / beat of the stream", beats)
        left = Signal(32)
        header = Signal(HEADER)
        taken = Cat(*self.i.payload)[:step]
        m.d.comb += [header.eq(collected), self.o_header.payload.eq(header)]
        watch_stream(m, platform, self.o_header, "o_header")
        m.submodules.crc = crc = HeaderCrc(self.config)
        m.d.comb += [crc.beat.eq(taken), crc.first.eq(count == 0)]

        with m.FSM():
            with m.State("HEADER"):
                m.d.comb += self.i.ready.eq(1)
                m.d.comb += crc.valid.eq(self.i.valid)
                with m.If(self.i.valid):
                    m.d.sync += [collected.eq(Cat(collected, taken)[-8 * HEADER_BYTES :]), count.eq(count + 1)]
                    with m.If(count == beats - 1):
                        m.d.sync += count.eq(0)
                        m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += left.eq(header.payload_beats)
                with m.If(crc.right & _is_command(m, header)):
                    m.d.comb += self.o_header.valid.eq(1)
                    with m.If(self.o_header.ready):
                        m.next = "HEADER"
                        with m.If(header.payload_beats != 0):
                            m.next = "PAYLOAD"
                with m.Else():
                    m.d.sync += self.o_error.eq(Mux(crc.right, ErrorCode.BAD_OPCODE, ErrorCode.HEADER_CRC))
                    m.next = "ERROR"
            with m.State("PAYLOAD"):
                m.d.comb += [
                    self.o_payload.valid.eq(self.i.valid),
                    self.o_payload.payload.data.eq(self.i.payload),
                    self.o_payload.payload.last.eq(left == 1),
                    self.i.ready.eq(self.o_payload.ready),
                ]
                with m.If(self.i.valid & self.o_payload.ready):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "HEADER"
            with m.State("ERROR"):
                pass  # until reset
        return m


def payload_beat(config: AccelConfig) -> data.StructLayout:
    """A beat of payload and whether it is the packet's last."""
    return data.StructLayout({"data": stream_beat(config), "last": 1})


def _is_command(m: Module, header: data.View) -> Value:
    """Whether the opcode exists and carries a payload exactly if it must."""
    known, needs = Signal(), Signal()
    with m.Switch(header.opcode):
        for opcode in Opcode:
            with m.Case(opcode.value):
                m.d.comb += [known.eq(1), needs.eq(opcode in CARRIES_PAYLOAD)]
    return known & (needs == (header.payload_beats != 0))
