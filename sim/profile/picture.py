"""The picture of a profile: what each unit did over the time of a token, and where the runs are under the roofline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sim.profile.measure import Profile

__all__ = ["draw"]

UNITS = {
    "stream_busy": "packet stream",
    "matmul_busy": "array",
    "norm_busy": "norm, quantise",
    "attention_busy": "attention",
    "kv_busy": "KV cache read",
    "lm_head_busy": "LM head",
    "embed_busy": "embedding",
}
"""Rows of the timeline by the counter that each shows, from top to bottom."""


def _shares(samples: Sequence[dict[str, int]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Clocks at the edges of the intervals, from the start of the run, and per unit the share of each interval."""
    rows = [dict.fromkeys(samples[0], 0), *samples]
    edges = np.array([row["cycles"] for row in rows])
    keep = np.flatnonzero(np.diff(edges, prepend=-1) > 0)
    counts = np.array([[rows[n][name] for n in keep] for name in UNITS])
    return edges[keep], np.clip(np.diff(counts) / np.diff(edges[keep]), 0, 1)


def _timeline(axes: Axes, samples: Sequence[dict[str, int]], title: str) -> None:
    edges, shares = _shares(samples)
    drawn = axes.pcolormesh(edges, np.arange(len(UNITS) + 1), shares, cmap="Blues", vmin=0, vmax=1, rasterized=True)
    axes.set_yticks(np.arange(len(UNITS)) + 0.5, list(UNITS.values()))
    axes.invert_yaxis()
    axes.set_xlabel("clocks from the start of the token")
    axes.set_title(title)
    assert axes.figure is not None
    axes.figure.colorbar(drawn, ax=axes, label="share of the clocks")


def _roofline(axes: Axes, roof: dict[str, float], points: dict[str, tuple[float, float]]) -> None:
    """Ternary multiply-accumulates per clock over those per byte that is required."""
    bandwidth, most = roof["bytes_per_cycle"], roof["macs_per_cycle"]
    intensities = [x for x, _ in points.values()] + [most / bandwidth]
    x = np.geomspace(min(intensities) / 3, max(intensities) * 3, 100)
    axes.loglog(x, np.minimum(most, bandwidth * x), color="black")
    for (name, (intensity, rate)), marker in zip(points.items(), "osD", strict=False):
        axes.loglog([intensity], [rate], marker, label=name)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes.set_xlabel("ternary MACs per required byte")
    axes.set_ylabel("ternary MACs per clock")
    axes.set_title(f"roofline: {bandwidth:.4g} bytes and {most:,.0f} MACs per clock")
    axes.legend()


def draw(profile: Profile, file: BinaryIO, form: str) -> None:
    """Write the picture of a profile with samples to a file of the format `svg` or `png`."""
    result: dict[str, Any] = profile.result
    decode, memory = result["decode"], result["memory"]
    with mpl.rc_context({"svg.hashsalt": "bitnet-fpga"}):
        figure = Figure(figsize=(11, 8), layout="constrained")
        upper, lower = figure.subplots(2, 1)
        _timeline(upper, profile.samples, f"one token behind {decode['cached_positions']} positions on "
                  f"{result['preset']}, memory {memory['name']}: {decode['cycles_per_token']:,} clocks, "
                  f"stream efficiency {decode['stream_efficiency']:.3f}")
        _roofline(lower, result["roofline"]["roof"], {
            name: (point["macs_per_byte"], point["macs_per_cycle"])
            for name, point in result["roofline"]["points"].items()})
        figure.savefig(file, format=form, metadata={"Date": None} if form == "svg" else None)
