"""The shortlist of a column as the host reads it: the likeliest tokens, and the sum over all.

docs/numerics.md, section 7.1, defines the record; `Sampler.draw_listed` and `Likelihood.of_list` use it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.contract.record import record_dtype
from hw.contract.shortlist import FRACTION_BITS, SHORTLIST, SHORTLIST_ROWS, SUM_FRACTION_BITS, WHOLE_BITS
from sw.errors import HardwareError

__all__ = ["Shortlist", "log_sum_error", "logit_scale"]

_RECORD = record_dtype(SHORTLIST)
_LARGEST_SCALED = (1 << WHOLE_BITS + FRACTION_BITS) - 1
_FAR = 64
"""Powers that are so many bits below the largest are 0 in the sum, those of saturated logits as well."""


@dataclass(frozen=True, eq=False)
class Shortlist:
    """The likeliest tokens of a column. Raises HardwareError for what cannot be the list of any row.

    Attributes:
        ids: of the largest logits, largest first, of equal ones the lowest id first; SHORTLIST_ROWS, or all.
        logits: their logits.
        log_sum: natural logarithm of the sum of exp(logit / temperature) over the vocabulary, off by at most
            `log_sum_error`; None if the accelerator could not compute it: its scaled logits were saturated, or the
            temperature is beyond its scales.
        vocab: rows of the head.
        temperature: that of `log_sum`.
    """

    ids: NDArray[np.intp]
    logits: NDArray[np.float32]
    log_sum: float | None
    vocab: int
    temperature: float

    def __post_init__(self) -> None:
        count = len(self.ids)
        if not count == len(self.logits) == min(SHORTLIST_ROWS, self.vocab):
            raise _damaged(f"has {count} rows of {self.vocab}")
        if not np.isfinite(self.logits).all():
            raise _damaged("contains NaN or infinity")
        if self.ids.min() < 0 or self.ids.max() >= self.vocab:
            raise _damaged(f"contains a row beyond the {self.vocab} of the vocabulary")
        if len(np.unique(self.ids)) < count:
            raise _damaged("contains a row twice")
        falls, ties = self.logits[1:] < self.logits[:-1], self.logits[1:] == self.logits[:-1]
        if not (falls | ties & (self.ids[1:] > self.ids[:-1])).all():
            raise _damaged("is not sorted")

    @property
    def is_whole(self) -> bool:
        """Whether it holds the whole vocabulary."""
        return len(self.ids) == self.vocab

    @classmethod
    def from_record(cls, content: bytes, vocab: int, temperature: float) -> Shortlist:
        """Decode the record at the start of a content, which was written with `logit_scale(temperature)`.

        The log-sum-exp is computed from the distance of the sum to the largest logit, both in the machine's scale, so
        that the rounding of the scale acts only on distances between logits.

        Raises:
            HardwareError: the record is damaged.
        """
        if len(content) < _RECORD.itemsize:
            raise _damaged(f"has {len(content)} bytes instead of {_RECORD.itemsize}")
        record = np.frombuffer(content, _RECORD, count=1)[0]
        count, total, reference = int(record["count"]), int(record["sum"]), int(record["reference"])
        if count != min(SHORTLIST_ROWS, vocab):
            raise _damaged(f"has {count} rows of {vocab}")
        rows = record["rows"][:count]
        found = cls(rows["row"].astype(np.intp), rows["logit"].view("<f4").astype(np.float32), None, vocab, temperature)

        scale = _float32(logit_scale(temperature))
        largest = float(found.logits[0]) * scale
        scaled = int(min(abs(largest) * 2.0**FRACTION_BITS, _LARGEST_SCALED))
        above = ((scaled if largest >= 0 else -scaled) >> FRACTION_BITS) + 1
        if reference != above or total < 1 << SUM_FRACTION_BITS - 1:
            raise _damaged("has a sum that does not fit its largest logit")
        if abs(largest) >= (1 << WHOLE_BITS) - _FAR or not _has_scale(temperature):
            return found
        above_largest = math.log(total) + (reference - SUM_FRACTION_BITS - largest) * math.log(2)
        weights = np.exp((found.logits.astype(np.float64) - float(found.logits[0])) / temperature)
        least, error = float(weights.sum()), log_sum_error(vocab)
        most = least + (vocab - count) * float(weights[-1])
        if not math.log(least) - error <= above_largest <= math.log(most) + error:
            raise _damaged("has a sum that does not fit its logits")
        log_sum = float(found.logits[0]) / temperature + above_largest
        return cls(found.ids, found.logits, log_sum, vocab, temperature)


def logit_scale(temperature: float) -> int:
    """The float32 word of log2(e) / temperature, by which the accelerator multiplies logits; nearest positive normal
    number. The temperature is above 0."""
    limits = np.finfo(np.float32)
    scale = min(max(math.log2(math.e) / temperature, float(limits.tiny)), float(limits.max))
    return int(np.float32(scale).view(np.uint32))


def log_sum_error(vocab: int) -> float:
    """Most that `Shortlist.log_sum` is off, in nats, if a head has so many rows.

    Of the sum: each power is off by less than 9.5e-7 of itself and 2^-36 (docs/numerics.md, section 7.1). A rise of the
    reference drops less than 2^-35, halved by each later rise, so that all of them drop less than 2^-34. The sum is 1/2
    at least, so both are twice as much of it.

    Of the scale, which is off by a share e of at most 2^-24, with distances D = (largest logit - logit) / temperature:
    the derivative of ln(sum of exp(-D (1 + e))) with respect to e is the mean of -D. The entropy of the probabilities
    is (mean of D) + ln(sum of exp(-D)) and at most ln(vocab), and that sum is 1 at least, so that the mean is at most
    ln(vocab).

    The rounding of float64 is less than 1e-9, since |logit / temperature| < 2^19.
    """
    of_sum = 9.5e-7 + vocab * 2.0**-35 + 2.0**-33
    return -math.log1p(-of_sum) + 2.0**-24 * math.log(vocab) + 1e-9


def _has_scale(temperature: float) -> bool:
    """Whether log2(e) / temperature is in the range of `logit_scale`."""
    limits = np.finfo(np.float32)
    return float(limits.tiny) <= math.log2(math.e) / temperature <= float(limits.max)


def _float32(word: int) -> float:
    return float(np.uint32(word).view(np.float32))


def _damaged(what: str) -> HardwareError:
    return HardwareError(f"a shortlist of the logits {what}, because memory or its connection is faulty: run "
                         "`bitnet-fpga doctor --board NAME`")
