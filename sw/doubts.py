"""What is well-formed in a checkpoint and cannot be meant: matrices of one value, norms of zeros, absurd scales.

Re-uploads and conversions go wrong in ways that no format forbids, and the machine computes them all the same. So
nothing here refuses anything; it names what no trained ternary model has. What cannot be computed, a scale that is not
finite or not above 0, is refused where it is read.
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
"""Weights of a matrix, or of a part of one, whose shares say anything."""

SCALES = (1e-5, 1e3)
"""Least and largest scale of a matrix. The former is the bound of the quantisation of master weights."""

SCALE_SPREAD = 1e3
"""How far a scale may be from the median of all, as a factor."""

VALUES = (1e-6, 1e4)
"""Between which the largest magnitude of a norm's weights or of an embedding lies."""

MOST_ZEROS = 0.1
"""Largest part of a norm's weights that is exactly 0."""

MOST_ZERO_ROWS = 0.25
"""Largest part of the rows of an embedding or a head that are zeros; vocabularies are padded, by a few hundred rows."""

SAMPLED_ROWS = slice(0, 16)
"""Rows of master weights in which different values are counted."""

SHOWN = 3
"""Tensors of one kind that a warning names."""


@dataclass(frozen=True)
class Doubt:
    """What is wrong with a tensor; the same `problem` for all tensors that have it, `detail` for this one."""

    problem: str
    tensor: str
    detail: str = ""


@dataclass
class _Table:
    """What is known of an embedding or a head so far."""

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
        """One more."""
        self.found.append(Doubt(problem, tensor, detail))

    def matrix(self, name: str, scale: float, counts: TritCounts) -> None:
        """Of a ternary matrix whose sums `scale` multiplies."""
        size = counts.minus + counts.zero + counts.plus
        if counts.zero < size:  # the scale of zeros is that of nothing
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
            self.add("holds one value only in a part of it, as a file has that was not written to its end", name,
                     f"{counts.flat} of {size} weights")
        if not ZERO_SHARE[0] <= counts.zero / size <= ZERO_SHARE[1]:
            self.add("has a share of zeros that no trained ternary model has", name, shares)
        elif abs(counts.plus - counts.minus) > MOST_LEAN * size:
            self.add("has far more weights of one sign than of the other", name, shares)

    def norm(self, name: str, values: NDArray[np.floating]) -> None:
        """Of the weights of a norm."""
        zeros = values.size - int(np.count_nonzero(values))
        if zeros == values.size:
            self.add("holds zeros only: nothing behind it sees its input", name)
        elif zeros > MOST_ZEROS * values.size:
            self.add("holds many zeros, as a file has that was not written to its end", name,
                     f"{zeros} of {values.size}")
        self._largest(name, float(np.abs(values).max()))

    def rows(self, name: str, values: NDArray[np.floating]) -> None:
        """Of some rows of an embedding or a head, which are judged when all of them have been seen."""
        least, most = values.min(axis=1), values.max(axis=1)
        table = self._tables.setdefault(name, _Table())
        table.rows += len(values)
        table.zero_rows += int(np.count_nonzero((least == 0) & (most == 0)))
        table.low, table.high = min(table.low, float(least.min())), max(table.high, float(most.max()))

    def _table(self, name: str, table: _Table) -> None:
        if table.low == table.high:
            self.add(f"holds one value only, {table.low:g}", name)
        elif table.zero_rows > MOST_ZERO_ROWS * table.rows:
            self.add("has many rows of zeros, as a file has that was not written to its end", name,
                     f"{table.zero_rows} of {table.rows}")
        self._largest(name, max(-table.low, table.high))

    def _largest(self, name: str, magnitude: float) -> None:
        """Whether the largest magnitude of a tensor is one that computes something."""
        if magnitude and not VALUES[0] <= magnitude <= VALUES[1]:
            self.add(f"has a largest magnitude outside of {VALUES[0]:g} to {VALUES[1]:g}", name, f"{magnitude:.3g}")

    def master(self, name: str, rows: NDArray[np.floating], scale: float) -> None:
        """Of some rows of a matrix of master weights, and the scale of its quantisation."""
        values = np.unique(np.abs(rows))
        if len(values) == 2 and values[0] == 0:
            self.add("holds master weights of the three values -s, 0 and s: they are ternary already, and quantising "
                     "them again changes their scale", name, f"s = {values[1]:.4g}, scale {scale:.4g}")

    def unused_head(self, name: str) -> None:
        """Of a head that is stored beside the embedding, which is the head by `config.json`, and differs from it."""
        self.add("differs from the embedding, which config.json makes the head: it is not used", name)

    def end(self) -> None:
        """To be called once when all tensors have been seen: judges tables, and compares the scales of matrices."""
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
        """One for each problem, with the first tensors that have it."""
        for problem in dict.fromkeys(doubt.problem for doubt in self.found):
            same = [doubt for doubt in self.found if doubt.problem == problem]
            first = same[0].tensor + (f" ({same[0].detail})" if same[0].detail else "")
            if len(same) == 1:
                yield f"tensor {first} {problem}"
            else:
                more = ", ".join([first, *(doubt.tensor for doubt in same[1:SHOWN]), *["..."] * (len(same) > SHOWN)])
                yield f"{len(same)} tensors: each {problem}: {more}"

    def warn(self) -> None:
        """Warns of each problem once."""
        for sentence in self.sentences():
            warnings.warn(sentence, stacklevel=2)
