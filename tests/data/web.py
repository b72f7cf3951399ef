"""A server on this machine that serves what a test gives it, and tells what it was asked."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Web:
    """The files by their paths, how they are served, and the requests so far.

    Attributes:
        address: Where it is: http://127.0.0.1:port.
        files: Content by path, without the first slash.
        statuses: What to answer to the next requests instead of the content, one after another.
        cut: Send so many bytes less than was announced.
        headers: Further headers; an ETag of the content goes with every file unless `etag` is off.
        asked: The paths that were asked for.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    cut: int = 0
    etag: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


class Server(ThreadingHTTPServer):
    """Says nothing of clients that go away before the end, as DVC's does."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving() -> Iterator[Web]:
    """Serve until the block ends."""
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(with_content=True)

        def do_HEAD(self) -> None:
            self._answer(with_content=False)

        def _answer(self, *, with_content: bool) -> None:
            path = self.path.lstrip("/").partition("?")[0]
            web.asked.append(path)
            content = web.files.get(path)
            status = web.statuses.pop(0) if web.statuses else 200 if content is not None else 404
            content = content if status == 200 and content is not None else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if web.etag and status == 200:
                self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
            for name, value in web.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if with_content:
                self.wfile.write(content[: len(content) - web.cut])
            self.close_connection = bool(web.cut)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    web.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no mirror, and no waiting between tries."""
    from likewise.data import downloads

    folder = tmp_path_factory.mktemp("downloads")
    monkeypatch.setenv(downloads.CACHE, str(folder))
    monkeypatch.delenv(downloads.MIRROR, raising=False)
    monkeypatch.setattr(downloads, "WAITS", (0.0, 0.0))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return folder
