"""Images with correct CRCs whose header, table, packets or numbers are untrue: each one is refused by a sentence."""

from __future__ import annotations

import dataclasses
import json
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hw.contract.config import PRESETS, AccelConfig, ConfigError
from hw.contract.crc import header_crc
from hw.contract.isa import HEADER, Opcode, decode_header, encode_header
from sim.random_checkpoint import write_random_checkpoint
from sw.__main__ import main
from sw.checkpoint import Checkpoint
from sw.errors import ImageError
from sw.image import ModelImage
from sw.model_plan import HEADER_SIZE, ModelPlan
from sw.pack import pack

TINY = PRESETS["tiny"]
CONFIGS = {
    "tiny": TINY,
    "striped": TINY.replace(name="striped", ports=2, rows=4),
    "12 bit": TINY.replace(name="12 bit", embedding_bits=12),
    "kv260": PRESETS["kv260"],
    "split": TINY.replace(name="split", candidates=64),
    "striped split": TINY.replace(name="striped split", ports=2, rows=4, candidates=128),
}
"""Those with candidates are packed with a high plane."""

FIXED, REGION = struct.Struct("<8sIIQQI"), struct.Struct("<8sQQI")


class Forged:
    """An image whose bytes can be changed; `seal` makes all its CRCs correct again.

    `table` holds name, offset and size of the regions, `text` the JSON, `fixed` the fields in front of both.
    """

    def __init__(self, path: Path, config: AccelConfig) -> None:
        self.path, self.config = path, config
        self.image = ModelImage.open(path, config)
        self.data = bytearray(path.read_bytes())
        self.fixed = list(FIXED.unpack_from(self.data))
        start = FIXED.size + self.fixed[2] * REGION.size
        self.table = [list(REGION.unpack_from(self.data, at)[:3]) for at in range(FIXED.size, start, REGION.size)]
        self.text = bytes(self.data[start : start + self.fixed[-1]])

    def edit_shape(self, change: Callable[[dict[str, Any]], object]) -> None:
        values = json.loads(self.text)
        change(values)
        self.text = json.dumps(values).encode()

    def places(self, name: str) -> NDArray[np.int64]:
        """Where in the file the bytes of a region's content are."""
        return dataclasses.replace(self.image, memory=np.arange(len(self.data))).view(name)

    def poke(self, name: str, at: int, content: bytes) -> None:
        for place, byte in zip(self.places(name)[at:], content, strict=False):
            self.data[place] = byte

    def peek(self, name: str, at: int, size: int) -> bytes:
        return bytes(self.data[place] for place in self.places(name)[at : at + size])

    def packets(self, name: str) -> Iterator[tuple[int, Any]]:
        """Position and fields of every header."""
        at, end = 0, self.image.plan.regions[name].size
        while at < end:
            fields = HEADER.from_bits(int.from_bytes(self.peek(name, at, 32), "little"))
            yield at, fields
            at += (self.config.header_beats + fields["payload_beats"]) * self.config.stream_bytes

    def packet(self, opcode: Opcode, number: int = 0, name: str = "stream") -> int:
        """Position of the header of the nth packet of a kind."""
        return [at for at, fields in self.packets(name) if fields["opcode"] == opcode.value][number]

    def seal(self) -> Path:
        crcs = [zlib.crc32(self.data[r.offset : r.offset + r.area]) for r in self.image.plan.regions.values()]
        self.fixed[4:] = len(self.data), len(self.text)
        head = FIXED.pack(*self.fixed)
        for n, entry in enumerate(self.table):
            head += REGION.pack(*entry, crcs[n % len(crcs)])
        head = (head + self.text)[: HEADER_SIZE - 4].ljust(HEADER_SIZE - 4, b"\0")
        self.data[:HEADER_SIZE] = head + struct.pack("<I", zlib.crc32(head))
        self.path.write_bytes(self.data)
        return self.path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(
        tmp_path_factory.mktemp("checkpoint"), hidden=96, intermediate=72, layers=2, heads=3, kv_heads=1, vocab=41,
        positions=24, seed=1,
    )


