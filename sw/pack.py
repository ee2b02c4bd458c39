"""Checkpoint to model image. This file converts tensors into what the packets and tables of a `ModelPlan` hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hw.contract.config import MAX_SLOTS, AccelConfig, ConfigError, ceil_div
from hw.contract.head_layout import HeadLayout
from hw.contract.isa import Opcode
from hw.contract.machine_float import float32_code, float32_codes
from sw.checkpoint import EMBEDDING, LM_HEAD, Checkpoint, to_bf16
from sw.doubts import SAMPLED_ROWS, Doubts
from sw.head_padding import pad_inputs, pad_outputs, padded_weights
from sw.image import ImageWriter
from sw.model_config import ModelConfig
from sw.model_plan import ModelPlan
from sw.model_shape import ModelShape
from sw.ternary import TritCounts, count_trits
from sw.weights import pack_matrix
from sw.whole_file import whole_file

__all__ = ["config_shape", "head_groups", "model_shape", "pack"]

PACK_CHUNK_ELEMENTS = 1 << 17
"""Elements of the embedding or head that are converted at a time: what a processor's cache holds."""


def model_shape(checkpoint: Checkpoint, context: int | None = None, sequences: int = 1) -> ModelShape:
    """Shape of the image of a checkpoint, as `config_shape`."""
    return config_shape(checkpoint.config, context, sequences)


def config_shape(c: ModelConfig, context: int | None = None, sequences: int = 1) -> ModelShape:
    """Shape of the image; context defaults to the model's own and may not exceed it. Raises ConfigError."""
    if context is not None and not 1 <= context <= c.max_position_embeddings:
        raise ConfigError(f"context must be 1 to {c.max_position_embeddings}, the model's positions, not {context}")
    if not 1 <= sequences <= MAX_SLOTS:
        raise ConfigError(f"sequences must be 1 to {MAX_SLOTS}, not {sequences}")
    return ModelShape(
        hidden=c.hidden_size, intermediate=c.intermediate_size, layers=c.num_hidden_layers,
        heads=c.num_attention_heads, kv_heads=c.num_key_value_heads, head_dim=c.head_dim, vocab=c.vocab_size,
        context=context or c.max_position_embeddings, sequences=sequences,
    )


def pack(
    checkpoint: Checkpoint,
    path: Path,
    config: AccelConfig,
    *,
    context: int | None = None,
    sequences: int = 1,
    progress: Callable[[str, int], None] = lambda part, size: None,
    doubts: Doubts | None = None,
) -> None:
    """Writes the image. `progress(part, bytes)` is called after every part.

    `doubts` collects what is well-formed in the tensors and cannot be meant: they are all read here anyway.

    Raises ConfigError if the preset cannot run the model, OutputError if the image cannot be written. Memory: a packed
    matrix, or some million elements of what is not packed.
    """
    plan = ModelPlan(config, model_shape(checkpoint, context, sequences))
    doubts = Doubts() if doubts is None else doubts
    with whole_file(path, checkpoint.files) as file:
        image = ImageWriter(file, plan)
        for name, parts in (
            ("stream", _layers(checkpoint, plan, doubts)),
            ("head", _lm_head(checkpoint, plan, doubts)),
            ("embed", _embedding(checkpoint, plan, doubts)),
            ("rope", _rope(checkpoint, plan)),
        ):
            with image.region(name) as write:
                for part in parts:
                    write(part)
                    progress(name, len(part))
        image.finish()
    if checkpoint.lm_head_differs():
        doubts.unused_lm_head(LM_HEAD)
    doubts.end()


def _layers(ckpt: Checkpoint, plan: ModelPlan, doubts: Doubts) -> Iterator[bytes]:
    config = plan.config
    eps = float32_code(ckpt.config.rms_norm_eps)
    padding = {"": lambda matrix, head_dim: matrix, "inputs": pad_inputs, "outputs": pad_outputs}
    for packet in plan.layer_packets:
        if packet.opcode is Opcode.MATMUL:
            matrix = padding[packet.heads](ckpt.ternary(packet.tensor), plan.shape.head_dim)
            yield packet.header(config, float32_code(matrix.scale))
            counts = matrix.counts or TritCounts()
            for rows in matrix.blocks(config.rows):
                if matrix.counts is None:
                    counts += count_trits(rows)
                yield pack_matrix(config, rows)
            doubts.matrix(packet.tensor, matrix.scale, counts)
            if matrix.counts is None:
                doubts.master(packet.tensor, ckpt.float(packet.tensor, SAMPLED_ROWS), matrix.scale)
            continue
        yield packet.header(config, eps)
        if packet.opcode is Opcode.LOAD_NORM:
            weights = ckpt.float(packet.tensor)
            doubts.norm(packet.tensor, weights)
            if packet.heads:
                weights = padded_weights(weights, plan.shape.head_dim)
            yield to_bf16(weights, packet.tensor).tobytes().ljust(packet.payload_bytes, b"\0")


