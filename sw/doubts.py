"""Warnings about implausible values in a checkpoint: matrices of a single value, norms of zeros, extreme scales.

Faulty conversions and incomplete uploads produce files that are valid but useless, and the accelerator would run them
without an error. So this module only warns, of values that no trained ternary model has. Values that the accelerator
cannot compute with, such as a scale that is not finite or not above 0, are errors where they are read.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sw.ternary import TritCounts

__all__ = ["SAMPLED_ROWS", "Doubt", "Doubts"]

ZERO_SHARE = (0.10, 0.80)
"""Least and largest share of zeros. Of weights with a mean of 0, quantised by their mean magnitude, a uniform
distribution gives 0.25, a normal one 0.31, a Laplace one 0.39; trained models have 0.38 to 0.5."""

MOST_LEAN = 0.3
"""Largest difference between the shares of +1 and -1."""

LEAST_WEIGHTS = 1024
"""Fewest weights of a matrix, or of a part of one, whose statistics are meaningful."""

SCALES = (1e-5, 1e3)
"""Least and largest scale of a matrix. The former is the bound of the quantisation of master weights."""

SCALE_SPREAD = 1e3
"""Largest factor between a scale and the median of all scales."""

VALUES = (1e-6, 1e4)
"""Least and largest plausible value of the largest magnitude in a norm or an embedding."""

MOST_ZEROS = 0.1
"""Largest plausible share of zeros in a norm's weights."""

MOST_ZERO_ROWS = 0.25
"""Largest plausible share of zero rows in an embedding or an LM head. Vocabularies are padded by a few hundred rows."""

SAMPLED_ROWS = slice(0, 16)
"""Rows of master weights in which different values are counted."""

SHOWN = 3
"""Most tensors that one warning names."""


@dataclass(frozen=True)
class Doubt:
    """One implausible tensor. `problem` is the same text for all tensors that share it, `detail` is for this one."""

    problem: str
    tensor: str
    detail: str = ""


@dataclass
class _Table:
    """Statistics of the rows of an embedding or an LM head that were read so far."""

    rows: int = 0
    zero_rows: int = 0
    low: float = math.inf
    high: float = -math.inf


