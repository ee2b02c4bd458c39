"""Numbers of the engine and of its answers for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sw.serve.engine import Engine

__all__ = ["Counted", "Metrics"]

SUMS = {
    "runs": "Runs of the machine", "failed_runs": "Runs that failed", "prompt_tokens": "Tokens of prompts",
    "reused_tokens": "Tokens of prompts that the KV cache held", "new_tokens": "Tokens that the machine chose",
}
HEADS = {
    "rows_listed": "Rows of the LM head that its high plane did not rule out at once",
    "rows_rescored": "Rows of the LM head whose exact logits were computed behind its high plane",
    "heads_repeated": "Tokens for which the whole LM head was read behind its high plane",
}
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000)
"""Limits of the buckets: from a small model in NumPy to a long answer on a slow board."""


class Metrics(Collector):
    """The numbers. Those of the engine are read whenever somebody asks.

    Attributes:
        registry: for prometheus_client.
        first_token: seconds from a request to its first token.
        answer: seconds from a request to the end of its answer.
        errors: responses and ends of streams that are errors, by status.
    """

    def __init__(self, engine: Callable[[], Engine | None]) -> None:
        """`engine` returns None while the model is loaded."""
        self._engine, self.registry = engine, CollectorRegistry()
        self.registry.register(self)
        self.first_token = Histogram("bitnet_fpga_first_token_seconds", "From a request to its first token",
                                     buckets=SECONDS, registry=self.registry)
        self.answer = Histogram("bitnet_fpga_answer_seconds", "From a request to the end of its answer",
                                buckets=SECONDS, registry=self.registry)
        self.errors = Counter("bitnet_fpga_errors", "Errors that clients got", ["status"], registry=self.registry)

    def collect(self) -> Iterator[Metric]:
        """The numbers of the engine; none while the model is loaded."""
        engine = self._engine()
        if engine is None:
            return
        active, waiting = engine.load
        yield GaugeMetricFamily("bitnet_fpga_requests_active", "Requests that have a column", active)
        yield GaugeMetricFamily("bitnet_fpga_requests_waiting", "Requests that wait for a column", waiting)
        yield GaugeMetricFamily("bitnet_fpga_columns", "Requests that can have a column", engine.places)
        for name, value in asdict(engine.tally).items():
            yield CounterMetricFamily(f"bitnet_fpga_{name}", SUMS[name], value)
        if engine.stats is not None:  # the golden model has no clocks
            yield CounterMetricFamily("bitnet_fpga_clocks", "Clocks of the machine in runs", engine.stats.cycles)
            yield CounterMetricFamily("bitnet_fpga_heads_again", "Runs of the LM head alone, for rows of logits whose "
                                      "shortlists did not suffice", engine.stats.heads_again)
        if engine.head_counts is not None:
            for name, value in asdict(engine.head_counts).items():
                yield CounterMetricFamily(f"bitnet_fpga_{name}", HEADS[name], value)


class Counted:
    """Middleware that counts responses that are errors."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                self._metrics.errors.labels(message["status"]).inc()
            await send(message)

        await self._app(scope, receive, counted)
