"""What each clock of a run is for: the conditions of the counters (hw/contract/register_map.py)."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.isa import Opcode
from hw.contract.register_map import CAUSES, COUNTERS

__all__ = ["Activity"]


class Activity(wiring.Component):
    """Selects the counters that count a clock: CYCLES, the cause of CAUSES, and the command under way.

    Rules: a clock of a run has exactly one cause. A beat of the packet stream that is consumed is the cause before all
    others, also if it is a header that is collected during another command. A unit is starved only of what its own
    command reads: while QUANTIZE or ATTEND is under way, a header that has not arrived delays nothing.

    Latency: one clock, so that no path leads from the handshakes of the stream into the counters.

    Members:
        running: a run is in progress.
        in_pass: a pass is under way.
        busy, opcode: a command is under way, and which.
        beat, beat_awaited: a beat of the packet stream is consumed, is missing.
        payload_awaited: it is missing, and the unit of the command is ready for it.
        kv_beat, kv_awaited: a beat of the KV cache is consumed, is missing.
        o: the counters that count.
    """

    def __init__(self) -> None:
        super().__init__({
            "running": In(1), "in_pass": In(1), "busy": In(1), "opcode": In(8),
            "beat": In(1), "beat_awaited": In(1), "payload_awaited": In(1),
            "kv_beat": In(1), "kv_awaited": In(1),
            "o": Out(data.StructLayout(dict.fromkeys(COUNTERS, 1))),
        })

    def _doing(self, *opcodes: Opcode) -> Value:
        return self.busy & Cat(*(self.opcode == code.value for code in opcodes)).any()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        commands = {
            "attention_busy": self._doing(Opcode.ATTEND),
            "lm_head_busy": self._doing(Opcode.LM_HEAD),
            "embed_busy": self._doing(Opcode.EMBED),
            "norm_busy": self._doing(Opcode.LOAD_NORM, Opcode.QUANTIZE),
            "matmul_busy": self._doing(Opcode.MATMUL),
        }
        m.d.sync += self.o.eq(0)
        m.d.sync += [self.o["cycles"].eq(self.running), *(self.o[name].eq(doing) for name, doing in commands.items())]
        reads = self._doing(Opcode.LOAD_NORM, Opcode.MATMUL, Opcode.LM_HEAD)
        applies = {
            "stream_busy": self.beat,
            "stream_starved": reads & self.payload_awaited | ~self.busy & self.in_pass & self.beat_awaited,
            "array_waiting": commands["matmul_busy"],
            "norm_waiting": commands["norm_busy"],
            "embed_waiting": commands["embed_busy"],
            "kv_busy": commands["attention_busy"] & self.kv_beat,
            "kv_starved": commands["attention_busy"] & self.kv_awaited,
            "attention_waiting": commands["attention_busy"],
            "lm_head_waiting": commands["lm_head_busy"],
            "header_waiting": self.in_pass,
        }
        with m.If(~self.running):
            pass
        for name in CAUSES:
            with m.Elif(applies.get(name, 1)):
                m.d.sync += self.o[name].eq(1)
        return m
