"""Write side of the KV cache: it writes quantised keys and values to memory, in the order of `KvLayout`."""

from __future__ import annotations

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.contract.config import AccelConfig
from hw.contract.kv_layout import SCALE_PAIR_BYTES
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import kv_codes, kv_shape, write_beat, write_request
from hw.memory.kv_requests import KvRequests, kv_row, offer
from hw.streams import RegisterSlice
from hw.watch import watch, watch_stream

__all__ = ["KvAppend", "kv_row"]


class KvAppend(wiring.Component):
    """Writes a key and a value for each new position of a KV head.

    The codes of a key are packed into beats of the port of its position. The codes of a value go, element by element,
    to beats of all ports, in which only the bytes of the position are strobed; all elements of such a beat have the
    same code. The scales of key and value follow the value as one strobed beat, on the port of the position.

        i_row -> KvRequests -> o_request_<n>
                     |
                     v
        i ---> pack, spread -> o_<n>

    Rules: rows come as key, value of the same position, and so on. The codes of a row follow on `i` in the order of
    `i_row`: a key has `key_beats` * E of them, a value `value_group_beats` * P. The scale of the last word of a row is
    written. Each port takes its beats when it is ready; a word waits until all of its ports have theirs. A row may be
    read when all write engines are idle again, and not before `idle`.

    Cost: of a key of d elements d/V clocks and one; of a value the larger of d/V and d/P clocks, and one. Rows whose
    requests take longer (`KvRequests`) wait for these.

    Members:
        shape: kv_shape, steady while there are rows.
        port_stride: bytes from the cache on a port to that on the next; steady from P clocks before the first row.
        i_row: kv_row.
        i: kv_codes.
        o_request_<n>: write_request of port n; each comes before its beats.
        o_<n>: write_beat of port n.
        idle: no row and no code is inside.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        ports = range(config.ports)
        super().__init__({
            "shape": In(kv_shape(config)),
            "port_stride": In(config.address_bits),
            "i_row": In(stream.Signature(kv_row(config))),
            "i": In(stream.Signature(kv_codes(config))),
            **{f"o_request_{n}": Out(stream.Signature(write_request(config))) for n in ports},
            **{f"o_{n}": Out(stream.Signature(write_beat(config))) for n in ports},
            "idle": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, vector = self.config, self.config.vector
        m.submodules.requests = requests = KvRequests(config)
        m.submodules.slice = words = RegisterSlice(kv_codes(config))
        wiring.connect(m, wiring.flipped(self.i_row), requests.i_row)
        wiring.connect(m, wiring.flipped(self.i), words.i)
        for n in range(config.ports):
            wiring.connect(m, getattr(requests, f"o_request_{n}"), wiring.flipped(getattr(self, f"o_request_{n}")))
        row, word = requests.o.payload, words.o.payload
        outputs = [getattr(self, f"o_{n}") for n in range(config.ports)]
        m.d.comb += [
            requests.shape.eq(self.shape),
            requests.port_stride.eq(self.port_stride),
            self.idle.eq(requests.idle & ~words.o.valid),
        ]

        packed = Signal(config.port_bits)  # a beat of a key, or the scales
        full, ended = Signal(), Signal()  # `packed` has to leave; it is the last beat of the row
        parts = max(vector, config.ports) // min(vector, config.ports)  # of a word, or words of a beat of every port
        step = Signal(range(max(2, parts)))
        taking = requests.o.valid & ~ended
        spreading = taking & row.value & words.o.valid
        written = offer(m, full | spreading, [
            (Mux(full, row.port == n, self._wanted(n, step)), output) for n, output in enumerate(outputs)])

        filled = Signal(range(config.kv_elements // vector))
        key_scale = Signal(FLOAT_BITS)
        pair = Cat(*(part for scale in (key_scale, word.scale) for part in (C(0, 32 - FLOAT_BITS), scale)))
        beat_ends, word_ends = filled == config.kv_elements // vector - 1, step.all() if vector > config.ports else C(1)
        with m.If(full & written):
            m.d.sync += [full.eq(0), ended.eq(0)]
        with m.If(taking & ~row.value & (~full | written)):
            m.d.comb += words.o.ready.eq(1)
            with m.If(words.o.valid):
                m.d.sync += [
                    packed.eq(Cat(packed, *word.codes)[config.kv_bits * vector :]),
                    filled.eq(filled + 1), full.eq(beat_ends), ended.eq(word.last), key_scale.eq(word.scale),
                ]
                watch(m, platform, ~word.last | beat_ends, "a key ends with {} words in its last beat", filled + 1)
        with m.If(spreading & written):
            m.d.comb += words.o.ready.eq(word_ends)
            m.d.sync += step.eq(step + 1 if parts > 1 else 0)
            with m.If(word.last & word_ends):
                m.d.sync += [packed.eq(pair.replicate(config.kv_pairs)), full.eq(1), ended.eq(1)]
        m.d.comb += requests.o.ready.eq(full & written & ended)

        element = Cat((row.element == n).replicate(config.kv_bytes) for n in range(config.kv_elements))
        scales = Cat((row.pair == n).replicate(SCALE_PAIR_BYTES) for n in range(config.kv_pairs))
        for n, output in enumerate(outputs):
            watch_stream(m, platform, output, f"o_{n}")
            index = Cat(C(n, exact_log2(config.ports)), step)[: exact_log2(vector)]  # of its element in the word
            code = Cat(*word.codes).word_select(index, config.kv_bits)
            m.d.comb += [
                output.payload.data.as_value().eq(Mux(full, packed, code.replicate(config.kv_elements))),
                output.payload.strobe.eq(Mux(row.value, Mux(full, scales, element), ~0)),
            ]
        return m

    def _wanted(self, port: int, step: Signal) -> Value:
        """Whether an element of this step goes to this port."""
        return step == port // self.config.vector if self.config.vector < self.config.ports else C(1)
