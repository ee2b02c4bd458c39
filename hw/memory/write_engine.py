"""The write half of a memory port: one AXI4 write master for small requests."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.contract.payloads import write_beat, write_request
from hw.memory.axi import BURST_INCR, CACHE_NORMAL, AxiError, axi_write_signature, beat_size, page_window
from hw.memory.burst_master import BurstMaster, response_error
from hw.streams import Queue
from hw.watch import watch, watch_fifo

__all__ = ["WriteEngine"]


class WriteEngine(wiring.Component):
    """Writes requests of 1 to 1024 beats to memory; a request that crosses 4 KB becomes two or more bursts.

    Rules:
        - The beats of the requests come on `data` in the order of the requests, before or after the request itself.
        - At most `config.outstanding` bursts are in flight, counted from AWVALID to their B response. AWID is 0.
        - W beats of a burst may leave before its AW is accepted. BREADY is always 1.
        - A burst outside of `window` is an error, and is not issued.
        - A write can be read back once `idle` is 1: memory has confirmed it. After an error `idle` stays 0.

    Errors: `error` stores the first one. After it no burst is issued; the data of issued bursts is still accepted. The
    time-out counts the clocks in which the port delays a burst, but not those in which `data` is empty. `abort` for at
    least one clock clears all requests, completes issued bursts with beats that write no byte (WSTRB 0), waits for
    every response, then clears `error` and raises `idle`. If the port never answers, `error` becomes TIMEOUT again
    during the abort, and only a reset of engine and port ends it.

    Latency: 4 clocks from a request to AWVALID, 1 clock from a data beat to WVALID. Throughput: one beat per clock if
    the port accepts it.

    Members:
        axi: AW, W and B channels.
        request: `write_request(config)`.
        data: `write_beat(config)`.
        window: `page_window(config)`, the addresses that bursts may have.
        abort: clear all requests; while it is 1 and until `idle`, neither requests nor beats are accepted.
        idle: no request waits, every burst has its response, and none of them is an error.
        error: `AxiError`.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "axi": Out(axi_write_signature(config)),
            "request": In(stream.Signature(write_request(config))),
            "data": In(stream.Signature(write_beat(config))),
            "window": page_window(config),
            "abort": In(1),
            "idle": Out(1),
            "error": Out(AxiError),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, axi = self.config, self.axi

        master = BurstMaster(m, platform, config, self)
        flush, failed, in_flight = master.flush, master.failed, master.in_flight  # in flight: from AWVALID to B
        unanswered = Signal(range(config.outstanding + 1))  # of these, bursts whose last beat was accepted
        bounded(platform, in_flight, "write bursts in flight", "outstanding", config.outstanding)
        bounded(platform, unanswered, "write bursts without an answer", "outstanding", config.outstanding)
        splitter, cutting = master.bursts(self.request, name="request", beat_bits=11, limit=config.burst_beats)
        m.submodules.lengths = lengths = Queue(9, config.outstanding)  # bursts whose beats still have to be sent

        # AW: a register.
        burst = splitter.o.payload
        issue = Signal()
        m.d.comb += [
            issue.eq(
                splitter.o.valid & burst.inside & (~axi.awvalid | axi.awready) & (in_flight != config.outstanding)
                & lengths.i.ready & ~flush & ~failed
            ),
            splitter.o.ready.eq(issue),
            lengths.i.payload.eq(burst.beats),
            lengths.i.valid.eq(issue),
            axi.awsize.eq(beat_size(config)),
            axi.awburst.eq(BURST_INCR),
            axi.awcache.eq(CACHE_NORMAL),
            axi.bready.eq(1),
        ]
        with m.If(axi.awready):
            m.d.sync += axi.awvalid.eq(0)
        with m.If(issue):
            m.d.sync += [axi.awvalid.eq(1), axi.awaddr.eq(burst.address), axi.awlen.eq(burst.beats - 1)]

        # W: a register. During an abort the beats come from nowhere and write nothing.
        count = Signal(9, init=1)
        last = Signal()
        open_slot = Signal()
        move = Signal()
        m.d.comb += [
            last.eq(count == lengths.o.payload),
            open_slot.eq(lengths.o.valid & (~axi.wvalid | axi.wready)),
            self.data.ready.eq(open_slot & ~flush),
            move.eq(open_slot & (flush | self.data.valid)),
            lengths.o.ready.eq(move & last),
        ]
        with m.If(axi.wready):
            m.d.sync += axi.wvalid.eq(0)
        with m.If(move):
            m.d.sync += [
                axi.wvalid.eq(1),
                axi.wdata.eq(self.data.payload.data.as_value()),
                axi.wstrb.eq(Mux(flush, 0, self.data.payload.strobe)),
                axi.wlast.eq(last),
                count.eq(Mux(last, 1, count + 1)),
            ]

        # B: counted.
        sent = Signal()
        answered = Signal()
        m.d.comb += [
            sent.eq(axi.wvalid & axi.wready & axi.wlast),
            answered.eq(axi.bvalid & ~axi.bid & (unanswered != 0)),
        ]
        m.d.sync += [
            in_flight.eq(in_flight + issue - answered),
            unanswered.eq(unanswered + sent - answered),
        ]
        watch(m, platform, unanswered <= in_flight, "{} bursts wait for a response, of {}", unanswered, in_flight)
        watch_fifo(m, platform, lengths.i, "the FIFO of bursts to send")
        master.fail(axi.bvalid & axi.bresp[1], response_error(axi.bresp))
        master.fail(axi.bvalid & ~answered, AxiError.UNEXPECTED)

        pending = Signal()
        progress = Signal()
        m.d.comb += [
            pending.eq(axi.awvalid | axi.wvalid | (unanswered != 0)),
            progress.eq((axi.awvalid & axi.awready) | (axi.wvalid & axi.wready) | axi.bvalid),
        ]
        master.end(pending=pending, progress=progress, rests=Const(1))
        m.d.comb += self.idle.eq(~cutting & (in_flight == 0) & ~flush & ~failed)
        return m
