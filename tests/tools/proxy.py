"""A server in front of another one that passes everything on, until it is told to misbehave."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.tools.readable import readable


class Proxy:
    """`delay`: seconds before the first byte; `silent`: nothing at all; `greeting`: these bytes alone.

    `clients`: how many came.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.clients = 0
        self.delay = 0.0
        self.silent = False
        self.greeting = b""
        self.ended = threading.Event()

    @contextmanager
    def being(self, *, delay: float = 0.0, silent: bool = False, greeting: bytes = b"") -> Iterator[None]:
        """Misbehave like this for a while."""
        self.delay, self.silent, self.greeting = delay, silent, greeting
        try:
            yield
        finally:
            self.delay, self.silent, self.greeting = 0.0, False, b""


@contextmanager
def in_front_of(target: int) -> Iterator[Proxy]:
    counting = threading.Lock()

    class Session(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            here: socket.socket = self.request
            with counting:
                proxy.clients += 1
            if proxy.silent or proxy.greeting:
                here.sendall(proxy.greeting)
                while not proxy.ended.is_set() and not _has_hung_up(here):
                    pass
                return
            proxy.ended.wait(proxy.delay)
            # From an address that Dovecot does not take for its own.
            source = ("127.0.0.2", 0)
            with suppress(OSError), socket.create_connection(("127.0.0.1", target), 10, source) as there:
                _pump(here, there, proxy.ended)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Session) as server:
        proxy = Proxy(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.ended.set()
            server.shutdown()
            thread.join()


def _has_hung_up(here: socket.socket) -> bool:
    ready = readable([here], 0.1)
    with suppress(OSError):
        return bool(ready) and not here.recv(4096)
    return True


def _pump(here: socket.socket, there: socket.socket, ended: threading.Event) -> None:
    ways = {here: there, there: here}
    while not ended.is_set():
        for one in readable(ways, 0.1):
            data = one.recv(65536)
            if not data:
                return
            ways[one].sendall(data)
