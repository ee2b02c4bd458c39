"""A server with the few endpoints of the Hugging Face hub that a download of a model needs, and with their failures."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit

__all__ = ["COMMIT", "HubServer"]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISIONS = ("main", "v1", COMMIT)


class HubServer:
    """Serves files as one model on a port of this computer.

    Attributes:
        files: their content by name.
        requests: method, path and Range of every request, in order.
        tokens: the Authorization of every request that has one.
        errors: status and X-Error-Code to answer, by the beginning of the path.
        garbage: what is answered in place of JSON, if it is not None.
        drops: files of which the first transfer ends in the middle.
        stalls: files of which no content is sent, while the connection stays open.
        silent: the beginning of paths that are never answered.
    """

    def __init__(self, repository: str, files: Mapping[str, bytes]) -> None:
        self.repository, self.files = repository, dict(files)
        self.requests: list[tuple[str, str, str | None]] = []
        self.tokens: list[str] = []
        self.errors: dict[str, tuple[int, str | None]] = {}
        self.garbage: bytes | None = None
        self.drops: set[str] = set()
        self.stalls: set[str] = set()
        self.silent: tuple[str, ...] = ()
        self._ended = threading.Event()

    @classmethod
    def of_folder(cls, repository: str, folder: Path) -> HubServer:
        """The files of a checkpoint."""
        return cls(repository, {path.name: path.read_bytes() for path in folder.iterdir()})

    def __enter__(self) -> HubServer:
        hub = self

        class Handler(_Handler):
            server_of = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def url(self) -> str:
        """What HF_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def fetched(self) -> list[str]:
        """Names of the files of which content was requested."""
        return [path.rpartition("/")[2] for method, path, _ in self.requests if method == "GET" and "/resolve/" in path]

    def wait(self) -> None:
        """Until the server ends."""
        self._ended.wait(60)


class _Handler(BaseHTTPRequestHandler):
    server_of: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        hub, path = self.server_of, unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path, self.headers.get("Range")))
        if "Authorization" in self.headers:
            hub.tokens.append(self.headers["Authorization"])
        if path.startswith(hub.silent or ("no path",)):
            hub.wait()
            self.close_connection = True
            return
        error = next((error for start, error in hub.errors.items() if path.startswith(start)), None)
        repository, _, rest = path.removeprefix("/api/models").removeprefix("/").partition("/revision/")
        if error is not None:
            self._error(*error)
        elif path.startswith("/api/models/"):
            if repository != hub.repository:
                self._error(401, "RepoNotFound")
            elif rest not in REVISIONS:
                self._error(404, "RevisionNotFound")
            else:
                listed = {"id": hub.repository, "sha": COMMIT, "siblings": [{"rfilename": name} for name in hub.files]}
                self._send(json.dumps(listed).encode() if hub.garbage is None else hub.garbage, body)
        else:
            revision, _, name = path.removeprefix(f"/{hub.repository}/resolve/").partition("/")
            if revision in REVISIONS and name in hub.files:
                self._file(name, body)
            else:
                self._error(404, "EntryNotFound")

    def _error(self, status: int, code: str | None) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, content: bytes, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _file(self, name: str, body: bool) -> None:
        hub, content = self.server_of, self.server_of.files[name]
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if not body:
            return
        if name in hub.stalls:
            hub.wait()
            self.close_connection = True
            return
        if name in hub.drops:
            hub.drops.remove(name)
            self.wfile.write(content[start : (start + len(content)) // 2])
            self.close_connection = True
            return
        self.wfile.write(content[start:])
