"""The KV cache as the machine uses it, for `kv_cache_bench.py`: rows go to memory, and blocks come back."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.block_loader import BlockLoader, block_read
from hw.contract.config import AccelConfig
from hw.contract.payloads import gather_request, kv_codes
from hw.memory.axi import AxiError
from hw.memory.kv_cache import KvAppend, kv_row
from hw.memory.memory_ports import MemoryPorts

__all__ = ["KvCachePath"]


class KvCachePath(wiring.Component):
    """`KvAppend` and `BlockLoader` on one memory port.

    Members:
        i_row, i: rows to append. written: all of them are in memory, as attention sees it.
        i_command, loaded, read: a block that is fetched, see `BlockLoader`.
        axi: the memory port. read_error, write_error: its `AxiError`.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i_row": In(stream.Signature(kv_row(config))), "i": In(stream.Signature(kv_codes(config))),
            "written": Out(1),
            "i_command": In(stream.Signature(gather_request(config))), "loaded": Out(1), "read": In(block_read(config)),
            "axi": Out(MemoryPorts.port_signature(config, 0)),
            "read_error": Out(AxiError), "write_error": Out(AxiError),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.append = append = KvAppend(self.config)
        m.submodules.loader = loader = BlockLoader(self.config)
        m.submodules.memory = memory = MemoryPorts(self.config)
        for output, inputs in (
            (wiring.flipped(self.i_row), append.i_row), (wiring.flipped(self.i), append.i),
            (append.o_request, memory.request), (append.o, memory.data),
            (wiring.flipped(self.i_command), loader.i_command), (loader.o_gather, memory.gather),
            (memory.o_gather, loader.i_gather), (wiring.flipped(self.read), loader.read),
            (memory.axi_0, wiring.flipped(self.axi)),
        ):
            wiring.connect(m, output, inputs)
        m.d.comb += [
            self.written.eq(append.i_row.ready & memory.write_idle), self.loaded.eq(loader.done),
            self.read_error.eq(memory.read_error), self.write_error.eq(memory.write_error),
        ]
        return m
