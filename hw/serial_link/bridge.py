"""Executes requests: the state machine of docs/link-protocol.md, which tells new requests from repeated ones."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.serial_link_protocol import (
    BUFFER_BYTES,
    ENTRY,
    IDENTITY,
    PAYLOAD_BYTES,
    PROTOCOL_VERSION,
    REQUEST,
    WRITES,
    Command,
    LinkStatus,
)
from hw.control.registers import axi_lite_signature
from hw.memory.axi import AxiError, axi_signature
from hw.serial_link.byte_access import ByteReader, ByteWriter
from hw.serial_link.register_access import RegisterAccess
from hw.watch import watch_stream

__all__ = ["Bridge"]


class Bridge(wiring.Component):
    """Executes the requests of the host one at a time, in order: it accesses registers and memory, and sends answers.

    Rules (docs/link-protocol.md): only the request with the next sequence number is new. One of the 128 before it is
    answered again, but a write is not executed again. All other requests are lost; the bridge answers REPEAT once per
    loss. Every wait has a time-out except the wait for the line.

    Cost: 12 clocks for the header, a few for the decision, one per byte of payload or checksum, and the clocks of
    memory and registers.

    Members:
        i: requests, whole frames without CRC.
        o: answers, whole frames without CRC.
        damaged: a frame was lost.
        m_axi: memory.
        m_axi_lite: registers.
    """

    def __init__(self, config: AccelConfig, *, clock_hz: int, memory_bytes: int, register_bits: int) -> None:
        self.config, self.register_bits = config, register_bits
        self.identity = IDENTITY.const({
            "version": PROTOCOL_VERSION, "payload_bytes": PAYLOAD_BYTES, "buffer_bytes": BUFFER_BYTES,
            "clock_hz": clock_hz, "build_id": config.build_id, "memory_bytes": memory_bytes,
        }).as_bits()
        super().__init__({
            "i": In(stream.Signature(ENTRY)), "o": Out(stream.Signature(ENTRY)), "damaged": In(1),
            "m_axi": Out(axi_signature(config)), "m_axi_lite": Out(axi_lite_signature(register_bits)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reader = reader = ByteReader(self.config)
        m.submodules.writer = writer = ByteWriter(self.config)
        m.submodules.registers = registers = RegisterAccess(self.config, self.register_bits)
        m.submodules.crc = crc = catalog.CRC32_ISO_HDLC(8).create()
        m.submodules.statuses = statuses = memory.Memory(shape=LinkStatus, depth=256, init=[])
        for part in (reader, writer):
            for name, member in part.axi.signature.members.items():
                mine, theirs = getattr(self.m_axi, name), getattr(part.axi, name)
                m.d.comb += mine.eq(theirs) if member.flow is Out else theirs.eq(mine)
        wiring.connect(m, registers.axi, wiring.flipped(self.m_axi_lite))
        watch_stream(m, platform, self.o, "o")

        request = Signal(REQUEST)
        command = request.command
        expected = Signal(8)  # sequence number of the next new request
        session = Signal()    # a HELLO came since the reset
        lost, asked = Signal(), Signal()  # a request is missing; REPEAT was sent for it
        act, forget = Signal(), Signal()  # the request is to be executed; it gets no answer
        status = Signal(LinkStatus)
        index = Signal(5)
        value = Signal(32)  # of a register
        entry = self.i.payload
        payload = Signal()  # a byte of payload is valid
        done = statuses.write_port()
        before = statuses.read_port()
        m.d.comb += [
            payload.eq(self.i.valid & ~entry.end),
            done.addr.eq(request.sequence), done.data.eq(status), before.addr.eq(request.sequence), before.en.eq(1),
            reader.address.eq(request.address), reader.length.eq(request.length),
            writer.address.eq(request.address), writer.length.eq(request.length),
            registers.address.eq(request.address), registers.value.eq(value),
            registers.write.eq(command == Command.WRITE_REGISTER.value),
            writer.i.payload.byte.eq(entry.byte), writer.i.payload.write.eq(~entry.end),
            crc.data.eq(reader.o.payload),
        ]

        def is_(*commands: Command):
            return Cat(*(command == one.value for one in commands)).any()

        age = Signal(8)  # 0: new; 1 to 128: executed before; else from the future
        size_ok = Signal()
        m.d.comb += [
            age.eq(expected - request.sequence),
            size_ok.eq(~is_(Command.READ_MEMORY, Command.WRITE_MEMORY, Command.FILL_MEMORY)
                       | (request.length <= PAYLOAD_BYTES)),
        ]
        answer = self.o.payload
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [index.eq(0), status.eq(LinkStatus.OK), act.eq(0), forget.eq(0)]
                with m.If(lost & ~asked & session):
                    m.d.sync += [command.eq(Command.REPEAT.value), request.sequence.eq(expected), asked.eq(1)]
                    m.next = "HEAD"
                with m.Elif(self.i.valid):
                    m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [request.eq(Cat(request.as_value()[8:], entry.byte)), index.eq(index + 1)]
                    with m.If(index == REQUEST.size // 8 - 1):
                        m.next = "LOOK"
            with m.State("LOOK"):  # the status of an executed request comes from memory
                m.d.sync += index.eq(0)
                m.next = "DECIDE"
            with m.State("DECIDE"):
                m.next = "SKIP"
                with m.If(is_(Command.HELLO)):
                    m.d.sync += [session.eq(1), expected.eq(0), lost.eq(0), asked.eq(0), act.eq(1)]
                with m.Elif(~session):
                    m.d.sync += status.eq(LinkStatus.NO_SESSION)
                with m.Elif(age > 128):
                    m.d.sync += [lost.eq(1), forget.eq(1)]
                with m.Elif((age != 0) & is_(*WRITES)):
                    m.d.sync += status.eq(before.data)
                with m.Else():
                    with m.If(age == 0):
                        m.d.sync += [expected.eq(expected + 1), lost.eq(0), asked.eq(0)]
                    with m.If(is_(Command.READ_REGISTER)):
                        m.d.sync += act.eq(1)
                    with m.Elif(is_(Command.WRITE_REGISTER)):
                        m.d.sync += act.eq(1)
                        m.next = "VALUE"
                    with m.Elif(is_(Command.READ_MEMORY, Command.CHECKSUM) & size_ok & (request.length != 0)):
                        m.d.sync += act.eq(1)
                    with m.Elif(is_(Command.WRITE_MEMORY, Command.FILL_MEMORY) & size_ok & (request.length != 0)):
                        m.d.comb += writer.start.eq(1)
                        m.next = "WRITE"
                    with m.Else():
                        m.d.sync += status.eq(LinkStatus.BAD_REQUEST)
            with m.State("VALUE"):
                with m.If(self.i.valid & entry.end):
                    m.d.sync += [act.eq(0), status.eq(LinkStatus.BAD_REQUEST)]
                    m.next = "SKIP"
                with m.Elif(payload):
                    m.d.comb += self.i.ready.eq(1)
                    m.d.sync += [value.eq(Cat(value[8:], entry.byte)), index.eq(index + 1)]
                    with m.If(index == 3):
                        m.next = "SKIP"
            with m.State("WRITE"):
                # A fill takes the same byte again and again; a payload that is too short writes nothing more.
                m.d.comb += [
                    writer.i.valid.eq(self.i.valid),
                    self.i.ready.eq(writer.i.ready & payload & ~is_(Command.FILL_MEMORY)),
                ]
                with m.If(self.i.valid & writer.i.ready & entry.end):
                    m.d.sync += status.eq(LinkStatus.BAD_REQUEST)
                with m.If(~writer.busy):
                    with m.If(writer.error != AxiError.NONE):
                        m.d.sync += status.eq(Cat(writer.error.as_value(), 1))
                    m.next = "SKIP"
            with m.State("SKIP"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += index.eq(0)
                with m.If(self.i.valid & entry.end):
                    m.next = "HEAD"
                    with m.If(forget):
                        m.next = "IDLE"
                    with m.Elif(act & is_(Command.READ_REGISTER, Command.WRITE_REGISTER)):
                        m.d.comb += registers.start.eq(1)
                        m.next = "REGISTER"
                    with m.Elif(act & is_(Command.READ_MEMORY, Command.CHECKSUM)):
                        m.d.comb += [reader.start.eq(1), crc.start.eq(1)]
                        with m.If(is_(Command.CHECKSUM)):
                            m.next = "CHECKSUM"
            with m.State("REGISTER"):
                with m.If(~registers.busy & (index != 0)):
                    m.d.sync += [value.eq(registers.result), status.eq(registers.status), index.eq(0)]
                    m.next = "HEAD"
                with m.Else():
                    m.d.sync += index.eq(1)  # `busy` comes a clock after `start`
            with m.State("CHECKSUM"):
                m.d.comb += [reader.o.ready.eq(1), crc.valid.eq(reader.o.valid)]
                with m.If(~reader.busy & (index != 0)):
                    m.d.sync += [value.eq(crc.crc), status.eq(reader.error.as_value()), index.eq(0)]
                    m.next = "HEAD"
                with m.Else():
                    m.d.sync += index.eq(1)
            with m.State("HEAD"):
                m.d.comb += [answer.byte.eq(Mux(index[0], request.sequence, command)), self.o.valid.eq(1)]
                with m.If(self.o.ready):
                    m.d.sync += index.eq(~index[0])
                    with m.If(index[0]):
                        m.next = "STATUS"
                        with m.If(status == LinkStatus.OK):
                            with m.If(act & is_(Command.HELLO)):
                                m.next = "IDENTITY"
                            with m.Elif(act & is_(Command.READ_REGISTER, Command.CHECKSUM)):
                                m.next = "VALUE_OUT"
                            with m.Elif(act & is_(Command.READ_MEMORY)):
                                m.next = "READ"
            with m.State("IDENTITY"):
                identity = Cat(request.address[:32], Const(self.identity, IDENTITY.size)[32:])
                m.d.comb += [answer.byte.eq(identity.word_select(index, 8)), self.o.valid.eq(1)]
                with m.If(self.o.ready):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index == IDENTITY.size // 8 - 1):
                        m.next = "STATUS"
            with m.State("VALUE_OUT"):
                m.d.comb += [answer.byte.eq(value.word_select(index[:2], 8)), self.o.valid.eq(1)]
                with m.If(self.o.ready):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index == 3):
                        m.next = "STATUS"
            with m.State("READ"):
                m.d.comb += [
                    answer.byte.eq(reader.o.payload), self.o.valid.eq(reader.o.valid), reader.o.ready.eq(self.o.ready)
                ]
                with m.If(~reader.busy):
                    m.d.sync += status.eq(reader.error.as_value())
                    m.next = "STATUS"
            with m.State("STATUS"):
                m.d.comb += [answer.byte.eq(status.as_value()), self.o.valid.eq(1), done.en.eq(self.o.ready)]
                with m.If(self.o.ready):
                    m.next = "END"
            with m.State("END"):
                m.d.comb += [answer.end.eq(1), self.o.valid.eq(1)]
                with m.If(self.o.ready):
                    m.next = "IDLE"
        with m.If(self.damaged):
            m.d.sync += lost.eq(1)
        return m
