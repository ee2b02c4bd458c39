"""The one configuration object. This file holds what a user chooses, the widths derived from it, and the presets.

`AccelConfig` is the first argument of every hardware component, golden model and test. It is frozen; a
combination that cannot be built is refused by a `ConfigError` with a sentence.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass

__all__ = ["AccelConfig", "ConfigError", "PRESETS", "ceil_div", "preset"]

BLOCK_POSITIONS = 64
"""Positions in one block of the KV cache and of the online softmax. Part of the numeric contract."""

HEAD_UNIT = 16
"""The elements of a head are padded to a multiple of this: whole words of V in both halves, and at least four beats of
values on each of four ports. Part of the numeric contract, because the order of sums depends on it."""

SUM_PARTIALS = 16
"""Interleaved partial sums of the sum of squares. Part of the numeric contract."""

HEADER_BYTES = 32
"""Bytes of a command header in the packet stream (`docs/isa.md`)."""

BOUNDARY_BYTES = 4096
"""No AXI burst crosses a multiple of this; what the machine may read and write is told in units of it."""

STRIPE_BYTES = 16384
"""The packet stream lies on several ports in stripes of this size: the ports' addresses differ modulo 64 KiB."""


MAX_SLOTS = 64
"""Sequences whose keys and values can lie in memory side by side."""

MAX_KV_HEADS = 256
"""Key and value heads of a layer."""

RANGES = {
    "columns": (1, 64),
    "query_rows": (1, 16),
    "max_hidden": (1, (1 << 16) - 1),
    "max_intermediate": (1, (1 << 16) - 1),
    "max_vocab": (1, 1 << 24),
    "max_group": (1, 255),
    "max_positions": (1, 1 << 24),
    "stream_fifo_beats": (2, 1 << 20),
    "burst_beats": (1, 256),
    "outstanding": (1, 256),
    "address_bits": (36, 64),
    "timeout_cycles": (1, (1 << 32) - 1),
}
"""Smallest and largest value of what may be any integer between: headers have 16 bits for a vector's length, tables of
tokens and positions 24 for a row, and AXI 256 beats in a burst."""

CHOICES = {
    "ports": (1, 2, 4),
    "port_bits": (64, 128, 256, 512),
    "vector": (1, 2, 4),
    "kv_bits": (8, 16),
    "embedding_bits": (8, 12, 16),
    "shortlist": (0, 64),
    "candidates": (0, 64, 128, 256, 512, 1024, 2048, 4096, 8192),
}

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}")
"""Names are stored in images, and are part of comments of the Verilog."""


class ConfigError(ValueError):
    """A configuration that cannot be built, or a model that a configuration cannot run."""


