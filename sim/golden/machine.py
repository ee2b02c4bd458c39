"""The whole machine in NumPy. This file executes the packet stream of an image as the hardware does (docs/isa.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from hw.contract.config import AccelConfig
from hw.contract.head_layout import HeadLayout
from hw.contract.high_plane import HighPlane
from hw.contract.isa import Flags, Opcode, decode_header
from sim.golden.array import bitlinear_sums
from sim.golden.attention import KvHead, attend_head, rope
from sim.golden.embedding import embedding_row
from sim.golden.feedforward import gated_relu2
from sim.golden.head_rows import head_rows, high_rows
from sim.golden.logits import lm_head_logits
from sim.golden.norm import Scale, Statistics, quantize, quantize_lm_head, residual, scale, statistics
from sim.golden.number import Array, Codes, rnd
from sim.golden.rescale import rescale
from sim.golden.split_head import Choice, logit_bounds, split_choice
from sw.image import ModelImage

__all__ = ["GoldenMachine", "float_field"]

Fields = dict[str, int]
"""A command header."""


def float_field(code: int) -> float:
    """The value of a float32 word, of a header's field or a register."""
    return float(np.array(code, dtype=np.uint32).view(np.float32))


def packets(config: AccelConfig, region: NDArray[np.uint8]) -> Iterator[tuple[Fields, NDArray[np.uint8]]]:
    """Header and payload of every packet up to END or the region's end."""
    at = 0
    while at < len(region):
        header = decode_header(region[at : at + config.header_bytes].tobytes())
        start = at + config.header_bytes
        at = start + header["payload_beats"] * config.stream_bytes
        yield header, region[start:at]
        if header["opcode"] == Opcode.END.value:
            return


