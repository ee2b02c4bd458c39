"""The read half of a memory port: an AXI4 read master for a prefetched stream and for random reads."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.contract.payloads import beat, gather_request
from hw.memory.axi import BURST_INCR, CACHE_NORMAL, AxiError, axi_read_signature, beat_size, burst_request, page_window
from hw.memory.burst_master import BurstMaster, response_error
from hw.streams import Queue, RegisterSlice
from hw.watch import watch, watch_fifo

__all__ = ["GATHER_BURSTS", "ReadEngine", "gather_beat", "stream_command"]

GATHER_BURSTS = 4
"""Longest bursts that the gather FIFO holds. A burst is issued when a quarter of the FIFO is free, so at least three
bursts are on their way or stored while one beat leaves per clock, and memory may take 3 * burst_beats clocks to answer:
192 for bursts of 64 beats, 48 for bursts of 16."""

STREAM_ID, GATHER_ID = 0, 1


def stream_command(config: AccelConfig) -> data.StructLayout:
    """A sequential region: byte address (multiple of the beat) and up to 2^32 - 1 beats."""
    return burst_request(config, 32)


def gather_beat(config: AccelConfig) -> data.StructLayout:
    """One beat of a gather request; `last` marks the last beat of the request."""
    return data.StructLayout({"data": beat(config), "last": unsigned(1)})


class ReadEngine(wiring.Component):
    """Reads memory for two clients through one AXI4 port.

        stream -> queue, BurstSplitter -+-> AR    R -+-> FIFO -> o_stream
        gather -> queue, BurstSplitter -+            +-> FIFO -> o_gather

    `stream` is for long regions. It is prefetched as far as the FIFO of `config.stream_fifo_beats` has room, across the
    end of a region into the next queued command. `gather` is for random reads, whose results a unit waits for, and has
    priority on AR. Its FIFO holds GATHER_BURSTS of the longest bursts. The stream gets AR whenever no gather burst is
    due: while the gather FIFO is full, and after the last request. The requests of a command of the machine are finite,
    and it reads no packet before their end, so the stream never waits forever.

    In a machine with several ports, the engine reads every `config.ports`-th stripe of the stream (see
    `BurstSplitter`).

    Rules:
        - A burst is issued only if the FIFO of its client has room for all of it, so RREADY is always 1.
        - A burst outside of `window` is an error, and is not issued.
        - Bursts never cross 4 KB; at most `config.outstanding` are in flight, counted from ARVALID to RLAST.
        - ARID and RID are 0 for the stream, 1 for the gather client. Responses of the two may interleave.
        - Data of a client comes out in the order of its commands. A command of 0 beats yields none.
        - RLAST ends a burst, also if it comes at the wrong beat.

    Errors: `error` stores the first one. After it no burst is issued, and beats that come are dropped; data from before
    the error is still delivered. `abort` for at least one clock clears all commands and data, waits until the port has
    answered every burst, then clears `error` and raises `idle`. If the port never answers, `error` becomes TIMEOUT
    again during the abort, and only a reset of engine and port ends it.

    Latency: 4 clocks from an accepted command to ARVALID, 3 clocks from RVALID to valid data. Throughput: one beat per
    clock if the port supplies it.

    Members:
        axi: AR and R channels.
        stream: commands, `stream_command(config)`.
        o_stream: `beat(config)`.
        gather: requests, `gather_request(config)`; not without `gathers`.
        o_gather: `gather_beat(config)`; not without `gathers`.
        window: `page_window(config)`, the addresses that bursts may have.
        abort: clear all commands; while it is 1 and until `idle`, no command is accepted.
        idle: no command waits, no burst is in flight, and both FIFOs are empty.
        error: `AxiError`.
    """

    def __init__(self, config: AccelConfig, *, gathers: bool = True) -> None:
        self.config = config
        self.gathers = gathers
        gather = {
            "gather": In(stream.Signature(gather_request(config))),
            "o_gather": Out(stream.Signature(gather_beat(config))),
        }
        super().__init__({
            "axi": Out(axi_read_signature(config)),
            "stream": In(stream.Signature(stream_command(config))),
            "o_stream": Out(stream.Signature(beat(config))),
            **(gather if gathers else {}),
            "window": page_window(config),
            "abort": In(1),
            "idle": Out(1),
            "error": Out(AxiError),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, axi = self.config, self.axi

        master = BurstMaster(m, platform, config, self)
        flush, failed, in_flight = master.flush, master.failed, master.in_flight
        bounded(platform, in_flight, "read bursts in flight", "outstanding", config.outstanding)

        # R is registered once before anything looks at it.
        response = Signal(data.StructLayout({"id": 1, "data": config.port_bits, "resp": 2, "last": 1}))
        arrived = Signal()
        m.d.comb += axi.rready.eq(1)
        m.d.sync += [
            arrived.eq(axi.rvalid),
            response.id.eq(axi.rid),
            response.data.eq(axi.rdata),
            response.resp.eq(axi.rresp),
            response.last.eq(axi.rlast),
        ]

        issue = Signal(2)
        can_issue = Signal(2)
        busy = Signal(2)
        burst_end = Signal(2)
        unexpected = Signal(2)
        bursts = []
        clients = [("stream", self.stream, self.o_stream, 32, config.stream_fifo_beats, config.ports)]
        if self.gathers:
            clients.append(("gather", self.gather, self.o_gather, 16, GATHER_BURSTS * config.burst_beats, 1))
        for client, (name, commands, output, beat_bits, depth, stripes) in enumerate(clients):
            splitter, cutting = master.bursts(
                commands, name=name, beat_bits=beat_bits, limit=config.burst_beats, stripes=stripes)
            burst_in_flight = data.StructLayout({"beats": 9, "final": 1})
            pending = Queue(burst_in_flight, config.outstanding)
            due_burst = RegisterSlice(burst_in_flight)  # a beat arrives two clocks after its burst was issued, or later
            # One place more than `free` counts: the output register fills a clock late, and beats cannot wait.
            store = Queue(gather_beat(config), depth + 1, buffered=True)
            m.submodules[f"{name}_pending"] = master.reset(pending)
            m.submodules[f"{name}_due"] = master.reset(due_burst)
            wiring.connect(m, pending.o, due_burst.i)
            m.submodules[f"{name}_store"] = master.reset(store)

            # Room that no burst has reserved yet.
            burst = splitter.o.payload
            bursts.append(burst)
            taken = Signal(name=f"{name}_taken")
            free = Signal(range(depth + 1), init=depth, name=f"{name}_free")
            formula = f"{GATHER_BURSTS} burst_beats" if client == GATHER_ID else "stream_fifo_beats"
            bounded(platform, free, f"room of the {name} FIFO", formula, depth)
            m.d.comb += [
                can_issue[client].eq(splitter.o.valid & burst.inside & (free >= burst.beats)),
                splitter.o.ready.eq(issue[client]),
                pending.i.payload.beats.eq(burst.beats),
                pending.i.payload.final.eq(burst.final),
                pending.i.valid.eq(issue[client]),
                taken.eq(store.o.valid & store.o.ready),
            ]
            m.d.sync += free.eq(free - Mux(issue[client], burst.beats, 0) + taken)
            with m.If(flush):
                m.d.sync += free.eq(depth)
            watch(m, platform, free <= depth, f"the {name} FIFO of {depth} beats has room for {{}}", free)
            watch_fifo(m, platform, store.i, f"the {name} FIFO")
            watch_fifo(m, platform, pending.i, f"the FIFO of {name} bursts in flight")

            # Beats come in: compare RLAST with the burst that is due.
            count = Signal(9, init=1, name=f"{name}_count")
            bounded(platform, count, "beat of a read burst", "burst_beats", config.burst_beats)
            mine = Signal(name=f"{name}_mine")
            due = Signal(name=f"{name}_due")
            m.d.comb += [
                mine.eq(arrived & (response.id == client)),
                due.eq(count == due_burst.o.payload.beats),
                unexpected[client].eq(mine & ~due_burst.o.valid),
                burst_end[client].eq(mine & response.last),
                due_burst.o.ready.eq(burst_end[client]),
                store.i.valid.eq(mine & due_burst.o.valid & ~failed & ~response.resp[1] & (due == response.last)),
                store.i.payload.data.eq(response.data),
                store.i.payload.last.eq(due & due_burst.o.payload.final),
            ]
            with m.If(mine):
                m.d.sync += count.eq(count + 1)
                with m.If(response.last):
                    m.d.sync += count.eq(1)
            master.fail(mine & (due != response.last), AxiError.LAST)
            master.fail(mine & response.resp[1], response_error(response.resp))
            master.fail(mine & ~due_burst.o.valid, AxiError.UNEXPECTED)
            with m.If(flush):
                m.d.sync += count.eq(1)

            m.d.comb += [
                output.valid.eq(store.o.valid),
                store.o.ready.eq(output.ready),
                output.payload.eq(store.o.payload.as_value()[: output.payload.shape().size]),
                busy[client].eq(cutting | store.o.valid | (free != depth)),
            ]

        if not self.gathers:  # the other id has no client
            m.d.comb += unexpected[GATHER_ID].eq(arrived & response.id)
            master.fail(unexpected[GATHER_ID], AxiError.UNEXPECTED)

        # AR: a register; gather first.
        open_slot = Signal()
        m.d.comb += [
            open_slot.eq((~axi.arvalid | axi.arready) & (in_flight != config.outstanding) & ~flush & ~failed),
            issue[GATHER_ID].eq(open_slot & can_issue[GATHER_ID]),
            issue[STREAM_ID].eq(open_slot & can_issue[STREAM_ID] & ~can_issue[GATHER_ID]),
            axi.arsize.eq(beat_size(config)),
            axi.arburst.eq(BURST_INCR),
            axi.arcache.eq(CACHE_NORMAL),
        ]
        with m.If(axi.arready):
            m.d.sync += axi.arvalid.eq(0)
        for client, burst in enumerate(bursts):
            with m.If(issue[client]):
                m.d.sync += [
                    axi.arvalid.eq(1),
                    axi.arid.eq(client),
                    axi.araddr.eq(burst.address),
                    axi.arlen.eq(burst.beats - 1),
                ]

        ended = Signal()
        m.d.comb += ended.eq(burst_end.any() & (in_flight != 0) & (flush | ~unexpected.any()))
        m.d.sync += in_flight.eq(in_flight + issue.any() - ended)
        # During an abort everything but the AR and R channels is held in reset until all bursts have ended.
        master.end(pending=in_flight != 0, progress=arrived | (axi.arvalid & axi.arready), rests=~arrived)
        m.d.comb += self.idle.eq(~busy.any() & ~flush & (in_flight == 0) & ~arrived)
        return m
