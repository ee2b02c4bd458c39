"""Checkpoint to model image. This file converts tensors into what the packets and tables of a `ModelPlan` hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hw.contract.config import MAX_SLOTS, AccelConfig, ConfigError
from hw.contract.isa import Opcode
from hw.contract.machine_float import float32_code, float32_codes
from sw.checkpoint import EMBEDDING, LM_HEAD, Checkpoint, to_bf16
from sw.doubts import SAMPLED_ROWS, Doubts
from sw.head_padding import pad_inputs, pad_outputs, padded_weights
from sw.head_payload import dither_group, head_groups, high_groups
from sw.image import ImageWriter
from sw.model_config import ModelConfig
from sw.model_plan import ModelPlan
from sw.model_shape import ModelShape
from sw.ternary import TritCounts, count_trits
from sw.weights import pack_matrix
from sw.whole_file import whole_file

__all__ = ["config_shape", "model_shape", "pack"]

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
    split: bool = False,
    progress: Callable[[str, int], None] = lambda part, size: None,
    doubts: Doubts | None = None,
) -> None:
    """Writes the image, with `split` also the high plane of the LM head. `progress(part, bytes)` is called after every
    part.

    `doubts` collects what is well-formed in the tensors and cannot be meant: they are all read here anyway.

    Raises ConfigError if the preset cannot run the model, OutputError if the image cannot be written. Memory: a packed
    matrix, or some million elements of what is not packed.
    """
    plan = ModelPlan(config, model_shape(checkpoint, context, sequences), split)
    doubts = Doubts() if doubts is None else doubts
    with whole_file(path, checkpoint.files) as file:
        image = ImageWriter(file, plan)
        for name, parts in (
            ("stream", _layers(checkpoint, plan, doubts)),
            ("head", _lm_head(checkpoint, plan, doubts)),
            ("embed", _embedding(checkpoint, plan, doubts)),
            ("rope", _rope(checkpoint, plan)),
            *([("high", _high_plane(checkpoint, plan))] if split else []),
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


def _head_rows(
    ckpt: Checkpoint, plan: ModelPlan, doubts: Doubts | None
) -> Iterator[tuple[NDArray[np.int16], NDArray[np.uint32]]]:
    """Codes and scales of the rows of the LM head, in whole groups. Tells `doubts` of a tensor of its own."""
    name, new = (EMBEDDING, None) if ckpt.config.tie_word_embeddings else (LM_HEAD, doubts)
    for rows in _chunks(ckpt, name, plan.shape, new, plan.head_layout.group_rows):
        yield _row_codes(rows, 8)


def _lm_head(ckpt: Checkpoint, plan: ModelPlan, doubts: Doubts) -> Iterator[bytes]:
    yield plan.lm_head_packet.header(plan.config)
    for codes, scales in _head_rows(ckpt, plan, doubts):
        yield head_groups(plan.head_layout, codes, scales).tobytes()


def _high_plane(ckpt: Checkpoint, plan: ModelPlan) -> Iterator[bytes]:
    """The rows of the LM head are read a second time, so that they are not held."""
    yield plan.high_packet.header(plan.config)
    yield dither_group(plan.high_plane).tobytes()
    for codes, scales in _head_rows(ckpt, plan, None):
        yield high_groups(plan.high_plane, codes, scales).tobytes()


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
