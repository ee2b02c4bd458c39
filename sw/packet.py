"""A command of the packet stream (docs/isa.md) as packing and checking know it: all but the content of its payload."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hw.contract.config import AccelConfig, ConfigError, ceil_div
from hw.contract.isa import LAYOUTS, Flags, Opcode, encode_header

__all__ = ["MODEL_FLOAT", "Packet"]

MODEL_FLOAT = {Opcode.QUANTIZE: "eps", Opcode.MATMUL: "weight_scale"}
"""Operands that hold a positive float32 of the model, and do not follow from its shape."""


@dataclass(frozen=True)
class Packet:
    """A command: operands of its header by name, and the size of its payload, which is made from `tensor` if named.

    `heads` says what of the tensor is padded as heads are: "outputs" or "inputs", or nothing.
    """

    opcode: Opcode
    flags: Flags | None = None
    payload_bytes: int = 0
    tensor: str = ""
    operands: dict[str, int] = field(default_factory=dict)
    heads: Literal["", "outputs", "inputs"] = ""

    def header(self, config: AccelConfig, model_float: int = 0) -> bytes:
        """The header, padded to a beat; `model_float` is the operand of MODEL_FLOAT, if it has one.

        Raises ConfigError for a number that is too large for its field.
        """
        values = {"opcode": self.opcode.value, "flags": self.flags.value if self.flags else 0,
                  "payload_beats": ceil_div(self.payload_bytes, config.stream_bytes), **self.operands}
        if self.opcode in MODEL_FLOAT:
            values[MODEL_FLOAT[self.opcode]] = model_float
        layout = LAYOUTS[self.opcode]
        for name, value in values.items():
            if value >> layout[name].width:
                raise ConfigError(
                    f"the model is too large for the packet stream: field {name} of {self.opcode.name} is {value}"
                )
        return encode_header(values).ljust(config.header_bytes, b"\0")

    def total_bytes(self, config: AccelConfig) -> int:
        """Header and payload."""
        return config.header_bytes + self.payload_bytes
