"""Memory engines of configurations drawn from all that can be built, in front of a memory that stalls at random."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hw.contract.config import BOUNDARY_BYTES, AccelConfig
from hw.memory.axi import AxiError
from hw.memory.read_engine import ReadEngine
from hw.memory.write_engine import WriteEngine
from tests.hw.configs import configs
from tests.hw.simulation import send, simulate

DRAWN = configs(ports=(1,), port_bits=(64, 128, 256, 512), most_columns=1).map(
    lambda config: config.replace(timeout_cycles=100_000))
SEEDS = st.integers(0, 2**32 - 1)
STALLS = st.sampled_from((0.0, 0.3, 0.7))
PATIENCE = 20_000
"""Clocks after which a run has failed."""

few = settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate])


def regions(config: AccelConfig, random: Random, longest: int) -> list[tuple[int, int]]:
    """Up to six regions around borders of 4 KB: address of the first byte and beats."""
    return [
        (BOUNDARY_BYTES * random.randint(2, 60) + config.beat_bytes * random.randint(-40, 40),
         random.randint(1, longest)) for _ in range(random.randint(1, 6))
    ]


def play(engine: Any, *processes: Callable[..., Any]) -> None:
    """Run until the first process ends and the engine is idle; the others go on meanwhile."""
    async def until_idle(ctx: Any) -> None:
        await processes[0](ctx)
        await ctx.tick().until(engine.idle)
        assert ctx.get(engine.error) == AxiError.NONE

    simulate(engine, until_idle, background=processes[1:], clocks=PATIENCE)


def burst(config: AccelConfig, address: int, length: int) -> range:
    """Addresses of the beats of a burst that keeps the rules."""
    last = address + length * config.beat_bytes
    assert length < config.burst_beats
    assert address // BOUNDARY_BYTES == last // BOUNDARY_BYTES, "a burst crosses 4 KB"
    return range(address, last + 1, config.beat_bytes)


@few
@given(DRAWN, SEEDS, STALLS)
def test_reads(config: AccelConfig, seed: int, stall: float) -> None:
    """Each client receives its regions in order, however the answers to the two interleave."""
    random = Random(seed)
    engine = ReadEngine(config)
    wanted = {"stream": regions(config, random, 150), "gather": regions(config, random, 40)}
    axi = engine.axi

    async def memory(ctx: Any) -> None:
        owed: tuple[deque[tuple[int, bool]], ...] = (deque(), deque())
        while True:
            ctx.set(axi.arready, random.random() >= stall)
            source = random.choice(owed)
            answers = bool(source) and random.random() >= stall
            ctx.set(axi.rvalid, answers)
            if answers:
                address, last = source.popleft()
                ctx.set(axi.rid, owed[1] is source)
                ctx.set(axi.rdata, address)
                ctx.set(axi.rlast, last)
            *_, valid, ready, client, address, length = await ctx.tick().sample(
                axi.arvalid, axi.arready, axi.arid, axi.araddr, axi.arlen)
            if valid and ready:
                beats = burst(config, address, length)
                owed[client].extend((at, at == beats[-1]) for at in beats)
            assert not answers or ctx.get(axi.rready)

    received: dict[str, list[tuple[int, int]]] = {"stream": [], "gather": []}

    def taker(name: str) -> Callable[..., Any]:
        port = getattr(engine, f"o_{name}")

        async def take(ctx: Any) -> None:
            while True:
                ctx.set(port.ready, random.random() >= stall)
                *_, valid, ready, payload = await ctx.tick().sample(port.valid, port.ready, port.payload)
                if valid and ready:
                    lanes, last = (payload, 0) if name == "stream" else (payload.data, payload.last)
                    received[name].append((int.from_bytes(bytes(lanes), "little"), last))
        return take

    async def gathers(ctx: Any) -> None:
        requests = [{"address": a, "beats": n} for a, n in wanted["gather"]]
        await send(ctx, engine.gather, requests, choose=random, stall=stall)

    async def streams(ctx: Any) -> None:
        requests = [{"address": a, "beats": n} for a, n in wanted["stream"]]
        await send(ctx, engine.stream, requests, choose=random, stall=stall)
        while any(len(received[name]) < sum(n for _, n in wanted[name]) for name in wanted):
            await ctx.tick()

    play(engine, streams, gathers, memory, taker("stream"), taker("gather"))
    for name, regions_of_client in wanted.items():
        assert received[name] == [
            (address + beat * config.beat_bytes, int(name == "gather" and beat == beats - 1))
            for address, beats in regions_of_client for beat in range(beats)
        ]


@few
@given(DRAWN, SEEDS, STALLS)
def test_writes(config: AccelConfig, seed: int, stall: float) -> None:
    """Every beat arrives at its address with its strobes, and nothing else; beats may come before their request."""
    random = Random(seed)
    engine = WriteEngine(config)
    requests = regions(config, random, 60)
    axi = engine.axi
    beats = [(address + n * config.beat_bytes, random.getrandbits(config.port_bits),
              random.getrandbits(config.beat_bytes)) for address, count in requests for n in range(count)]
    written: list[tuple[int, int, int]] = []

    async def memory(ctx: Any) -> None:
        addressed: deque[tuple[int, bool]] = deque()
        taken: deque[tuple[int, int, int]] = deque()
        answers = 0
        while True:
            ctx.set(axi.awready, random.random() >= stall)
            ctx.set(axi.wready, random.random() >= stall)
            answer = answers > 0 and random.random() >= stall
            ctx.set(axi.bvalid, answer)
            answers -= answer
            *_, valid, ready, address, length, w_valid, w_ready, values, strobes, last = await ctx.tick().sample(
                axi.awvalid, axi.awready, axi.awaddr, axi.awlen,
                axi.wvalid, axi.wready, axi.wdata, axi.wstrb, axi.wlast)
            if valid and ready:
                places = burst(config, address, length)
                addressed.extend((at, at == places[-1]) for at in places)
            if w_valid and w_ready:
                taken.append((values, strobes, last))
            while addressed and taken:
                (at, ends), (values, strobes, last) = addressed.popleft(), taken.popleft()
                assert last == ends
                written.append((at, values, strobes))
                answers += last

    async def data(ctx: Any) -> None:
        payloads = [{"data": list(values.to_bytes(config.beat_bytes, "little")), "strobe": strobes}
                    for _, values, strobes in beats]
        await send(ctx, engine.data, payloads, choose=random, stall=stall)

    async def request(ctx: Any) -> None:
        await send(ctx, engine.request, [{"address": a, "beats": n} for a, n in requests], choose=random, stall=stall)
        await ctx.tick()  # `idle` is looked at once the request is inside

    play(engine, request, data, memory)
    assert written == beats