@pytest.fixture(scope="module")
def packed(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("packed") / "image"
    images = {}
    for name, config in CONFIGS.items():
        pack(Checkpoint.open(checkpoint), path, config, split=config.candidates > 0)
        ModelImage.open(path, config).verify()
        images[name] = path.read_bytes()
    return images


@pytest.fixture
def forge(packed: dict[str, bytes], tmp_path: Path) -> Callable[..., Forged]:
    def copy(name: str = "tiny") -> Forged:
        (tmp_path / "image").write_bytes(packed[name])
        return Forged(tmp_path / "image", CONFIGS[name])

    return copy


def refused(forged: Forged, match: str) -> None:
    """By `open`, in a sentence, before anything of the image is in memory."""
    path = forged.seal()
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=match) as caught:
            ModelImage.open(path, forged.config)
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", CONFIGS)
def test_sealing_changes_nothing(name: str, packed: dict[str, bytes], forge: Callable[..., Forged]) -> None:
    assert forge(name).seal().read_bytes() == packed[name]


# ---- the shape ----
@pytest.mark.parametrize(
    "key", ["hidden", "intermediate", "layers", "heads", "kv_heads", "head_dim", "vocab", "context", "sequences"]
)
@pytest.mark.parametrize("value", [0, -1, 10**12, 10**400, True, None, 32.0, "32", [32], {}, ["x" * 10000]])
def test_absurd_sizes(key: str, value: Any, forge: Callable[..., Forged]) -> None:
    image = forge()
    image.edit_shape(lambda v: v.update({key: value}))
    refused(image, f"{key} must be 1 to|region table does not fit")


SHAPES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "one more layer": (lambda v: v.update(layers=3), "the shape of the model implies"),
    "one layer less": (lambda v: v.update(layers=1), "the shape of the model implies"),
    "most layers": (lambda v: v.update(layers=2048), "the shape of the model implies"),
    "more rows": (lambda v: v.update(vocab=8192), "the shape of the model implies"),
    "more positions": (lambda v: v.update(context=4096), "the shape of the model implies"),
    "a row that nobody sees": (lambda v: v.update(vocab=42), "the shape of the model implies"),
    "other heads": (lambda v: v.update(heads=6, head_dim=16, kv_heads=2), "the shape of the model implies"),
    "other KV heads": (lambda v: v.update(kv_heads=3), "the shape of the model implies"),
    "KV heads that do not divide": (lambda v: v.update(kv_heads=2), "not a multiple of 2 KV heads"),
    "heads that do not make up the width": (lambda v: v.update(head_dim=16), "do not make up a hidden size"),
    "beyond the preset": (lambda v: v.update(vocab=9000), "vocabulary is 9000, but preset tiny supports at most 8192"),
    "one field less": (lambda v: v.pop("vocab"), "the shape has fields"),
    "one field more": (lambda v: v.update(more=1), "the shape has fields"),
}


@pytest.mark.parametrize(("change", "match"), SHAPES.values(), ids=SHAPES.keys())
def test_shapes_that_are_not_that_of_the_file(
    change: Callable[[dict[str, Any]], object], match: str, forge: Callable[..., Forged]
) -> None:
    image = forge()
    image.edit_shape(change)
    refused(image, match)


