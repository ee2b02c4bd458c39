"""Units of configurations drawn from all that can be built equal the golden model, with random stalls on all ends."""

from __future__ import annotations

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hw.array.systolic import SystolicArray
from hw.contract.config import AccelConfig, ceil_div
from hw.contract.high_plane import guard
from hw.embedding.embedding import EmbeddingRow
from sim.golden.array import bitlinear_sums
from sim.golden.embedding import embedding_row
from sim.golden.number import encode, rnd
from sw.weights import pack_matrix
from tests.hw.array import test_rescale
from tests.hw.attention import test_head_outputs, test_softmax
from tests.hw.configs import configs
from tests.hw.dot import test_block_dots
from tests.hw.feedforward import test_gated_relu2
from tests.hw.logits import test_argmax, test_split_head
from tests.hw.logits.head_bench import check, random_group
from tests.hw.logits.split_bench import Trial, check_split
from tests.hw.norm import test_quantize, test_residual, test_statistics
from tests.hw.norm.vectors import bf16, random_vector
from tests.hw.steps import Step, run_steps, run_stream

SEEDS = st.integers(0, 2**32 - 1)
STALLS = st.sampled_from((0.0, 0.3, 0.7))
SMALL = configs(ports=(1,), port_bits=(64, 128), most_columns=3, largest=90)


def with_rows(config: AccelConfig, rows: int) -> AccelConfig:
    """With so many query rows; a split head needs two."""
    return config.replace(query_rows=rows, candidates=config.candidates if rows > 1 else 0)


def few(examples: int):
    """No shrinking: a failure names its configuration, and elaborating it again a hundred times takes minutes."""
    return settings(max_examples=examples, deadline=None, derandomize=True, phases=[Phase.generate])