@dataclass
class Doubts:
    """Collects doubts while the tensors of a checkpoint are read, one after the other."""

    found: list[Doubt] = field(default_factory=list)
    _scales: dict[str, float] = field(default_factory=dict)
    _tables: dict[str, _Table] = field(default_factory=dict)

    def add(self, problem: str, tensor: str, detail: str = "") -> None:
        """Record one doubt."""
        self.found.append(Doubt(problem, tensor, detail))

    def matrix(self, name: str, scale: float, counts: TritCounts) -> None:
        """Check the weight statistics of a ternary matrix. `scale` is the factor of its sums."""
        size = counts.minus + counts.zero + counts.plus
        if counts.zero < size:  # the scale of a matrix of zeros has no meaning
            self._scales[name] = scale
        shares = f"{counts.minus / size:.1%} -1, {counts.zero / size:.1%} 0, {counts.plus / size:.1%} +1"
        for value, count in ((-1, counts.minus), (0, counts.zero), (1, counts.plus)):
            if count == size and counts.padding < size:
                self.add(f"holds one value only, {value:+d}" if value else "holds one value only, 0", name)
        if counts.padding:
            self.add("holds codes 0b11, which packed ternary weights do not have and which count as 0", name,
                     f"{counts.padding} of {size}")
        if size < LEAST_WEIGHTS or counts.flat == size:
            return
        if counts.flat >= LEAST_WEIGHTS:
            self.add("holds only one value in part of it, as after an incomplete write", name,
                     f"{counts.flat} of {size} weights")
        if not ZERO_SHARE[0] <= counts.zero / size <= ZERO_SHARE[1]:
            self.add("has a share of zeros that no trained ternary model has", name, shares)
        elif abs(counts.plus - counts.minus) > MOST_LEAN * size:
            self.add("has far more weights of one sign than of the other", name, shares)

    def norm(self, name: str, values: NDArray[np.floating]) -> None:
        """Check the weights of a norm."""
        zeros = values.size - int(np.count_nonzero(values))
        if zeros == values.size:
            self.add("holds only zeros, so its output is always 0", name)
        elif zeros > MOST_ZEROS * values.size:
            self.add("holds many zeros, as after an incomplete write", name,
                     f"{zeros} of {values.size}")
        self._largest(name, float(np.abs(values).max()))

    def rows(self, name: str, values: NDArray[np.floating]) -> None:
        """Add rows of an embedding or an LM head to its statistics, which `end` checks."""
        least, most = values.min(axis=1), values.max(axis=1)
        table = self._tables.setdefault(name, _Table())
        table.rows += len(values)
        table.zero_rows += int(np.count_nonzero((least == 0) & (most == 0)))
        table.low, table.high = min(table.low, float(least.min())), max(table.high, float(most.max()))

    def _table(self, name: str, table: _Table) -> None:
        if table.low == table.high:
            self.add(f"holds one value only, {table.low:g}", name)
        elif table.zero_rows > MOST_ZERO_ROWS * table.rows:
            self.add("has many rows of zeros, as after an incomplete write", name,
                     f"{table.zero_rows} of {table.rows}")
        self._largest(name, max(-table.low, table.high))

    def _largest(self, name: str, magnitude: float) -> None:
        """Check that the largest magnitude of a tensor is plausible."""
        if magnitude and not VALUES[0] <= magnitude <= VALUES[1]:
            self.add(f"has a largest magnitude outside of {VALUES[0]:g} to {VALUES[1]:g}", name, f"{magnitude:.3g}")

    def master(self, name: str, rows: NDArray[np.floating], scale: float) -> None:
        """Check rows of a matrix of master weights. `scale` is the scale of their quantisation."""
        values = np.unique(np.abs(rows))
        if len(values) == 2 and values[0] == 0:
            self.add("holds master weights of the three values -s, 0 and s: they are ternary already, and quantising "
                     "them again changes their scale", name, f"s = {values[1]:.4g}, scale {scale:.4g}")

    def unused_lm_head(self, name: str) -> None:
        """Warn of a stored LM head that is not used, because `config.json` ties it to the embedding."""
        self.add("differs from the embedding, which config.json makes the head: it is not used", name)

    def end(self) -> None:
        """Check embedding and LM head, and compare the scales of matrices. Call it once, after all tensors."""
        for name, table in self._tables.items():
            self._table(name, table)
        middle = float(np.median(list(self._scales.values()))) if self._scales else 1.0
        for name, scale in self._scales.items():
            if not SCALES[0] <= scale <= SCALES[1]:
                self.add(f"has a weight scale outside of {SCALES[0]:g} to {SCALES[1]:g}", name, f"{scale:.3g}")
            elif abs(math.log(scale / middle)) > math.log(SCALE_SPREAD):
                self.add(f"has a weight scale more than {SCALE_SPREAD:g} times off the median of all", name,
                         f"{scale:.3g}, the median {middle:.3g}")

    def sentences(self) -> Iterator[str]:
        """A sentence for each problem, with the first `SHOWN` tensors that have it."""
        for problem in dict.fromkeys(doubt.problem for doubt in self.found):
            same = [doubt for doubt in self.found if doubt.problem == problem]
            first = same[0].tensor + (f" ({same[0].detail})" if same[0].detail else "")
            if len(same) == 1:
                yield f"tensor {first} {problem}"
            else:
                more = ", ".join([first, *(doubt.tensor for doubt in same[1:SHOWN]), *["..."] * (len(same) > SHOWN)])
                yield f"{len(same)} tensors: each {problem}: {more}"

    def warn(self) -> None:
        """Issue one warning for each problem."""
        for sentence in self.sentences():
            warnings.warn(sentence, stacklevel=2)
