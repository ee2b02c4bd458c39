"""Configurations for property tests, drawn from all that `AccelConfig` allows and small enough to simulate."""

from __future__ import annotations

from hypothesis import strategies as st

from hw.contract.config import AccelConfig

__all__ = ["configs"]


@st.composite
def configs(draw: st.DrawFn, *, ports: tuple[int, ...] = (1, 2), port_bits: tuple[int, ...] = (64, 128, 256),
            most_columns: int = 5, largest: int = 300) -> AccelConfig:
    """A configuration that can be built; `largest` bounds its vectors and its vocabulary."""
    chosen_ports, bits = draw(st.sampled_from(ports)), draw(st.sampled_from(port_bits))
    lanes = 5 * chosen_ports * bits // 8
    vector = draw(st.sampled_from((1, 2, 4)))
    inputs = draw(st.sampled_from([n for n in range(vector, lanes + 1) if lanes % (n * vector) == 0]))
    kv_bits = draw(st.sampled_from((8, 16)))
    burst = draw(st.sampled_from((1, 2, 7, 16, 256)))
    size = st.integers(1, largest)
    query_rows = draw(st.integers(1, 9))
    candidates = draw(st.sampled_from((0, 64, 256))) if kv_bits == 8 and query_rows > 1 else 0
    return AccelConfig(
        name="drawn", ports=chosen_ports, port_bits=bits, rows=lanes // inputs, inputs=inputs,
        columns=draw(st.integers(1, most_columns)), vector=vector, kv_bits=kv_bits,
        embedding_bits=draw(st.sampled_from((8, 12, 16))), shortlist=draw(st.sampled_from((0, 64))),
        max_hidden=draw(size), max_intermediate=draw(size), max_vocab=draw(size),
        max_head_dim=draw(st.integers(16, 128)), query_rows=query_rows, candidates=candidates,
        max_group=draw(st.integers(1, 17)), max_positions=draw(st.integers(1, 5000)),
        stream_fifo_beats=2 * burst + draw(st.integers(0, 9)), burst_beats=burst,
        outstanding=draw(st.integers(1, 9)), address_bits=draw(st.integers(36, 64)),
        timeout_cycles=draw(st.sampled_from((1, 300, 100_000))),
    )