def words_of(config: AccelConfig, most: int) -> int:
    """Elements of the longest vector of whole words within `most`; a word at least."""
    return max(1, most // config.vector) * config.vector


@few(4)
@given(SMALL, SEEDS, STALLS)
def test_array(config: AccelConfig, seed: int, stall: float) -> None:
    random = np.random.default_rng(seed)
    k, m = int(random.integers(1, config.max_k + 1)), int(random.integers(1, 3 * config.rows + 1))
    m = min(m, config.max_k)
    activations = random.integers(-127, 128, (random.integers(1, config.columns + 1), k)).astype(np.int8)
    packed = pack_matrix(config, random.integers(-1, 2, (m, k), dtype=np.int8))
    blocks, words = ceil_div(m, config.rows), ceil_div(k, config.inputs)
    padded = np.zeros((len(activations), words * config.inputs), dtype=int)
    padded[:, :k] = activations
    steps = [
        Step(set={"i_write_en": 1, "i_write": {
            "column": column, "address": n, "values": row[n * config.inputs : (n + 1) * config.inputs].tolist()}})
        for column, row in enumerate(padded) for n in range(words)
    ]
    beats = np.frombuffer(packed, dtype=np.uint8).reshape(-1, config.stream_bytes).tolist()
    steps += [Step(set={"i_write_en": 0}), Step(send={
        "i_command": [{"words": words, "blocks": blocks, "columns": len(activations)}], "i_weights": beats})]
    received = run_steps(SystolicArray(config), steps, stall=stall, seed=seed, silence=200).received["o"]
    found = np.zeros((len(activations), blocks * config.rows), dtype=int)
    for word in received:
        at = word["index"] * config.vector
        found[word["column"], at : at + config.vector] = word["sums"]
    assert len(received) == found.size // config.vector
    assert found[:, :m].tolist() == bitlinear_sums(config, activations, packed, k, m).tolist()
    assert not found[:, m:].any()


@few(4)
@given(SMALL, SEEDS, STALLS)
def test_elementwise(config: AccelConfig, seed: int, stall: float) -> None:
    """Rescale, residual sum and gate, with the sums that the longest vector can give."""
    random = np.random.default_rng(seed)
    most = 127 * config.max_k
    shape = (config.columns, words_of(config, min(config.max_hidden, 32)))
    sums = random.integers(-most, most + 1, shape)
    sums[:, 0] = most
    test_rescale.compare(config, [(sums, rnd(random.random(config.columns)))], stall, seed)
    h, out, gate, up = rnd(random.normal(size=(4, *shape)))
    test_residual.compare(config, [(h, out)], stall, seed)
    test_gated_relu2.compare(config, [(gate, up, config.column_words - shape[1] // config.vector)], stall, seed)


@few(4)
@given(SMALL, SEEDS, STALLS, st.integers(0, 1))
def test_norm(config: AccelConfig, seed: int, stall: float, head: int) -> None:
    random = np.random.default_rng(seed)
    n = int(random.integers(1, config.max_k + 1))
    x, g = random_vector(random, config.columns, n, scale=3.0), bf16(1 + random_vector(random, n))
    test_statistics.check(config, [x], g, test_statistics.shuffled, stall)
    test_quantize.check(config, [(x, g, head, 0)], stall)


@few(4)
@given(SMALL, SEEDS, STALLS)
def test_dots(config: AccelConfig, seed: int, stall: float) -> None:
    """Keys and values of the longest heads, largest first."""
    config = with_rows(config, 1 + config.query_rows % 3).replace(max_head_dim=16 * (1 + seed % 3))
    blocks = test_block_dots.random_blocks(config, config.max_head_dim, (test_block_dots.EXTREME, 1 + seed % 64))
    test_block_dots.check(config, config.max_head_dim, blocks, stall)


@few(3)
@given(SMALL, SEEDS, STALLS)
def test_split_choices(config: AccelConfig, seed: int, stall: float) -> None:
    config = config.replace(kv_bits=8, query_rows=max(2, config.query_rows), candidates=64)
    random, k = np.random.default_rng(seed), 1 + seed % config.max_hidden
    head = test_split_head.random_head(random, 1 + seed % config.max_vocab, k)
    trials = [Trial(test_split_head.tilted(random, head, 0, by), 2.0**-12, guard(g)) for by, g in ((2, 8), (0.5, 1))]
    check_split(config, head, random.integers(0, 17, k), trials, stall=stall, seed=seed, gaps=2)


@few(3)
@given(SMALL, st.integers(1, 16), SEEDS, STALLS)
def test_softmax_and_outputs(config: AccelConfig, rows: int, seed: int, stall: float) -> None:
    config = with_rows(config, rows)
    test_softmax.check_random(config, seed, stall, (1, 2))
    test_head_outputs.check_random(config.replace(max_head_dim=16 * (1 + seed % 3)), seed, stall)


@few(5)
@given(SMALL, SEEDS, STALLS)
def test_embedding(config: AccelConfig, seed: int, stall: float) -> None:
    random = np.random.default_rng(seed)
    hidden = words_of(config, config.max_hidden)
    hidden += hidden % 2 * config.vector  # 12-bit codes come in pairs
    if hidden > config.max_hidden:
        return
    body = ceil_div(hidden * config.embedding_bits, 8 * config.beat_bytes) * config.beat_bytes
    row = random.integers(0, 256, (0 if config.embedding_bits == 16 else config.beat_bytes) + body).astype(np.uint8)
    if config.embedding_bits == 16:
        row.view("<u2")[:] = bf16(random.normal(size=body // 2)).astype(np.float32).view(np.uint32) >> 16
        row.view("<u2")[:2] = 0x0001, 0x807F  # denormals
    else:
        row[:4] = np.array([rnd(random.random())], dtype="<f4").view(np.uint8)
    words = hidden // config.vector
    lanes = row.reshape(-1, config.beat_bytes).tolist()
    beats = [{"data": lane, "last": n == len(lanes) - 1} for n, lane in enumerate(lanes)]
    received, _ = run_stream(EmbeddingRow(config), {"i_command": [{"column": 0, "words": words}] * 2, "i": beats * 2},
                             stall=stall, seed=seed)
    codes = encode(embedding_row(config, row, hidden)).reshape(words, config.vector).tolist()
    assert received == [{"column": 0, "index": n, "values": word} for _ in range(2) for n, word in enumerate(codes)]


@few(5)
@given(SMALL, SEEDS, STALLS)
def test_logits(config: AccelConfig, seed: int, stall: float) -> None:
    """The head on its largest codes and on random ones, and the argmax."""
    random = np.random.default_rng(seed)
    config = with_rows(config, 1 + config.query_rows % 4)
    columns = config.head_columns
    groups = [random_group([seed, n], columns, k, random.integers(1, config.max_vocab + 1, 2).tolist(), padding=0x7F)
              for n, k in enumerate((config.max_hidden, int(random.integers(1, config.max_hidden + 1))))]
    groups[0].heads[0].rows[:] = np.where(groups[0].a16[0] < 0, -127, 127)
    groups[0].a16[:] = np.where(groups[0].a16 < 0, -32767, 32767)
    check(config, groups, keep=bool(seed % 2), stall=stall, seed=seed)
    test_argmax.run(list(test_argmax.random_commands(seed))[:4], stall=stall, seed=seed)
