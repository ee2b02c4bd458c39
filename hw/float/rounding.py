"""Steps that all float units share: unpacking of codes, normalising, rounding, packing and clipping.

All functions add combinational logic to the module `m` and give a name to each intermediate value.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from hw.contract.machine_float import FLOAT_BITS, FRACTION_BITS

__all__ = [
    "BIAS", "MAX_CODE_MAGNITUDE", "MAX_EXPONENT", "SIGNIFICAND_BITS", "aligned_integer", "clipped_integer",
    "exponent_field", "is_zero", "normalised", "rounded_code", "sign_bit", "significand",
]

BIAS = 127
MAX_EXPONENT = 254
"""Largest exponent field of a machine float; 255 is never produced."""
SIGNIFICAND_BITS = FRACTION_BITS + 1
MAX_CODE_MAGNITUDE = MAX_EXPONENT << FRACTION_BITS | (1 << FRACTION_BITS) - 1
"""Code of the largest finite float without its sign: what overflow saturates to."""


def sign_bit(code: Value) -> Value:
    """1 for a negative code."""
    return Value.cast(code[FLOAT_BITS - 1])


def exponent_field(code: Value) -> Value:
    """The biased exponent, 8 bits."""
    return Value.cast(code[FRACTION_BITS:FLOAT_BITS - 1])


def is_zero(code: Value) -> Value:
    """1 when the exponent field is zero, whatever the fraction says."""
    return ~exponent_field(code).any()


def significand(code: Value) -> Value:
    """17 bits: the fraction with its leading one, or all zeros for zero."""
    return Mux(is_zero(code), Const(0, SIGNIFICAND_BITS), Cat(code[:FRACTION_BITS], Const(1, 1)))


def _leading_zeros(m: Module, value: Value) -> Value:
    """Number of zeros before the leading one. It is found for pairs of bits, pairs of pairs and so on, all side by
    side: a shift that looks at what the shift before left is twice as deep."""
    parts = [(bit, list[Value]()) for bit in reversed(Value.cast(value))]
    parts += [(Const(0, 1), list[Value]())] * ((1 << (len(value) - 1).bit_length()) - len(value))
    while len(parts) > 1:
        pairs, parts = zip(parts[::2], parts[1::2], strict=True), []
        for (upper, in_upper), (lower, in_lower) in pairs:
            found, zeros = Signal(), Signal(len(in_upper) + 1)
            m.d.comb += [
                found.eq(upper | lower),
                zeros.eq(Cat(*(Mux(upper, *bits) for bits in zip(in_upper, in_lower, strict=True)), ~upper)),
            ]
            parts.append((found, list(zeros)))
    return Value.cast(Cat(parts[0][1]))


def normalised(m: Module, value: Value) -> tuple[Value, Value]:
    """`value` shifted left until its top bit is set, and the shift count. Zero stays zero, its count has no meaning."""
    count = _leading_zeros(m, value)
    current = value
    for level in reversed(range(len(count))):
        shifted = Signal(len(value))
        m.d.comb += shifted.eq(Mux(count[level], current << (1 << level), current))
        current = shifted
    return Value.cast(Cat(current[:-1], value.any())), count


def rounded_code(m: Module, *, sign: Value, exponent: Value, bits: Value, sticky: Value) -> Signal:
    """The 25-bit code nearest to a normalised value, ties to even.

    `bits` starts with the leading one; the value is (1 + rest) * 2^(exponent - BIAS), plus something below its last bit
    when `sticky`. `exponent` is signed and may lie outside the field: after rounding, below 1 becomes +0 and above 254
    saturates. A value without leading one is zero and becomes +0.
    """
    drop = len(bits) - SIGNIFICAND_BITS
    assert drop >= 1, f"rounding needs at least {SIGNIFICAND_BITS + 1} bits, got {len(bits)}"
    fraction = bits[drop:-1]
    increment = Signal()
    # A carry out of the fraction leaves it zero and increments the exponent above it: exactly the next float.
    packed = Signal(signed(FRACTION_BITS + len(exponent) + 1))
    field = Signal(signed(len(exponent) + 1))
    code = Signal(FLOAT_BITS)
    m.d.comb += [
        increment.eq(bits[drop - 1] & (bits[:drop - 1].any() | sticky | bits[drop])),
        packed.eq(Cat(fraction, exponent).as_signed() + increment),
        field.eq(packed[FRACTION_BITS:].as_signed()),
    ]
    with m.If(~bits[-1] | (field < 1)):
        m.d.comb += code.eq(0)
    with m.Elif(field > MAX_EXPONENT):
        m.d.comb += code.eq(Cat(Const(MAX_CODE_MAGNITUDE, FLOAT_BITS - 1), sign))
    with m.Else():
        m.d.comb += code.eq(Cat(packed[:FLOAT_BITS - 1], sign))
    return code


def aligned_integer(m: Module, *, bits: Value, headroom: int, scale: Value, limit: int) -> tuple[Signal, Signal]:
    """Shift bits * 2^(scale - len(bits)) to a fixed point and tell whether it is certainly above `limit`.

    `bits` is zero or has its leading one among its top `headroom` bits. The fixed-point result keeps len(bits) fraction
    bits; it is zero for values below a half, and has no meaning when the second result is set.
    """
    largest = limit.bit_length() + headroom - 1
    fixed = Signal(len(bits) + largest)
    above = Signal()
    amount = Signal(range(largest + 1))
    m.d.comb += [
        above.eq((scale > largest) & bits.any()),
        amount.eq(scale.as_unsigned()[:len(amount)]),
    ]
    with m.If((scale >= 0) & (scale <= largest)):
        m.d.comb += fixed.eq(bits << amount)
    return fixed, above


def clipped_integer(m: Module, *, fixed: Value, fraction_bits: int, above: Value, sign: Value, limit: int) -> Signal:
    """The integer nearest a non-negative fixed-point value, half to even, clipped to `limit`, then `sign` applied."""
    whole = fixed[fraction_bits:]
    rounded = Signal(max(len(whole) + 1, limit.bit_length()))
    magnitude = Signal(range(limit + 1))
    integer = Signal(signed(len(magnitude) + 1))
    half, rest = fixed[fraction_bits - 1], fixed[:fraction_bits - 1].any()
    m.d.comb += [
        rounded.eq(whole + (half & (rest | whole[0]))),
        magnitude.eq(Mux(above | (rounded > limit), limit, rounded)),
        integer.eq(Mux(sign, -magnitude, magnitude)),
    ]
    return integer
