"""Where the rows of the LM head lie in its packet, for the hardware, the plan of a model and the golden model."""

from __future__ import annotations

from dataclasses import dataclass

from hw.contract.config import BLOCK_POSITIONS, AccelConfig, ceil_div

__all__ = ["HeadLayout", "SCALE_BYTES"]

SCALE_BYTES = 4
"""The scale of a row: a float32."""


@dataclass(frozen=True)
class HeadLayout:
    """The payload of a LM_HEAD packet, in beats of the packet stream: a beat of every port.

    It is laid out as keys are (`KvLayout`), so that the same dot products serve both. With s = port_bits / 32, a group
    of P s rows is, on each port, a beat of s float32 scales, then s rows of int8, each padded with zeros to whole beats
    of a port. Row i of the vocabulary is row (i // P) mod s of group i // (P s) on port i mod P. Rows behind the
    vocabulary are 0, and so are their scales.

    Args:
        config: its ports and port_bits count.
        hidden: elements of a row.
        vocab: rows.
    """

    config: AccelConfig
    hidden: int
    vocab: int

    @classmethod
    def longest(cls, config: AccelConfig) -> HeadLayout:
        """The layout of the largest head that the hardware has memories for."""
        return cls(config, config.max_hidden, config.max_vocab)

    @property
    def port_rows(self) -> int:
        """s, rows of a group on one port."""
        return self.config.beat_bytes // SCALE_BYTES

    @property
    def group_rows(self) -> int:
        """Rows of a group on all ports; at most 64, a block of the dot products."""
        return self.config.ports * self.port_rows

    @property
    def row_beats(self) -> int:
        """Beats of a row, padded with zeros."""
        return ceil_div(self.hidden, self.config.beat_bytes)

    @property
    def group_beats(self) -> int:
        """Beats of a group: scales, then rows."""
        return 1 + self.port_rows * self.row_beats

    @property
    def groups(self) -> int:
        """Groups of the packet."""
        return ceil_div(self.vocab, self.group_rows)

    @property
    def group_bytes(self) -> int:
        """Bytes of a group."""
        return self.group_beats * self.config.stream_bytes

    @property
    def payload_bytes(self) -> int:
        """Bytes of the payload."""
        return self.groups * self.group_bytes

    @property
    def block_groups(self) -> int:
        """Groups of a block of the dot products: 64 rows."""
        return BLOCK_POSITIONS // self.group_rows
