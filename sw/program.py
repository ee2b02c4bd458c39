"""The program of a model: the packets of docs/isa.md in their order, without the content of their payloads.

This file is what packing and checking an image have in common: sw/pack.py fills the payloads in, sw/image_check.py
compares the headers of an image with those that are made here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from hw.contract.config import AccelConfig, ConfigError, ceil_div
from hw.contract.isa import HEADER, Flags, Opcode, encode_header
from hw.contract.machine_float import float32_code
from sw.model_shape import ModelShape

__all__ = ["MODEL_FLOAT", "Packet", "head_packet", "head_row_bytes", "header_bytes", "layer_packets", "region_sizes"]

MODEL_FLOAT = {Opcode.QUANTIZE: "eps", Opcode.MATMUL: "scale"}
"""Header fields that hold a float32 of the model, above 0, and do not follow from its shape."""


@dataclass(frozen=True)
class Packet:
    """A command. `fields` are numbers of its header by name; `payload_bytes` follow it, made of `tensor` if named."""

    opcode: Opcode
    flags: Flags | None = None
    payload_bytes: int = 0
    tensor: str = ""
    fields: dict[str, int] = field(default_factory=dict)

    def header(self, config: AccelConfig, model_float: int = 0) -> bytes:
        """The header, padded to a beat; `model_float` goes to the field of MODEL_FLOAT, if it has one.

        Raises ConfigError for a number that its field does not hold.
        """
        values = {"opcode": self.opcode.value, "flags": self.flags.value if self.flags else 0,
                  "payload_beats": ceil_div(self.payload_bytes, config.stream_bytes), **self.fields}
        if self.opcode in MODEL_FLOAT:
            values[MODEL_FLOAT[self.opcode]] = model_float
        for name, value in values.items():
            if value >> HEADER[name].width:
                raise ConfigError(
                    f"the model is too large for the packet stream: field {name} of {self.opcode.name} is {value}"
                )
        return encode_header(values).ljust(header_bytes(config), b"\0")

    def total_bytes(self, config: AccelConfig) -> int:
        """Header and payload."""
        return header_bytes(config) + self.payload_bytes


def header_bytes(config: AccelConfig) -> int:
    """Bytes of a header in the packet stream: whole beats."""
    return config.header_beats * config.stream_bytes


def _beats(config: AccelConfig, size: int) -> int:
    """Bytes of the beats of the packet stream that hold so many."""
    return ceil_div(size, config.stream_bytes) * config.stream_bytes


def head_row_bytes(config: AccelConfig, shape: ModelShape) -> int:
    """Bytes of a row of the LM head, padded."""
    return _beats(config, shape.hidden)


def head_packet(config: AccelConfig, shape: ModelShape) -> Packet:
    """The packet of the LM head: groups of a beat of row scales and as many rows."""
    group = config.stream_bytes // 4
    size = ceil_div(shape.vocab, group) * (config.stream_bytes + group * head_row_bytes(config, shape))
    return Packet(Opcode.HEAD, payload_bytes=size, fields={"k": shape.hidden, "m": shape.vocab})


def layer_packets(config: AccelConfig, shape: ModelShape) -> Iterator[Packet]:
    """The packets of all layers, up to END."""
    hidden, ffn, d = shape.hidden, shape.intermediate, shape.head_dim
    width, kv_width = shape.heads * d, shape.kv_heads * d
    k_offset = config.padded(width)
    v_offset = k_offset + config.padded(kv_width)
    softmax_scale = float32_code(d**-0.5 * np.log2(np.e))

    def norm(name: str, k: int) -> Packet:
        return Packet(Opcode.LOAD_NORM, None, _beats(config, 2 * k), name + ".weight", {"k": k})

    def quantize(k: int, flags: Flags | None = None) -> Packet:
        return Packet(Opcode.QUANTIZE, flags, fields={"k": k, "scale": float32_code(1 / k)})

    def matmul(name: str, k: int, m: int, flags: Flags | None = None, offset: int = 0) -> Packet:
        blocks, words = ceil_div(m, config.rows), ceil_div(k, config.inputs)
        return Packet(Opcode.MATMUL, flags, blocks * words * config.stream_bytes, name + ".weight",
                      {"k": k, "m": m, "offset": offset, "offset2": words, "address": blocks})

    yield norm("model.layers.0.input_layernorm", hidden)
    yield Packet(Opcode.EMBED, Flags.STATISTICS, fields={"k": hidden, "m": d})
    for layer in range(shape.layers):
        at = f"model.layers.{layer}."
        last = layer == shape.layers - 1
        yield quantize(hidden)
        yield matmul(at + "self_attn.q_proj", hidden, width)
        yield matmul(at + "self_attn.k_proj", hidden, kv_width, offset=k_offset)
        yield matmul(at + "self_attn.v_proj", hidden, kv_width, offset=v_offset)
        yield norm(at + "self_attn.attn_sub_norm", width)
        yield Packet(Opcode.ATTEND, Flags.STATISTICS, fields={
            "k": d, "m": shape.heads // shape.kv_heads | shape.kv_heads << 16, "scale": softmax_scale,
            "eps": shape.head_stride(config), "offset": k_offset, "offset2": v_offset,
            "address": layer * shape.layer_stride(config),
        })
        yield quantize(width, Flags.WORK)
        yield norm(at + "post_attention_layernorm", hidden)
        yield matmul(at + "self_attn.o_proj", width, hidden, Flags.RESIDUAL | Flags.STATISTICS)
        yield quantize(hidden)
        yield matmul(at + "mlp.gate_proj", hidden, ffn)
        yield norm(at + "mlp.ffn_sub_norm", ffn)
        yield matmul(at + "mlp.up_proj", hidden, ffn, Flags.GATED | Flags.STATISTICS)
        yield quantize(ffn, Flags.WORK)
        yield norm("model.norm" if last else f"model.layers.{layer + 1}.input_layernorm", hidden)
        yield matmul(at + "mlp.down_proj", ffn, hidden, Flags.RESIDUAL | Flags.STATISTICS)
    yield quantize(hidden, Flags.HEAD16)
    yield Packet(Opcode.END)


def region_sizes(config: AccelConfig, shape: ModelShape) -> dict[str, int]:
    """Bytes of content of every region of the image, in the order in which they lie in it."""
    return {
        "stream": sum(packet.total_bytes(config) for packet in layer_packets(config, shape)),
        "head": head_packet(config, shape).total_bytes(config),
        "embed": shape.vocab * shape.embed_stride(config),
        "rope": shape.context * shape.rope_stride(config),
    }