def ceil_div(value: int, divisor: int) -> int:
    """Smallest integer not below value / divisor."""
    return -(-value // divisor)


@dataclass(frozen=True, kw_only=True)
class AccelConfig:
    """What a user chooses. All sizes are maxima that a model may stay below.

    Attributes:
        name: preset name, stored in the image: up to 40 letters, digits, spaces, and `.`, `_`, `-`. It identifies
            nothing: `design_hash` does.
        ports: P, AXI memory ports, 1, 2 or 4. All of them read the packet stream, and read and write keys and values;
            port 0 alone does the other random reads and writes.
        port_bits: data width of an AXI port, 64 to 512 bit.
        rows: R, output rows that the array computes at a time; a multiple of `vector`.
        inputs: Kc, inputs per clock and row. rows * inputs must equal 5 trits per byte of a beat of the packet stream,
            which is a beat of every port.
        columns: T, tokens that share one pass over the weights.
        vector: V, elements per clock of every elementwise unit: 1, 2 or 4.
        query_rows: D, query rows (query heads of the columns) that share a beat of keys or values: 1 to 16.
        kv_bits: 8 or 16, bits of a cached key or value element.
        embedding_bits: 16 (bf16), 12 or 8 bits per element of the input embedding table.
        shortlist: best rows of a column that the LM head lists for the host, with the sum of the powers of all rows, so
            that a token can be drawn without the row of logits: 0 (no lists) or 64.
        candidates: rows of the LM head that may be left after its high plane, which is half of its bytes, for their
            exact logits to be computed (a split head): 0 (no split head) or a power of two, 64 to 8192. Needs kv_bits 8
            and query_rows of 2 or more.
        max_hidden: largest hidden size.
        max_intermediate: largest FFN size.
        max_vocab: largest vocabulary.
        max_head_dim: largest head dimension.
        max_group: most query heads that share a KV head.
        max_positions: most positions of one sequence.
        stream_fifo_beats: depth of each port's weight FIFO. It must cover the read latency plus the longest step in
            which no weight is consumed; see docs/decisions/0001-geometry.md.
        burst_beats: longest AXI burst in beats; a burst never crosses 4 KB whatever this says.
        outstanding: reads in flight per port at most.
        address_bits: AXI address width.
        timeout_cycles: an AXI port that does not answer for this long is an error.
    """

    name: str
    ports: int = 1
    port_bits: int = 64
    rows: int = 2
    inputs: int = 20
    columns: int = 2
    vector: int = 2
    query_rows: int = 4
    kv_bits: int = 8
    embedding_bits: int = 16
    shortlist: int = 0
    candidates: int = 0
    max_hidden: int = 2048
    max_intermediate: int = 2048
    max_vocab: int = 8192
    max_head_dim: int = 128
    max_group: int = 16
    max_positions: int = 4096
    stream_fifo_beats: int = 512
    burst_beats: int = 64
    outstanding: int = 8
    address_bits: int = 40
    timeout_cycles: int = 100_000

    def __post_init__(self) -> None:
        if type(self.name) is not str or not NAME.fullmatch(self.name):
            raise ConfigError("name must be a text of up to 40 letters, digits, spaces, dots, underscores and hyphens, "
                              f"not {str(self.name)[:60]!r}")
        for field in dataclasses.fields(self)[1:]:
            value = getattr(self, field.name)
            if type(value) is not int:
                raise ConfigError(f"{field.name} must be an integer, not {value!r}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                *most, last = choices
                raise ConfigError(f"{name} must be {', '.join(map(str, most))} or {last}, not {getattr(self, name)}")
        for name, (low, high) in RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} must be {low} to {high}, not {getattr(self, name)}")
        self._check_geometry()
        if self.stream_fifo_beats < 2 * self.burst_beats:
            raise ConfigError(
                f"stream_fifo_beats must hold two bursts of {self.burst_beats}, not {self.stream_fifo_beats} beats: "
                f"set stream_fifo_beats to {2 * self.burst_beats} or more, or burst_beats to "
                f"{self.stream_fifo_beats // 2} or less"
            )
        if self.candidates and (self.kv_bits != 8 or self.query_rows < 2):
            raise ConfigError("candidates must be 0 unless kv_bits is 8 and query_rows is 2 or more, because a row of "
                              f"the high plane takes two rows of int8 dot products: kv_bits is {self.kv_bits}, "
                              f"query_rows {self.query_rows}")
        if not HEAD_UNIT <= self.max_head_dim <= 1024:
            raise ConfigError(f"max_head_dim must be {HEAD_UNIT} to 1024, not {self.max_head_dim}")

    def _check_geometry(self) -> None:
        """Compare the array's rows and inputs with the beat of the packet stream and with the vector."""
        lanes, vector = 5 * self.stream_bytes, self.vector
        fits = " or ".join(f"{rows} * {lanes // rows}" for rows in range(vector, lanes // vector + 1, vector)
                           if lanes % rows == 0)
        if self.rows < 1 or self.rows * self.inputs != lanes:
            raise ConfigError(
                f"rows * inputs must be 5 trits per byte of a {self.stream_bytes}-byte beat = {lanes}, "
                f"not {self.rows} * {self.inputs} = {self.rows * self.inputs}: set rows * inputs to {fits}, or change "
                "ports and port_bits"
            )
        if self.rows % vector:
            raise ConfigError(f"rows must be a multiple of vector, but {self.rows} % {vector} is not 0: set "
                              f"rows * inputs to {fits}, or vector to 1")
        if self.inputs < vector:
            raise ConfigError(f"inputs must be at least vector, but {self.inputs} is less than {vector}: set "
                              f"rows * inputs to {fits}")

    # ---- derived: bytes and words ----
    @property
    def beat_bytes(self) -> int:
        """Bytes of one beat of a memory port."""
        return self.port_bits // 8

    @property
    def stream_bytes(self) -> int:
        """Bytes of one beat of the packet stream: a beat of every port, port 0 in the lowest bytes."""
        return self.ports * self.beat_bytes

    @property
    def lanes(self) -> int:
        """Ternary MACs per clock and column."""
        return self.rows * self.inputs

    @property
    def header_beats(self) -> int:
        """Beats of the packet stream in a command header."""
        return ceil_div(HEADER_BYTES, self.stream_bytes)

    @property
    def header_bytes(self) -> int:
        """Bytes of a command header in the packet stream: whole beats."""
        return self.header_beats * self.stream_bytes

    @property
    def max_k(self) -> int:
        """Longest input vector of a BitLinear."""
        return max(self.max_hidden, self.max_intermediate)

    @property
    def activation_words(self) -> int:
        """Depth of a column's activation memory, in words of `inputs` int8."""
        return ceil_div(self.max_k, self.inputs)

    @property
    def accumulator_bits(self) -> int:
        """Signed width of a BitLinear sum: |sum| <= 127 * max_k."""
        return (127 * self.max_k).bit_length() + 1

    # ---- derived: scratchpad ----
    @property
    def padding(self) -> int:
        """What the length of a matmul's result is rounded up to: whole row blocks, whole groups of 16."""
        return max(16, self.rows)

    def padded(self, elements: int) -> int:
        """Scratchpad elements of a matmul's result."""
        return ceil_div(elements, self.padding) * self.padding

    @property
    def residual_elements(self) -> int:
        """Scratchpad elements of the residual stream of one column; the work area starts here."""
        return self.padded(self.max_hidden)

    @property
    def work_elements(self) -> int:
        """Scratchpad elements of the work area of one column: q, k, v or the FFN vector."""
        return ceil_div(max(3 * self.max_hidden, self.max_intermediate), 16) * 16 + 4 * self.padding

    @property
    def column_words(self) -> int:
        """Scratchpad words (of `vector` elements) of one column."""
        return ceil_div(self.residual_elements + self.work_elements, self.vector)

    @property
    def word_bits(self) -> int:
        """Width of a word index inside a column's part of the scratchpad."""
        return (self.column_words - 1).bit_length()

    @property
    def column_bits(self) -> int:
        """Width of a column index; at least 1."""
        return max(1, (self.columns - 1).bit_length())

    @property
    def norm_words(self) -> int:
        """Depth of the norm weight memory, in words of `vector` bf16."""
        return ceil_div(self.max_k, self.vector)

    @property
    def quantize_lanes(self) -> int:
        """Q, elements that are quantised per clock: 2 V; V where V is 1, or a beat or an activation word is too short.

        With V = 1, two scratchpad words at a time would cost `ulx3s-bram` the block RAM that it does not have.
        """
        wide = 2 * self.vector
        return wide if self.vector > 1 and wide <= min(self.inputs, self.stream_bytes // 2) else self.vector

    @property
    def quantize_words(self) -> int:
        """Most words of `quantize_lanes` elements in an input vector."""
        return ceil_div(self.max_k, self.quantize_lanes)

    # ---- derived: LM head ----
    @property
    def head_columns(self) -> int:
        """Most columns that share the beats of the LM head: it has the D rows of the dot products."""
        return min(self.query_rows, self.columns)

    # ---- derived: KV cache ----
    @property
    def kv_bytes(self) -> int:
        """Bytes of a cached element."""
        return self.kv_bits // 8

    @property
    def kv_elements(self) -> int:
        """E, cached elements in a beat of a port."""
        return self.beat_bytes // self.kv_bytes

    @property
    def kv_pairs(self) -> int:
        """q, pairs of float32 scales in a beat of a port."""
        return self.port_bits // 64

    @property
    def softmax_lanes(self) -> int:
        """L, query rows whose softmax is computed at a time: the softmax of D rows takes as long as reading a block of
        64 positions with head_dim 128 at 64 B per clock."""
        return ceil_div(self.query_rows, 4)

    @property
    def design_hash(self) -> str:
        """SHA-256 over every field that shapes the hardware or the image; the name is left out.

        So is an option that is 0: what was built before there was the option keeps its hash.
        """
        options = ("shortlist", "candidates")
        fields = {k: v for k, v in dataclasses.asdict(self).items() if k != "name" and (v or k not in options)}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    @property
    def build_id(self) -> int:
        """First 64 bits of `design_hash`: read-only in hardware, stored in the image, compared by the driver."""
        return int(self.design_hash[:16], 16)

    def replace(self, **changes: object) -> AccelConfig:
        """A copy with some fields changed, checked again."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


PRESETS = {
    c.name: c
    for c in (
        AccelConfig(name="tiny", shortlist=64),
        AccelConfig(name="tiny-kv16", kv_bits=16),
        AccelConfig(name="ulx3s", vector=1, max_hidden=1024),
        AccelConfig(
            name="ulx3s-bram", vector=1, embedding_bits=8, max_hidden=128, max_intermediate=344, max_vocab=512,
            query_rows=2, max_head_dim=64, max_group=2, max_positions=128, stream_fifo_beats=32,
            burst_beats=16,
        ),
        AccelConfig(
            name="medium", port_bits=128, rows=4, columns=4, vector=4, stream_fifo_beats=1024, shortlist=64,
            max_hidden=2560, max_intermediate=6912, max_vocab=128256,
        ),
        AccelConfig(
            # of the board with that name: a port of 128 bits for each of the four S_AXI_HP ports of a K26, and maxima
            # of microsoft/bitnet-b1.58-2B-4T, which fits its DDR4
            name="kv260", ports=4, port_bits=128, rows=16, columns=8, vector=4, query_rows=8, stream_fifo_beats=2048,
            shortlist=64, max_hidden=2560, max_intermediate=6912, max_vocab=128256,
        ),
    )
}
"""Named configurations; a command line takes the name. `ulx3s-bram` and `kv260` are the machines of the boards with
these names."""


def preset(name: str) -> AccelConfig:
    """The preset of that name. Raises ConfigError that lists the names."""
    if name not in PRESETS:
        raise ConfigError(f"no preset named {name!r}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]
