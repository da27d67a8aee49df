"""A web server that keeps what is posted to it: somebody's chat."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Posted:
    path: str
    headers: Mapping[str, str]
    content: Any


@dataclass
class Hook:
    """What came. `/moved` is answered with a redirection, `/refused` with an error that repeats what came,
    `/slow` one byte at a time until `go` is set."""

    port: int
    posts: list[Posted] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)


@contextmanager
def answering(certificate: Path, key: Path) -> Iterator[Hook]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            hook.posts.append(Posted(self.path, dict(self.headers), json.loads(content)))
            if self.path.startswith("/moved"):
                self.send_response(307)
                self.send_header("Location", f"https://127.0.0.1:{hook.port}/elsewhere")
            elif self.path.startswith("/refused"):
                self.send_response(403)
            elif self.path.startswith("/slow"):
                while not hook.go.wait(0.1):
                    self.wfile.write(b"H")
                return
            else:
                self.send_response(200)
            self.end_headers()
            self.wfile.write(f"you said {self.headers['Authorization']} at {self.path}".encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that does not trust us hangs up

    with Server(("127.0.0.1", 0), Handler) as server:
        hook = Hook(server.server_address[1])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hook
        finally:
            hook.go.set()
            server.shutdown()
            thread.join()
