"""Frames in hardware against the codec of the host, and what damage does to them."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.serial_link_protocol import BUFFER_BYTES, ENTRY, Command
from hw.serial_link.cobs import CobsDecoder, CobsEncoder
from hw.serial_link.frame_buffer import FrameBuffer
from hw.serial_link.frame_sender import FrameSender
from sw.links.frames import Answer, FrameRequest, decode, encode
from tests.hw.simulation import simulate
from tests.hw.steps import Step, run_steps, run_stream

CHOICE = random.Random(5)
CONTENTS = {
    "one": b"\x01", "zero": b"\0", "zeros": bytes(40), "no zeros": b"\x07" * 700,
    **{f"{n} and a zero": b"\xff" * n + b"\0" for n in (253, 254, 255, 508)},
    **{f"{n} bytes": bytes(CHOICE.randrange(1, 256) for _ in range(n)) for n in (249, 250, 251, 504)},
    **{f"random {n}": CHOICE.randbytes(n) for n in (16, 255, 1000)},
    **{f"sparse {n}": bytes(CHOICE.choice((0, 0, 0, 9)) for _ in range(n)) for n in (300, 600)},
}
END = {"byte": 0, "end": 1}


class Sender(wiring.Component):
    """An answer on its way to the line."""

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(ENTRY)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sender, m.submodules.encoder = sender, encoder = FrameSender(), CobsEncoder()
        wiring.connect(m, wiring.flipped(self.i), sender.i)
        wiring.connect(m, sender.o, encoder.i)
        wiring.connect(m, encoder.o, wiring.flipped(self.o))
        return m


class Receiver(wiring.Component):
    """A request on its way from the line."""

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(ENTRY)), "damaged": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.decoder, m.submodules.buffer = decoder, buffer = CobsDecoder(), FrameBuffer()
        wiring.connect(m, wiring.flipped(self.i), decoder.i)
        wiring.connect(m, decoder.o, buffer.i)
        wiring.connect(m, buffer.o, wiring.flipped(self.o))
        m.d.comb += self.damaged.eq(buffer.damaged)
        return m


def entries(content: bytes) -> list[dict[str, int]]:
    return [*({"byte": byte, "end": 0} for byte in content), END]


def send(contents: list[bytes], stall: float, simulator: str = "pysim") -> bytes:
    given = [entry for content in contents for entry in entries(content)]
    return bytes(run_stream(Sender(), {"i": given}, stall=stall, seed=2, simulator=simulator)[0])


def receive(line: bytes, *, stall: float = 0.0, simulator: str = "pysim") -> tuple[list[bytes], int]:
    """Contents that come out, and how often something was dropped."""
    run = run_steps(Receiver(), [Step(send={"i": list(line)})], outputs=["o"], pulses={"damaged": ""},
                    stall=stall, seed=3, simulator=simulator)
    contents, content = [], bytearray()
    for entry in run.received["o"]:
        if entry["end"]:
            contents.append(bytes(content))
            content.clear()
        else:
            content.append(entry["byte"])
    assert not content
    return contents, len(run.received["damaged"])


def test_codec() -> None:
    """The host's codec with itself; no frame has a zero but at its end, none is longer than promised."""
    for content in CONTENTS.values():
        frame = encode(content)
        assert frame.index(0) == len(frame) - 1
        assert len(frame) <= len(content) + 4 + (len(content) + 4) // 254 + 2
        assert decode(frame[:-1]) == content


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_sender(stall: float) -> None:
    assert send(list(CONTENTS.values()), stall) == b"".join(map(encode, CONTENTS.values()))


def test_sender_verilated() -> None:
    assert send(list(CONTENTS.values()), 0.3, "verilator") == b"".join(map(encode, CONTENTS.values()))


def long_enough(contents: Any) -> list[bytes]:
    return [content for content in contents if len(content) >= 12]


@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_receiver(stall: float) -> None:
    contents = long_enough(CONTENTS.values())
    line = b"\0\0" + b"\0".join(map(encode, contents))
    assert receive(line, stall=stall) == (contents, 0)


def test_receiver_verilated() -> None:
    contents = long_enough(CONTENTS.values())
    assert receive(b"".join(map(encode, contents)), stall=0.2, simulator="verilator") == (contents, 0)


def test_short_frames_are_damaged() -> None:
    """Of 0 to 11 bytes, though their CRC is right; and those that are shorter than a CRC."""
    good = bytes(range(12))
    short = [encode(good[:n]) for n in range(12)] + [b"\x02\x07\0", b"\x04\xff\xff\xff\0"]
    assert receive(b"".join(short) + encode(good)) == ([good], len(short))


@pytest.mark.parametrize("seed", range(4))
def test_damage_is_found(seed: int) -> None:
    """One bit, byte, or zero more or less, anywhere in the frame in the middle: the others arrive, it does not."""
    choice = random.Random(seed)
    first, content, last = (choice.randbytes(n) for n in (20, 60, 30))
    frame = bytearray(encode(content))
    at = choice.randrange(len(frame) - 1)
    match seed:
        case 0:
            frame[at] ^= 1 << choice.randrange(8)
        case 1:
            del frame[at]
        case 2:
            frame.insert(at, choice.randrange(1, 256))
        case 3:
            frame.insert(at, 0)
    contents, damaged = receive(encode(first) + frame + encode(last))
    assert contents == [first, last]
    assert damaged >= 1


def test_what_finds_no_room_leaves_no_trace() -> None:
    """The buffer fills while nobody reads; then one frame too many, a frame that is too long for any buffer, and when
    there is room again, a frame."""
    contents = [bytes([n + 1]) * 1000 for n in range(8)]
    assert 8 * 1001 < BUFFER_BYTES < 9 * 1001
    late = b"after that again"
    dut = Receiver()
    sent = b"".join(map(encode, [*contents, b"\x55" * 1000, b"\x66" * 9000]))
    received: list[int] = []

    async def drive(ctx: Any) -> None:
        async def put(line: bytes) -> None:
            for byte in line:
                ctx.set(dut.i.payload, byte)
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
            ctx.set(dut.i.valid, 0)

        async def take(clocks: int) -> None:
            ctx.set(dut.o.ready, 1)
            for _ in range(clocks):
                _, _, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
                if valid:
                    received.append(-1 if payload.end else payload.byte)

        await put(sent)
        await take(9000)
        await put(encode(late))
        await take(100)

    simulate(dut, drive)
    assert received == [value for content in (*contents, late) for value in (*content, -1)]


def test_a_request_and_an_answer() -> None:
    """Byte by byte as the document has them."""
    frame = FrameRequest(Command.WRITE_MEMORY, address=0x1122334455, length=2, payload=b"\xaa\xbb").frame(7)
    assert decode(frame[:-1]) == bytes.fromhex("05 07 0200 5544332211000000 aabb")
    assert Answer.of(encode(bytes.fromhex("02 09 11223344 00"))[:-1]) == Answer(2, 9, bytes.fromhex("11223344"), 0)
    assert Answer.of(encode(b"\x02\x09")[:-1]) is None
    assert Answer.of(b"\x02\x09") is None