TEXTS = {
    "empty": b"", "half": b'{"hidden": 9', "list": b"[]", "number": b"1", "not UTF-8": b'{"preset": "\xff"}',
    "infinity": b'{"hidden": Infinity}', "huge": b'{"hidden": 1e999}', "digits": b'{"a": ' + b"9" * 3800 + b"}",
    "deep": b"[" * 3800, "twice": b'{"hidden": 1, "hidden": 2}',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_texts_that_are_no_shape(text: bytes, forge: Callable[..., Forged]) -> None:
    image = forge()
    image.text = text
    refused(image, "shape")


# ---- the table ----
def _move(region: int, field: int, by: int) -> Callable[[Forged], None]:
    def change(image: Forged) -> None:
        image.table[region][field] += by

    return change


TABLES: dict[str, Callable[[Forged], object]] = {
    "later": _move(2, 1, HEADER_SIZE), "earlier": _move(2, 1, -HEADER_SIZE), "overlapping": _move(1, 1, -8),
    "in the header": lambda i: i.table[0].__setitem__(1, 0),
    "far away": lambda i: i.table[3].__setitem__(1, (1 << 64) - 4096),
    "longer": _move(0, 2, 8), "shorter": _move(3, 2, -8), "empty": lambda i: i.table[1].__setitem__(2, 0),
    "endless": lambda i: i.table[2].__setitem__(2, (1 << 64) - 1),
    "not UTF-8": lambda i: i.table[1].__setitem__(0, b"\xff\xfe"),
    "other name": lambda i: i.table[1].__setitem__(0, b"h"),
    "no name": lambda i: i.table[1].__setitem__(0, b""),
    "other order": lambda i: i.table.reverse(), "twice": lambda i: i.table.__setitem__(1, i.table[0]),
}


@pytest.mark.parametrize("name", ["tiny", "kv260"])
@pytest.mark.parametrize("change", TABLES.values(), ids=TABLES.keys())
def test_tables(change: Callable[[Forged], None], name: str, forge: Callable[..., Forged]) -> None:
    image = forge(name)
    change(image)
    refused(image, "the region table has .* but the shape of the model implies")


SPLITS: dict[str, tuple[str, Callable[[Forged], object], str]] = {
    "a plane that nobody mentions": ("split", lambda i: i.edit_shape(lambda v: v.pop("head")),
                                     "there are 5 regions, expected 4"),
    "no plane": ("split", lambda i: (i.table.pop(), i.fixed.__setitem__(2, 4)), "there are 4 regions, expected 5"),
    "no plane for this preset": ("tiny", lambda i: i.edit_shape(lambda v: v.update(head="split")),
                                 "preset tiny has no split head: set candidates"),
    "another kind of head": ("split", lambda i: i.edit_shape(lambda v: v.update(head="spl\nit")),
                             r"says of the head 'spl\\nit', but it must be 'split' or left out"),
    "a head that is no text": ("split", lambda i: i.edit_shape(lambda v: v.update(head=["split"] * 50)),
                               "says of the head .* but it must be 'split' or left out"),
    "a plane of another name": ("split", lambda i: i.table[4].__setitem__(0, b"low"),
                                "the region table has .* but the shape of the model implies"),
    "a plane elsewhere": ("striped split", lambda i: i.table[4].__setitem__(1, 1 << 14),
                          "the region table has .* but the shape of the model implies"),
    "a plane without its flag": ("striped split", lambda i: _set("flags", 0)(i, "high", 0),
                                 "region high, packet 0, LM_HEAD, has flags 0, but the shape of the model implies 32"),
    "a head with the flag": ("split", lambda i: _set("flags", 32)(i, "head", 0),
                             "region head, packet 0, LM_HEAD, has flags 32, but the shape of the model implies 0"),
    "a plane of more rows": ("split", lambda i: _set("vocabulary")(i, "high", 0),
                             "region high, packet 0, LM_HEAD, has vocabulary 42"),
}


@pytest.mark.parametrize(("name", "change", "match"), SPLITS.values(), ids=SPLITS.keys())
def test_heads_that_are_not_what_is_said(
    name: str, change: Callable[[Forged], object], match: str, forge: Callable[..., Forged]
) -> None:
    image = forge(name)
    change(image)
    refused(image, match)


@pytest.mark.parametrize("name", ["split", "striped split"])
@pytest.mark.parametrize("value", [0, 18, 255])
@pytest.mark.parametrize("input_", [0, 95])
def test_a_dither_that_is_none(name: str, value: int, input_: int, forge: Callable[..., Forged]) -> None:
    image = forge(name)
    config = image.config
    at = config.header_bytes + (1 + input_ // 8) * config.stream_bytes + input_ % 8
    assert 1 <= image.peek("high", at, 1)[0] <= 17
    image.poke("high", at, bytes([value]))
    opened = ModelImage.open(image.seal(), config)
    with pytest.raises(ImageError, match="region high has a dither that is not 1 to 17: pack the image again"):
        opened.verify()


@pytest.mark.parametrize("count", [0, 3, 5, 200, (1 << 32) - 1])
def test_number_of_regions(count: int, forge: Callable[..., Forged]) -> None:
    image = forge()
    image.fixed[2] = count
    image.table = [image.table[n % 4] for n in range(min(count, 200))]
    refused(image, f"there are {count} regions, expected 4" if count < 200 else "does not fit in the header")


def test_bytes_that_no_region_has(forge: Callable[..., Forged]) -> None:
    image = forge()
    image.data += bytes(HEADER_SIZE)
    refused(image, "the file has [0-9]+ bytes, but the shape of the model implies")


# ---- the packets ----
def _set(field: str, value: int | None = None) -> Callable[[Forged, str, int], None]:
    """Another value of a field of the header at a position, under a CRC that is right; None: one more."""
    def change(image: Forged, region: str, at: int) -> None:
        fields = decode_header(image.peek(region, at, 32))
        fields[field] = fields[field] + 1 if value is None else value
        if field == "opcode":  # the other bits stay what they are
            number = int.from_bytes(image.peek(region, at, 32), "little") & ~0xFF | fields[field]
            content = number.to_bytes(32, "little")[:30]
            image.poke(region, at, content + header_crc(content).to_bytes(2, "little"))
        else:
            image.poke(region, at, encode_header(fields))

    return change


PACKETS: dict[str, tuple[Opcode, int, str, int | None]] = {
    "no opcode": (Opcode.QUANTIZE, 2, "opcode", 0), "unknown opcode": (Opcode.ATTEND, 1, "opcode", 200),
    "other opcode": (Opcode.EMBED, 0, "opcode", Opcode.QUANTIZE.value), "early end": (Opcode.QUANTIZE, 4, "opcode", 1),
    "no end": (Opcode.END, 0, "opcode", Opcode.QUANTIZE.value),
    "more payload": (Opcode.MATMUL, 3, "payload_beats", None),
    "payload of 2^32": (Opcode.MATMUL, 3, "payload_beats", 2**32 - 1),
    "no payload": (Opcode.LOAD_NORM, 1, "payload_beats", 0),
    "payload of END": (Opcode.END, 0, "payload_beats", 1),
    "longer vector": (Opcode.QUANTIZE, 3, "elements", None), "vector of 2^16": (Opcode.MATMUL, 0, "in_features", 65535),
    "empty vector": (Opcode.LOAD_NORM, 0, "elements", 0), "more rows": (Opcode.MATMUL, 5, "out_features", None),
    "rows of 2^32": (Opcode.MATMUL, 5, "out_features", 2**32 - 1), "no KV head": (Opcode.ATTEND, 0, "kv_heads", 0),
    "larger group": (Opcode.ATTEND, 0, "group", None),
    "more row blocks": (Opcode.MATMUL, 6, "row_blocks", None), "more words": (Opcode.MATMUL, 6, "block_beats", None),
    "outside of the work area": (Opcode.MATMUL, 1, "destination", 65535),
    "k elsewhere": (Opcode.ATTEND, 0, "k_offset", None),
    "v elsewhere": (Opcode.ATTEND, 0, "v_offset", None),
    "cache of another layer": (Opcode.ATTEND, 1, "layer_offset", 0),
    "cache outside of the slot": (Opcode.ATTEND, 1, "layer_offset", 1 << 40),
    "other KV stride": (Opcode.ATTEND, 0, "kv_head_stride", 8),
    "other softmax": (Opcode.ATTEND, 0, "softmax_scale", None), "other 1/k": (Opcode.QUANTIZE, 0, "per_n", None),
    "other flags": (Opcode.MATMUL, 3, "flags", 0), "unknown flags": (Opcode.MATMUL, 3, "flags", 0xFF),
    "scale below 0": (Opcode.MATMUL, 0, "weight_scale", 0xBF800000),
    "scale that is infinite": (Opcode.MATMUL, 0, "weight_scale", 0x7F800000),
    "scale that is no number": (Opcode.MATMUL, 0, "weight_scale", 0x7FC00000),
    "fine scale": (Opcode.MATMUL, 0, "weight_scale", 0x3F800001),
    "tiny scale": (Opcode.MATMUL, 0, "weight_scale", 0x00400000), "no eps": (Opcode.QUANTIZE, 0, "eps", 0),
    "negative eps": (Opcode.QUANTIZE, 0, "eps", 0x80000000),
}


@pytest.mark.parametrize("name", ["tiny", "striped"])
@pytest.mark.parametrize(("opcode", "number", "field", "value"), PACKETS.values(), ids=PACKETS.keys())
def test_packets(
    opcode: Opcode, number: int, field: str, value: int | None, name: str, forge: Callable[..., Forged]
) -> None:
    image = forge(name)
    _set(field, value)(image, "stream", image.packet(opcode, number))
    refused(image, f"region stream, packet [0-9]+, {opcode.name}, has {field} .*: pack the image again$")


@pytest.mark.parametrize(("opcode", "field", "word", "told"), [
    (Opcode.MATMUL, "weight_scale", 0xBF800000, r"-1 \(0xbf800000\), but it must be a machine float >= 0 "),
    (Opcode.QUANTIZE, "eps", 0, r"0 \(0x00000000\), but it must be a machine float > 0 "),
])
def test_a_wrong_float_is_told_as_a_number(
    opcode: Opcode, field: str, word: int, told: str, forge: Callable[..., Forged]
) -> None:
    image = forge()
    _set(field, word)(image, "stream", image.packet(opcode))
    refused(image, f"{opcode.name}, has {field} {told}")


@pytest.mark.parametrize("name", ["tiny", "striped", "kv260"])
@pytest.mark.parametrize("field", ["opcode", "flags", "hidden", "vocabulary", "payload_beats"])
def test_packet_of_the_head(field: str, name: str, forge: Callable[..., Forged]) -> None:
    image = forge(name)
    _set(field)(image, "head", 0)
    refused(image, f"region head, packet 0, LM_HEAD, has {field} ")


def test_bits_that_an_opcode_does_not_use(forge: Callable[..., Forged]) -> None:
    """Those that hold operands of other opcodes, under a CRC that is right."""
    image = forge()
    at = image.packet(Opcode.QUANTIZE)
    content = bytearray(image.peek("stream", at, 30))
    content[4] ^= 1
    image.poke("stream", at, bytes(content) + header_crc(bytes(content)).to_bytes(2, "little"))
    refused(image, "packet [0-9]+, QUANTIZE, has bits set in its header that QUANTIZE does not use")


def test_padding_of_a_header(forge: Callable[..., Forged]) -> None:
    image = forge("kv260")
    image.poke("stream", image.packet(Opcode.ATTEND) + 40, b"\1")
    refused(image, "packet 7, ATTEND, has bits set in its header that ATTEND does not use")


def test_every_bit_of_every_header_counts(forge: Callable[..., Forged]) -> None:
    """Those of the numbers that belong to the model too: they lie under its CRC."""
    original, chance = forge(), np.random.default_rng(1)
    before = bytes(original.data)
    for at, _ in list(original.packets("stream")):
        for bit in chance.choice(HEADER.size, 4, replace=False):
            original.data[:] = before
            byte = original.peek("stream", at + bit // 8, 1)[0]
            original.poke("stream", at + bit // 8, bytes([byte ^ 1 << bit % 8]))
            with pytest.raises(ImageError, match="packet"):
                ModelImage.open(original.seal(), TINY)


# ---- the numbers ----
NUMBERS: dict[str, tuple[str, str, Callable[[Forged], int], bytes, str]] = {
    "infinite norm": ("tiny", "stream", lambda i: i.packet(Opcode.LOAD_NORM, 3) + 32 + 10, b"\x80\x7f",
                      "model.layers.0.mlp.ffn_sub_norm.weight in region stream"),
    "norm that is no number": ("kv260", "stream", lambda i: i.packet(Opcode.LOAD_NORM) + 64, b"\xc1\xff",
                               "model.layers.0.input_layernorm.weight in region stream"),
    "head scale that is infinite": ("tiny", "head", lambda i: 32 + 4, b"\0\0\x80\x7f",
                                  "region head, scales from row 0 on"),
    "head scale below 0": ("kv260", "head", lambda i: 64, b"\0\0\x80\xbf", "region head, scales from row 0 on"),
    "plane scale that is infinite": ("split", "high", lambda i: 32 + i.image.plan.high_plane.dither.payload_bytes + 4,
                                     b"\0\0\x80\x7f", "region high, scales from row 0 on"),
    "infinite embedding": ("tiny", "embed", lambda i: 40 * 192 + 190, b"\x80\xff", "region embed, from row 0 on"),
    "row scale that is no number": ("12 bit", "embed", lambda i: 3 * 152, b"\0\0\xc0\x7f",
                                    "region embed, from row 0 on"),
    "cosine above 1": ("tiny", "rope", lambda i: 128, b"\x80\0\x80\x3f", "region rope, from row 0 on"),
    "sine that is too fine": ("kv260", "rope", lambda i: 23 * 128 + 124, b"\1\0\0\x3f", "region rope, from row 0 on"),
}


@pytest.mark.parametrize(("name", "region", "at", "content", "match"), NUMBERS.values(), ids=NUMBERS.keys())
def test_numbers(
    name: str, region: str, at: Callable[[Forged], int], content: bytes, match: str, forge: Callable[..., Forged]
) -> None:
    image = forge(name)
    image.poke(region, at(image), content)
    opened = ModelImage.open(image.seal(), image.config)
    with pytest.raises(ImageError, match=f"{match}.* contains a value that is not a machine float"):
        opened.verify()


def test_other_codes_are_another_model(forge: Callable[..., Forged]) -> None:
    """Bytes of matrices are weights, whatever they are."""
    image, chance = forge(), np.random.default_rng(1)
    at = image.packet(Opcode.MATMUL, 4) + 32
    image.poke("stream", at, chance.integers(0, 256, 500, np.uint8).tobytes())
    ModelImage.open(image.seal(), TINY).verify()


def test_a_model_whose_tables_lie_too_far(forge: Callable[..., Forged]) -> None:
    shape = dataclasses.replace(forge().image.plan.shape, vocab=1 << 24)
    with pytest.raises(ConfigError, match=r"its region rope begins at byte [0-9]+ of the image, but offsets have"):
        ModelPlan(TINY.replace(max_vocab=1 << 24), shape)


def test_the_command_line_refuses_a_lie(
    checkpoint: Path, forge: Callable[..., Forged], capsys: pytest.CaptureFixture[str]
) -> None:
    image = forge()
    _set("layer_offset", 1 << 40)(image, "stream", image.packet(Opcode.ATTEND, 1))
    arguments = ["generate", str(checkpoint), "--prompt-ids", "1", "--max-new-tokens", "1", "--image"]
    assert main([*arguments, str(image.seal())]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "ATTEND, has layer_offset" in error
    assert error.count("\n") == 1
