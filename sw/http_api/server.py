"""Uvicorn in a thread of its own, so that signals reach the main thread, as in every command."""

from __future__ import annotations

import asyncio
import socket
import threading

import uvicorn
from fastapi import FastAPI

from sw.errors import HardwareError, JobError

__all__ = ["HttpServer"]

END_S = 10
"""Seconds that open connections have to end."""


class HttpServer:
    """Serves an application at an address until `close`."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        """Raises JobError if the address cannot be used."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            raise JobError(f"cannot listen at {host}, port {port}: {error.strerror}; give another --host or --port"
                           ) from error
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, server_header=False,
                                                     timeout_graceful_shutdown=END_S, lifespan="off"))
        self._thread = threading.Thread(target=self._run, name="bitnet-fpga http", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    @property
    def alive(self) -> bool:
        """Whether it serves."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End, after the responses that are under way, which must end soon. Raises HardwareError if it does not."""
        self._server.should_exit = True
        self._thread.join(2 * END_S)
        self._socket.close()
        if self._thread.is_alive():
            raise HardwareError(f"the HTTP server did not end within {2 * END_S} s")
