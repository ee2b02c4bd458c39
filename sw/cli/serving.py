"""Implementation of `bitnet-fpga serve`: listen, load the model, answer until a signal."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sw.chat.template import ChatTemplate
from sw.checkpoint import Checkpoint
from sw.cli.target import MachineOptions
from sw.errors import CheckpointError, JobError
from sw.http_api.app import make_app
from sw.http_api.guard import is_loopback
from sw.http_api.server import HttpServer
from sw.http_api.service import Loaded, Service
from sw.machine_thread import Work
from sw.model_source import ModelSource, located
from sw.serve.engine import Engine
from sw.session import DEFAULT_MEMORY, Session
from sw.streams import tell

__all__ = ["KEY_VARIABLE", "Options", "run"]

KEY_VARIABLE = "BITNET_FPGA_API_KEY"
LOOK_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Options(MachineOptions):
    """Options of the command line. `sw/cli/serve.py` has their names and describes them."""

    PORT_OPTION: ClassVar[str] = "--serial-port"

    host: str
    http_port: int
    slots: int | None
    queue: int
    time_limit: float
    chat_template: Path | None
    api_key_file: Path | None
    hosts: tuple[str, ...]
    origins: tuple[str, ...]
    docs: bool
    head: str

    def name(self, checkpoint: Checkpoint) -> str:
        """The name of the model for clients: that of its folder, or that on the hub."""
        return checkpoint.path.resolve().name if os.path.lexists(self.checkpoint) else self.checkpoint

    def key(self) -> str | None:
        """The key that clients must send, if there is one. Raises JobError, OSError."""
        if self.api_key_file is None:
            key, source = os.environ.get(KEY_VARIABLE), KEY_VARIABLE
        else:
            key, source = self.api_key_file.read_text("utf-8", errors="replace"), str(self.api_key_file)
        if key is None:
            if is_loopback(self.host):
                return None
            raise JobError(f"at the address {self.host} others could use the server: also give --api-key-file, or set "
                           f"{KEY_VARIABLE}")
        key = key.strip()
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise JobError(f"{source} must hold a key, one word of ASCII characters")
        return key

    def check(self) -> None:
        """Raises JobError for options that mean nothing."""
        if self.slots is not None and self.slots < 1:
            raise JobError(f"--slots must be at least 1, not {self.slots}")
        if not 0 <= self.http_port < 1 << 16:
            raise JobError(f"--port must be 0 to {(1 << 16) - 1}, not {self.http_port}")
        if self.queue < 0:
            raise JobError(f"--queue must not be negative, but is {self.queue}")
        if not self.time_limit > 0:
            raise JobError(f"--time-limit must be above 0, not {self.time_limit}")
        if "*" in self.origins:
            raise JobError("--cors-origin must name an origin, such as http://localhost:3000, not *")


def run(options: Options) -> None:
    """Run the command. It returns after a signal, when all has ended; while it loads, a signal interrupts it.

    Raises CheckpointError, ImageError, ConfigError, JobError, HardwareError, ToolError, OSError.
    """
    options.check()
    key = options.key()
    config, board, backend = options.target()
    checkpoint = Checkpoint.open(located(options.checkpoint))
    source = ModelSource.of(checkpoint, options.image)
    template = _template(options, source)
    service = Service(options.name(checkpoint), options.time_limit, machine={
        "backend": backend, "board": board.name if board else None, "simulated": options.simulate or backend == "sim",
        "preset": config.name, "clock_hz": board.clock_hz if board else None, "columns": config.columns,
        "slots": options.slots or config.columns})
    with ExitStack() as stack:
        http = HttpServer(make_app(service, key=key, hosts=(options.host, *options.hosts), origins=options.origins,
                                   docs=options.docs),
                          options.host, options.http_port)
        stack.callback(http.close)
        tell(f"listening at {http.url}, loading {service.model}")
        if not template:
            tell(f"{service.model} has no usable chat template: /v1/chat/completions returns errors; give one with "
                 "--chat-template FILE")
        session = stack.enter_context(Session(
            source, context=options.context, sequences=options.slots or config.columns, port=options.port,
            memory_seed=options.memory_seed, memory=options.memory or DEFAULT_MEMORY, progress=True, board=board,
            simulate=options.simulate, preset=None if board else config, backend=None if board else backend,
            chat_template=options.chat_template, head=options.head))
        session.load()
        engine, work = session.engine(options.queue)
        service.loaded = Loaded(engine, session.text, session.chat_ids, template)
        _answer(service, engine, work, http)


def _template(options: Options, source: ModelSource) -> bool:
    """Whether the model has a chat template. Raises CheckpointError for one that cannot be read."""
    try:
        ChatTemplate.open(source.path, options.chat_template)
    except CheckpointError:
        if options.chat_template is not None:
            raise
        return False
    return True


def _answer(service: Service, engine: Engine, work: Work[None, None], http: HttpServer) -> None:
    """Answer until a signal. Raises what ends the engine or the HTTP server before."""
    tell(f"ready: {service.model}, context {engine.context}, {engine.places} requests at a time")
    try:
        while not work.ended.wait(LOOK_S) and http.alive:
            pass
    except KeyboardInterrupt:
        tell("ending")
    engine.close()
    http.close()
    work.result()
