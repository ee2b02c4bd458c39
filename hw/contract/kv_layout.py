"""Where keys and values lie in memory, for the hardware, the plan of a model and the golden model."""

from __future__ import annotations

from dataclasses import dataclass

from hw.contract.config import BLOCK_POSITIONS, HEAD_UNIT, AccelConfig, ceil_div

__all__ = ["SCALE_PAIR_BYTES", "KvLayout"]

SCALE_PAIR_BYTES = 8
"""The scales of a position: float32 of its key, float32 of its value."""


@dataclass(frozen=True)
class KvLayout:
    """The cache of one KV head of one sequence in the area of one memory port, in beats of a port.

    A head takes the same addresses on every port, relative to the area of the port, and all ports are read together. A
    port beat has E elements. Blocks have 64 positions.

    Keys of a block: groups of P * q positions, q = port_bits / 64. A group is, on each port, a beat with q pairs of
    scales, then q rows of keys. Position i of a block is row (i / P) mod q of group i / (P q) on port i mod P.

    Values of a block are transposed, so that a beat holds one element of E consecutive positions, and the same dot
    products serve keys and values: groups of E positions, each of ceil(head_dim / P) beats. Beat t of port p holds
    element d = t P + p. A new position writes one element of every beat of its group, with byte strobes.

    The keys of a block are followed by its values. Attention reads the keys of the next block before the values, in
    runs of a few KB on each port.

    Args:
        config: its ports, port_bits and kv_bits count.
        head_dim: elements of a key or value row, a multiple of HEAD_UNIT.
    """

    config: AccelConfig
    head_dim: int

    @classmethod
    def longest(cls, config: AccelConfig) -> KvLayout:
        """The layout of the longest head that the hardware has memories for."""
        return cls(config, ceil_div(config.max_head_dim, HEAD_UNIT) * HEAD_UNIT)

    @property
    def group_positions(self) -> int:
        """Positions of a group of keys."""
        return self.config.ports * self.config.kv_pairs

    @property
    def key_beats(self) -> int:
        """Beats of a row of keys, padded with zeros."""
        return ceil_div(self.head_dim, self.config.kv_elements)

    @property
    def key_group_beats(self) -> int:
        """Beats of a group of keys: scales, then rows."""
        return 1 + self.config.kv_pairs * self.key_beats

    @property
    def keys_beats(self) -> int:
        """Beats of the keys of a block."""
        return BLOCK_POSITIONS // self.group_positions * self.key_group_beats

    @property
    def value_group_beats(self) -> int:
        """Beats of a group of values: every element of E positions."""
        return ceil_div(self.head_dim, self.config.ports)

    @property
    def values_beats(self) -> int:
        """Beats of the values of a block."""
        return BLOCK_POSITIONS // self.config.kv_elements * self.value_group_beats

    @property
    def block_bytes(self) -> int:
        """Bytes from the keys of a block to those of the next, on one port."""
        return (self.keys_beats + self.values_beats) * self.config.beat_bytes

    def head_bytes(self, positions: int) -> int:
        """Bytes of a head with room for so many positions, on one port."""
        return ceil_div(positions, BLOCK_POSITIONS) * self.block_bytes

    def read_beats(self, positions: int) -> int:
        """Beats of a port that attention to so many positions reads: whole groups of keys and of values."""
        full, rest = divmod(positions, BLOCK_POSITIONS)
        keys = ceil_div(rest, self.group_positions) * self.key_group_beats
        values = ceil_div(rest, self.config.kv_elements) * self.value_group_beats
        return full * (self.keys_beats + self.values_beats) + keys + values