class GoldenMachine:
    """State at a token boundary is the KV memory alone, byte for byte as the hardware keeps it.

    `work` and `h` are the scratchpad of the columns in use: [T, elements] machine floats.
    """

    def __init__(self, image: ModelImage) -> None:
        self.image, self.plan, self.config = image, image.plan, image.plan.config
        names = ("stream", "head", "high") if self.plan.split else ("stream", "head")
        self.streams = {name: image.view(name) for name in names}
        self.kv = np.zeros(self.plan.kv_bytes, dtype=np.uint8)
        self.h = self.work = np.zeros((0, 0))
        self.norm = np.zeros(0)
        self.stats = Statistics(np.zeros(0), np.zeros(0))
        self.act: Codes = np.zeros((0, 0), dtype=np.int64)
        self.act_scale = self.factor = np.zeros(0)
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.slots: list[int] = []

    def run_pass(
        self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[int], want: Sequence[bool],
        check: Callable[[], None] = lambda: None,
    ) -> list[Array | None]:
        """Feeds a token per column, up to T, of one sequence or of several; logits [vocab] of the columns that want
        them. Columns of the same slot are consecutive positions in ascending order. `check` is called before every
        packet, and may raise."""
        self.tokens, self.positions, self.slots = list(tokens), list(positions), list(slots)
        self.h = np.zeros((len(tokens), self.plan.shape.hidden))
        self.work = np.zeros((len(tokens), self.config.work_elements))
        for header, payload in packets(self.config, self.streams["stream"]):
            check()
            opcode = Opcode(header["opcode"])
            if opcode is not Opcode.END:
                getattr(self, opcode.name.lower())(header, payload)
        return [self.lm_head(column) if wanted else None for column, wanted in enumerate(want)]

    def load_norm(self, header: Fields, payload: NDArray[np.uint8]) -> None:
        """bf16 norm weights: exact, denormals are zero."""
        words = payload[: 2 * header["elements"]].copy().view("<u2").astype(np.uint32) << 16
        self.norm = rnd(words.view(np.float32))

    def embed(self, header: Fields, payload: NDArray[np.uint8]) -> None:
        """Rows of the table into the residual stream."""
        stride, table = self.plan.embed_stride, self.image.view("embed")
        rows = [table[t * stride : (t + 1) * stride] for t in self.tokens]
        self.h = np.stack([embedding_row(self.config, row, header["hidden"]) for row in rows])
        self.stats = statistics(self.h, self.norm)

    def quantize(self, header: Fields, payload: NDArray[np.uint8]) -> None:
        """int8 codes for the array, or 16-bit codes for the LM head."""
        flags = Flags(header["flags"])
        x = (self.work if Flags.WORK in flags else self.h)[:, : header["elements"]]
        factors: Scale = scale(self.stats, float_field(header["per_n"]), float_field(header["eps"]))
        if Flags.LM_HEAD in flags:
            self.act, self.act_scale = quantize_lm_head(x, self.norm, self.stats.absmax, factors.rstd)
        else:
            self.act, self.act_scale = quantize(x, self.norm, factors.top), factors.act_scale

    def matmul(self, header: Fields, payload: NDArray[np.uint8]) -> None:
        """BitLinear and what happens to its output on the way to the scratchpad."""
        flags, m = Flags(header["flags"]), header["out_features"]
        sums = bitlinear_sums(self.config, self.act.astype(np.int8), payload.tobytes(), header["in_features"], m)
        self.factor = rnd(self.act_scale * float_field(header["weight_scale"]))
        out = rescale(sums, self.factor)
        if Flags.RESIDUAL in flags:
            out = self.h = residual(self.h, out)
        else:
            part = slice(header["destination"], header["destination"] + m)
            if Flags.GATED in flags:
                out = gated_relu2(self.work[:, part], out)
            self.work[:, part] = out
        if Flags.STATISTICS in flags:
            self.stats = statistics(out, self.norm)

    def attend(self, header: Fields, payload: NDArray[np.uint8]) -> None:
        """RoPE, append, then attention of every column to what is stored; the factors are still those of v."""
        d, group, kv_heads = header["head_dim"], header["group"], header["kv_heads"]
        heads, columns = group * kv_heads, len(self.tokens)

        def heads_at(offset: int, count: int) -> Array:
            return self.work[:, offset : offset + count * d].reshape(columns, count, d)

        cos, sin = self._rope_rows(d)
        q = rope(heads_at(0, heads), cos, sin)
        k = rope(heads_at(header["k_offset"], kv_heads), cos, sin)
        v = heads_at(header["v_offset"], kv_heads)
        out = np.empty_like(q)
        for g in range(kv_heads):
            mine, caches = slice(g * group, (g + 1) * group), {s: self._kv_head(header, s, g, d) for s in self.slots}
            for column, (slot, position) in enumerate(zip(self.slots, self.positions, strict=True)):
                caches[slot].append(
                    position, k[column, g], v[column, g], self.config.kv_bits, float(self.factor[column]))
            most = dict(zip(self.slots, self.positions, strict=True))  # the last position of a slot is its largest
            stored = {slot: caches[slot].read(position + 1) for slot, position in most.items()}
            for column, (slot, position) in enumerate(zip(self.slots, self.positions, strict=True)):
                (keys, values, scales), n = stored[slot], position + 1
                out[column, mine] = attend_head(
                    q[column, mine], keys[:n], values[:n], scales[:n], float_field(header["softmax_scale"]))
        self.work[:, : heads * d] = out.reshape(columns, -1)
        self.stats = statistics(self.work[:, : heads * d], self.norm)

    def lm_head(self, column: int) -> Array:
        """Logits of one column of the last pass over the whole vocabulary."""
        header, payload = next(packets(self.config, self.streams["head"]))
        codes, scales = head_rows(HeadLayout(self.config, header["hidden"], header["vocabulary"]), payload)
        return lm_head_logits(self.act[column], float(self.act_scale[column]), codes, scales)

    def split_head(self, column: int, guarded: int) -> Choice:
        """What the high plane makes of one column of the last pass, with this value of the register GUARD."""
        header, payload = next(packets(self.config, self.streams["high"]))
        high, complements, scales = high_rows(HighPlane(self.config, header["hidden"], header["vocabulary"]), payload)
        act, act_scale = self.act[column], float(self.act_scale[column])
        bounds = logit_bounds(act, act_scale, high, complements, scales, guarded)
        header, payload = next(packets(self.config, self.streams["head"]))
        codes, _ = head_rows(HeadLayout(self.config, header["hidden"], header["vocabulary"]), payload)
        return split_choice(bounds, act, act_scale, codes, scales, self.config.candidates)

    def _rope_rows(self, d: int) -> tuple[Array, Array]:
        """cos and sin [T, 1, d/2] of the columns' positions."""
        stride, table = self.plan.rope_stride, self.image.view("rope")
        rows = [table[p * stride : p * stride + 4 * d].view("<f4").astype(np.float64) for p in self.positions]
        both = np.stack(rows)[:, None, :]
        return both[..., : d // 2], both[..., d // 2 :]

    def _kv_head(self, header: Fields, slot: int, g: int, d: int) -> KvHead:
        start = slot * self.plan.slot_stride + header["layer_offset"] + g * header["kv_head_stride"]
        shape = (self.config.ports, self.plan.head_stride)
        return KvHead.view(self.config, as_strided(self.kv[start:], shape, (self.plan.kv_port_stride, 1)), d)
