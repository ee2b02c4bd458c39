"""Sizes, addresses and packets of a model on a configuration, for packing, checks, driver and golden model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from hw.contract.config import STRIPE_BYTES, AccelConfig, ConfigError, ceil_div
from hw.contract.head_layout import HeadLayout
from hw.contract.high_plane import HighPlane
from hw.contract.isa import Flags, Opcode
from hw.contract.kv_layout import KvLayout
from hw.contract.machine_float import float32_code
from hw.contract.payloads import BATCH_ENTRY
from hw.contract.shortlist import record_beats
from sw.errors import HardwareError
from sw.head_padding import padded_head
from sw.layout import ALIGNMENT, Layout
from sw.model_fit import attention_width, misfits
from sw.model_shape import ModelShape
from sw.packet import Packet

__all__ = ["HEADER_SIZE", "ModelPlan", "Region"]

HEADER_SIZE = 4096
"""Bytes of the header, before the first region of the image. The size of the file is a multiple of it."""

STREAMED = ("stream", "head", "high")
"""Regions that are read through all ports. Region names are part of the file format: `head` is that of the LM head,
`high` that of its high plane."""


@dataclass(frozen=True)
class Region:
    """A named range of the image: `size` bytes of content in `area` bytes of the file, striped over `stripes` ports."""

    name: str
    offset: int
    size: int
    area: int
    stripes: int


@dataclass(frozen=True)
class ModelPlan:
    """Values derived from a configuration and the shape of a model. Sizes, strides and offsets are in bytes.

    Derived values are cached properties. The image of a `split` head also has its high plane.

    Raises:
        ConfigError: the configuration cannot run the model, or has no split head, or a region begins beyond the 32 bits
            of an offset.
    """

    config: AccelConfig
    shape: ModelShape
    split: bool = False

    def __post_init__(self) -> None:
        if self.split and not self.config.candidates:
            raise ConfigError(f"preset {self.config.name} has no split head: set candidates to 64 or more in a preset "
                              "file, or leave the head full")
        if self.split and self.shape.hidden % self.config.quantize_lanes:
            raise ConfigError(f"the model's hidden size is {self.shape.hidden}, but a split head of preset "
                              f"{self.config.name} needs a multiple of {self.config.quantize_lanes}: leave the head "
                              "full")
        self._check_sizes()
        for region in self.regions.values():
            if region.offset >> 32:
                raise ConfigError(f"the model is too large: its region {region.name} begins at byte {region.offset} of "
                                  "the image, but offsets have 32 bits")

    def _check_sizes(self) -> None:
        found = misfits(self.config, self.shape)
        if found:
            raise ConfigError(found[0].sentence(self.config.name))

    # ---- heads ----
    @cached_property
    def head_dim(self) -> int:
        """Elements of a head with its padding."""
        return padded_head(self.shape.head_dim)

    @cached_property
    def width(self) -> int:
        """Elements of all query heads of a token."""
        return attention_width(self.shape)

    # ---- KV cache ----
    @cached_property
    def kv_layout(self) -> KvLayout:
        """Where the elements of a KV head lie."""
        return KvLayout(self.config, self.head_dim)

    @cached_property
    def head_stride(self) -> int:
        """Bytes from one KV head's cache to the next, on one port."""
        return self.kv_layout.head_bytes(self.shape.context)

    @cached_property
    def layer_stride(self) -> int:
        """Bytes from one layer's cache to the next, on one port."""
        return self.shape.kv_heads * self.head_stride

    @cached_property
    def slot_stride(self) -> int:
        """Bytes of the KV cache of one sequence, which is one slot, on one port."""
        return self.shape.layers * self.layer_stride

    @cached_property
    def kv_port_stride(self) -> int:
        """Bytes from the KV cache of one port to that of the next; 0 with one port.

        The same place of the cache has other addresses modulo 64 KiB on each port, as the stripes of the stream do.
        """
        if self.config.ports == 1:
            return 0
        return ceil_div(self.shape.sequences * self.slot_stride, 4 * STRIPE_BYTES) * 4 * STRIPE_BYTES + STRIPE_BYTES

    @cached_property
    def kv_bytes(self) -> int:
        """Bytes of the KV cache of all sequences on all ports."""
        return (self.config.ports - 1) * self.kv_port_stride + self.shape.sequences * self.slot_stride

    # ---- tables ----
    @cached_property
    def embed_stride(self) -> int:
        """Bytes of one embedding row: a beat with the float32 row scale unless bf16, then the codes."""
        codes = ceil_div(self.shape.hidden * self.config.embedding_bits, 8)
        return self._beats(codes) + (0 if self.config.embedding_bits == 16 else self.config.beat_bytes)

    @cached_property
    def rope_stride(self) -> int:
        """Bytes of one position: head_dim/2 float32 cosines, then as many sines."""
        return self._beats(4 * self.head_dim)

    @cached_property
    def logits_stride(self) -> int:
        """Bytes from one row of logits in memory to the next."""
        return self._beats(4 * self.shape.vocab)

    @cached_property
    def run_rows(self) -> int:
        """Tokens, and rows of logits, for which a run has memory: one per position, and at least one per column."""
        return max(self.shape.context, self.config.columns)

    # ---- LM head ----
    @cached_property
    def head_layout(self) -> HeadLayout:
        """Where the rows of the LM head lie in their packet."""
        return HeadLayout(self.config, self.shape.hidden, self.shape.vocab)

    @cached_property
    def lm_head_packet(self) -> Packet:
        """The packet of the LM head, without the content of its payload."""
        return Packet(Opcode.LM_HEAD, payload_bytes=self.head_layout.payload_bytes, operands=self._head_operands)

    @cached_property
    def high_plane(self) -> HighPlane:
        """Where the codes of the high plane lie in its packet."""
        return HighPlane(self.config, self.shape.hidden, self.shape.vocab)

    @cached_property
    def high_packet(self) -> Packet:
        """The packet of the high plane, without the content of its payload."""
        return Packet(Opcode.LM_HEAD, Flags.HIGH, self.high_plane.payload_bytes, operands=self._head_operands)

    @property
    def _head_operands(self) -> dict[str, int]:
        return {"hidden": self.shape.hidden, "vocabulary": self.shape.vocab}

    # ---- layers ----
    @cached_property
    def layer_packets(self) -> tuple[Packet, ...]:
        """The packets of all layers in their order, up to END, without the content of their payloads."""
        layers = (self._layer(number) for number in range(self.shape.layers))
        return (*self._first, *(packet for layer in layers for packet in layer), *self._last)

    @cached_property
    def _first(self) -> tuple[Packet, ...]:
        """Packets before the layers."""
        operands = {"hidden": self.shape.hidden, "head_dim": self.head_dim}
        return (self._norm("model.layers.0.input_layernorm", self.shape.hidden),
                Packet(Opcode.EMBED, Flags.STATISTICS, operands=operands))

    @cached_property
    def _last(self) -> tuple[Packet, ...]:
        """Packets after the layers."""
        return self._quantize(self.shape.hidden, Flags.LM_HEAD), Packet(Opcode.END)

    def _layer(self, number: int) -> tuple[Packet, ...]:
        """The packets of one layer. Every layer has the same number of packets, with the same lengths."""
        shape, at = self.shape, f"model.layers.{number}."
        hidden, ffn = shape.hidden, shape.intermediate
        width, kv_width = self.width, shape.kv_heads * self.head_dim
        k_offset = self.config.padded(width)
        v_offset = k_offset + self.config.padded(kv_width)
        following = "model.norm" if number == shape.layers - 1 else f"model.layers.{number + 1}.input_layernorm"
        return (
            self._quantize(hidden),
            self._matmul(at + "self_attn.q_proj", hidden, width, heads="outputs"),
            self._matmul(at + "self_attn.k_proj", hidden, kv_width, destination=k_offset, heads="outputs"),
            self._matmul(at + "self_attn.v_proj", hidden, kv_width, destination=v_offset, heads="outputs"),
            self._norm(at + "self_attn.attn_sub_norm", width, heads="inputs"),
            Packet(Opcode.ATTEND, Flags.STATISTICS, operands={
                "head_dim": self.head_dim, "group": shape.heads // shape.kv_heads, "kv_heads": shape.kv_heads,
                "softmax_scale": self._softmax_scale, "kv_head_stride": self.head_stride,
                "k_offset": k_offset, "v_offset": v_offset, "layer_offset": number * self.layer_stride,
            }),
            self._quantize(width, Flags.WORK, shape.heads * shape.head_dim),
            self._norm(at + "post_attention_layernorm", hidden),
            self._matmul(
                at + "self_attn.o_proj", width, hidden, Flags.RESIDUAL | Flags.STATISTICS, heads="inputs"),
            self._quantize(hidden),
            self._matmul(at + "mlp.gate_proj", hidden, ffn),
            self._norm(at + "mlp.ffn_sub_norm", ffn),
            self._matmul(at + "mlp.up_proj", hidden, ffn, Flags.GATED | Flags.STATISTICS),
            self._quantize(ffn, Flags.WORK),
            self._norm(following, hidden),
            self._matmul(at + "mlp.down_proj", ffn, hidden, Flags.RESIDUAL | Flags.STATISTICS),
        )

    @cached_property
    def _softmax_scale(self) -> int:
        return float32_code(self.shape.head_dim**-0.5 * np.log2(np.e))

    def _norm(self, name: str, k: int, heads: Literal["", "inputs"] = "") -> Packet:
        operands = {"elements": k}
        return Packet(Opcode.LOAD_NORM, None, self._stream_beats(2 * k), name + ".weight", operands, heads)

    def _quantize(self, k: int, flags: Flags | None = None, count: int = 0) -> Packet:
        """`count` are the elements without padding, if there is any."""
        return Packet(Opcode.QUANTIZE, flags, operands={"elements": k, "per_n": float32_code(1 / (count or k))})

    def _matmul(
        self, name: str, k: int, m: int, flags: Flags | None = None, destination: int = 0,
        heads: Literal["", "outputs", "inputs"] = "",
    ) -> Packet:
        blocks, beats = ceil_div(m, self.config.rows), ceil_div(k, self.config.inputs)
        return Packet(Opcode.MATMUL, flags, blocks * beats * self.config.stream_bytes, name + ".weight", {
            "in_features": k, "out_features": m, "destination": destination, "block_beats": beats,
            "row_blocks": blocks,
        }, heads)

    # ---- image ----
    @cached_property
    def regions(self) -> dict[str, Region]:
        """The regions of the image by name, in the order in which they lie in it.

        The size of the stream is computed without listing its packets, so that an image whose header has a wrong number
        of layers is refused without memory for millions of packets.
        """
        config, shape = self.config, self.shape
        first, layer, last = (sum(packet.total_bytes(config) for packet in packets)
                              for packets in (self._first, self._layer(0), self._last))
        regions, end = {}, HEADER_SIZE
        unit = HEADER_SIZE if config.ports == 1 else STRIPE_BYTES
        for name, size in (
            ("stream", first + shape.layers * layer + last),
            ("head", self.lm_head_packet.total_bytes(config)),
            ("embed", shape.vocab * self.embed_stride),
            ("rope", shape.context * self.rope_stride),
            *([("high", self.high_packet.total_bytes(config))] if self.split else []),
        ):
            stripes = config.ports if name in STREAMED else 1
            row = 1 if stripes == 1 else stripes * STRIPE_BYTES
            offset = ceil_div(end, unit) * unit
            regions[name] = Region(name, offset, size, ceil_div(size, row) * row, stripes)
            end = offset + regions[name].area
        return regions

    @cached_property
    def image_bytes(self) -> int:
        """Bytes of the image file."""
        *_, last = self.regions.values()
        return ceil_div(last.offset + last.area, HEADER_SIZE) * HEADER_SIZE

    # ---- a machine's memory ----
    def layout(self, base: int = 0) -> Layout:
        """Addresses of image, KV cache and the areas of a run in the accelerator's memory, from `base` on.

        Raises:
            HardwareError: `base` is not a multiple of ALIGNMENT, or the end exceeds the accelerator's address space.
        """
        if base % ALIGNMENT:
            raise HardwareError(f"the memory for the model must start at a multiple of {ALIGNMENT}, not at {base:#x}")
        layout = self._layout.moved(base)
        if layout.end > 1 << self.config.address_bits:
            raise HardwareError(f"the model needs memory up to {layout.end:#x}, but preset {self.config.name} has "
                                f"addresses of {self.config.address_bits} bits: use a smaller context")
        return layout

    @cached_property
    def _layout(self) -> Layout:
        """The layout for base address 0."""
        prompt_bytes = max(4 * self.shape.context, BATCH_ENTRY.size // 8 * self.config.columns)
        return Layout.of(image_bytes=self.image_bytes, kv_bytes=self.kv_bytes, prompt_bytes=prompt_bytes,
                         rows=self.run_rows, row_bytes=self.logits_stride,
                         list_bytes=record_beats(self.config) * self.config.beat_bytes if self.config.shortlist else 0)

    def _beats(self, size: int) -> int:
        """`size` bytes, rounded up to whole beats of a port."""
        return ceil_div(size, self.config.beat_bytes) * self.config.beat_bytes

    def _stream_beats(self, size: int) -> int:
        """`size` bytes, rounded up to whole beats of the packet stream."""
        return ceil_div(size, self.config.stream_bytes) * self.config.stream_bytes
