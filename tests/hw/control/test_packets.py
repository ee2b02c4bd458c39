"""The packet reader against a packed checkpoint's own stream, and on headers that are not commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Out

from hw.contract.config import HEADER_BYTES, PRESETS, AccelConfig
from hw.contract.crc import header_crc
from hw.contract.isa import Opcode, decode_header, encode_header
from hw.contract.register_map import ErrorCode
from hw.control.packets import PacketReader
from sim.golden.machine import packets
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.image import ModelImage
from sw.pack import pack
from tests.hw.steps import Run, Step, run_steps

CONFIGS = {
    "64 bit": PRESETS["tiny"],
    "128 bit": PRESETS["tiny"].replace(port_bits=128, rows=4),
    "512 bit": PRESETS["tiny"].replace(port_bits=512, rows=16),
}
NO_COMMANDS = {
    "opcode 0": {"opcode": 0},
    "next unused": {"opcode": 8},
    "all ones": {"opcode": 255, "payload_beats": 1},
    "matmul without weights": {"opcode": Opcode.MATMUL.value},
    "embed with a payload": {"opcode": Opcode.EMBED.value, "payload_beats": 3},
}


class BareReader(wiring.Component):
    """The packet reader, with all bits of a header in one integer."""

    def __init__(self, config: AccelConfig) -> None:
        self.reader = PacketReader(config)
        members = dict(self.reader.signature.members)
        super().__init__(members | {"o_header": Out(stream.Signature(unsigned(8 * HEADER_BYTES)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reader = reader = self.reader
        wiring.connect(m, wiring.flipped(self.i), reader.i)
        wiring.connect(m, reader.o_payload, wiring.flipped(self.o_payload))
        m.d.comb += [
            self.o_header.payload.eq(reader.o_header.payload.as_value()),
            self.o_header.valid.eq(reader.o_header.valid),
            reader.o_header.ready.eq(self.o_header.ready),
            self.o_error.eq(reader.o_error),
        ]
        return m


def run(config: AccelConfig, data: bytes, stall: float, simulator: str = "pysim") -> Run:
    """Feeds beats with random stalls on all three ends; at the end reads the error flag, and `ready` for some time."""
    beats = np.frombuffer(data, dtype=np.uint8).reshape(-1, config.beat_bytes).tolist()
    steps = [Step(send={"i": beats}), *[Step(read=["o_error", "i.ready"])] * 20]
    return run_steps(BareReader(config), steps, outputs=["o_header", "o_payload"], stall=stall, seed=3,
                     simulator=simulator)


def check_stream(config: AccelConfig, stall: float, folder: Path, simulator: str = "pysim") -> None:
    """All packets of a model."""
    write_random_checkpoint(
        folder / "m", hidden=64, intermediate=64, layers=1, heads=1, kv_heads=1, vocab=40, positions=16, seed=4
    )
    pack(Checkpoint.open(folder / "m"), folder / "i", config)
    region = ModelImage.open(folder / "i", config).view("stream")
    result = run(config, region.tobytes(), stall, simulator)
    expected = list(packets(config, region))
    assert [decode_header(bits.to_bytes(HEADER_BYTES, "little")) for bits in result.received["o_header"]] == [
        header for header, _ in expected]
    parts = result.received["o_payload"]
    assert b"".join(bytes(part["data"]) for part in parts) == b"".join(p.tobytes() for _, p in expected)
    assert sum(part["last"] for part in parts) == sum(len(p) > 0 for _, p in expected)
    assert result.read[-1] == [0, 1]


def check_error(
    bad: bytes, error: ErrorCode = ErrorCode.BAD_OPCODE, config: AccelConfig = PRESETS["tiny"], simulator: str = "pysim"
) -> None:
    """A good header, then a bad one: an error, and nothing more is taken."""
    good = encode_header({"opcode": Opcode.EMBED.value})
    size = config.header_beats * config.stream_bytes
    result = run(config, good.ljust(size, b"\0") + bad.ljust(size, b"\0"), 0.0, simulator)
    assert len(result.received["o_header"]) == 1
    assert not result.received["o_payload"]
    assert result.read[2:] == [[error.value, 0]] * 18


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_models_stream(name: str, stall: float, tmp_path: Path) -> None:
    check_stream(CONFIGS[name], stall, tmp_path)


def test_verilated(tmp_path: Path) -> None:
    for stall in (0.0, 0.4):
        check_stream(CONFIGS["64 bit"], stall, tmp_path / str(stall), "verilator")
    for name in ("opcode 0", "embed with a payload"):
        check_error(encode_header(NO_COMMANDS[name]), simulator="verilator")
    check_error(damaged(77), ErrorCode.HEADER_CRC, simulator="verilator")


@pytest.mark.parametrize("name", NO_COMMANDS)
def test_what_is_not_a_command_stops_the_machine(name: str) -> None:
    check_error(encode_header(NO_COMMANDS[name]))


def damaged(*bits: int) -> bytes:
    """A command with some bits inverted."""
    header = encode_header({
        "opcode": Opcode.ATTEND.value, "head_dim": 128, "group": 4, "kv_heads": 5, "layer_offset": 0x1234_5678_9ABC})
    return (int.from_bytes(header, "little") ^ sum(1 << bit for bit in bits)).to_bytes(32, "little")


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("bits", [(0,), (77,), (239,), (240,), (255,), (3, 200), (64, 128, 192), range(100, 116)])
def test_a_damaged_header_is_found_before_it_acts(bits: tuple[int, ...], name: str) -> None:
    """Bits of the first field, of the last, of the CRC itself; up to three anywhere, or 16 in a row."""
    check_error(damaged(*bits), ErrorCode.HEADER_CRC, CONFIGS[name])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_blank_memory_is_no_program(byte: int, name: str) -> None:
    check_error(bytes([byte]) * 32, ErrorCode.HEADER_CRC, CONFIGS[name])


def test_every_damage_of_one_or_two_bits_is_found() -> None:
    good = encode_header({"opcode": Opcode.END.value})
    assert header_crc(b"123456789") == 0x906E  # the check value of CRC-16/X.25
    assert header_crc(good) == int.from_bytes(good[30:], "little")
    effects = [header_crc((1 << bit).to_bytes(32, "little")) ^ header_crc(bytes(32)) for bit in range(240)]
    effects += [1 << bit for bit in range(16)]
    assert len({0, *effects}) == 257  # so no bit is without effect, and no two have the same