def _row_codes(rows: NDArray[np.floating], bits: int) -> tuple[NDArray[np.int16], NDArray[np.uint32]]:
    """Symmetric codes per row and the float32 bits of their scales."""
    rows, limit = rows.astype(np.float64), 2 ** (bits - 1) - 1
    codes = float32_codes(np.abs(rows).max(axis=1) / limit)
    scales = codes.view("<f4").astype(np.float64)
    safe = np.where(scales > 0, scales, 1.0)
    return np.clip(np.rint(rows / safe[:, None]), -limit, limit).astype(np.int16), codes


def _chunks(
    ckpt: Checkpoint, name: str, shape: ModelShape, doubts: Doubts | None, multiple: int = 1
) -> Iterator[NDArray[np.float32]]:
    """Rows of a table of tokens; all chunks but the last have a multiple of `multiple`. Tells `doubts` of the table."""
    step = max(1, PACK_CHUNK_ELEMENTS // shape.hidden // multiple) * multiple
    for start in range(0, shape.vocab, step):
        rows = ckpt.float(name, slice(start, min(start + step, shape.vocab)))
        if doubts:
            doubts.rows(name, rows)
        yield rows


def head_groups(layout: HeadLayout, codes: NDArray[np.integer], scales: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Rows of int8 codes [n, hidden] and the float32 bits of their scales [n] as whole groups, one behind the other."""
    groups, ports, rows = ceil_div(len(codes), layout.group_rows), layout.config.ports, layout.port_rows
    padded = np.zeros((groups * layout.group_rows, layout.row_beats * layout.config.beat_bytes), dtype=np.int8)
    padded[: len(codes), : layout.hidden] = codes
    words = np.zeros(len(padded), dtype="<u4")
    words[: len(scales)] = scales
    out = np.empty((groups, layout.group_beats, ports, layout.config.beat_bytes), dtype=np.uint8)
    out[:, 0] = np.ascontiguousarray(words.reshape(groups, rows, ports).swapaxes(1, 2)).view(np.uint8)
    by_port = padded.view(np.uint8).reshape(groups, rows, ports, layout.row_beats, -1).swapaxes(2, 3)
    out[:, 1:] = by_port.reshape(groups, layout.group_beats - 1, ports, -1)
    return out


def _lm_head(ckpt: Checkpoint, plan: ModelPlan, doubts: Doubts) -> Iterator[bytes]:
    config, shape, layout = plan.config, plan.shape, plan.head_layout
    yield plan.lm_head_packet.header(config)
    name, new = (EMBEDDING, None) if ckpt.config.tie_word_embeddings else (LM_HEAD, doubts)
    for rows in _chunks(ckpt, name, shape, new, layout.group_rows):
        codes, scales = _row_codes(rows, 8)
        yield head_groups(layout, codes, scales).tobytes()


def _embedding(ckpt: Checkpoint, plan: ModelPlan, doubts: Doubts) -> Iterator[bytes]:
    config, shape, bits = plan.config, plan.shape, plan.config.embedding_bits
    for rows in _chunks(ckpt, EMBEDDING, shape, doubts):
        out = np.zeros((len(rows), plan.embed_stride), dtype=np.uint8)
        if bits == 16:
            out[:, : 2 * shape.hidden] = to_bf16(rows, EMBEDDING).view(np.uint8)
        else:
            codes, scales = _row_codes(rows, bits)
            out[:, :4] = scales.view(np.uint8).reshape(-1, 4)
            body = out[:, config.beat_bytes :]
            if bits == 8:
                body[:, : shape.hidden] = codes.astype(np.int8).view(np.uint8)
            else:  # two 12-bit codes in three bytes, little endian
                pair = (codes.astype(np.int64) & 0xFFF).reshape(len(rows), -1, 2)
                word = pair[..., 0] | pair[..., 1] << 12
                packed = np.stack([word & 255, word >> 8 & 255, word >> 16], axis=-1).astype(np.uint8)
                body[:, : 3 * shape.hidden // 2] = packed.reshape(len(rows), -1)
        yield out.tobytes()


def _rope(ckpt: Checkpoint, plan: ModelPlan) -> Iterator[bytes]:
    """Angles in float32 as Hugging Face computes them, cosine and sine in float64, rounded to machine floats."""
    d = plan.shape.head_dim
    inverse = (ckpt.config.rope_theta ** (-np.arange(0, d, 2) / d)).astype(np.float32)
    for position in range(plan.shape.context):
        angle = (np.float32(position) * inverse).astype(np.float64)
        pad = np.zeros((plan.head_dim - d) // 2)
        row = float32_codes(np.concatenate([np.cos(angle), pad, np.sin(angle), pad]))
        yield row.tobytes().ljust(plan.rope_stride, b"\0")
