"""A webmail that is small: a login page, a page for who is let in; it can be told to misbehave."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

LOGIN = """<!doctype html><title>Mail</title>
<form action="./?task=login" method="post"><input type="hidden" name="_token" value="{token}">
<input name="_user"><input type="password" name="_pass"><button>Login</button></form>"""
TOKEN = "a&quot;token"


@dataclass
class Webmail:
    """`status` of every answer; `page` in the place of the login page; `password` that is right."""

    port: int = 0
    status: int = 200
    page: str = LOGIN.format(token=TOKEN)
    password: str = ""
    logins: int = 0

    @contextmanager
    def being(
        self, *, status: int = 200, page: str | None = None, password: str | None = None
    ) -> Iterator[None]:
        """Misbehave like this for a while."""
        before = self.status, self.page, self.password
        self.status = status
        self.page = self.page if page is None else page
        self.password = self.password if password is None else password
        try:
            yield
        finally:
            self.status, self.page, self.password = before


@contextmanager
def serving(pair: Path | None = None) -> Iterator[Webmail]:
    """With a certificate and key in one PEM file it speaks TLS; the file is read at each connection."""
    webmail = Webmail()

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            self._answer(webmail.status, webmail.page)

        def do_POST(self) -> None:
            sent = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            webmail.logins += 1
            is_right = sent.get("_pass") == [webmail.password] and sent.get("_token") == ['a"token']
            self._answer(200 if is_right else 401, "<h1>Inbox</h1>" if is_right else webmail.page)

        def _answer(self, status: int, page: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
            plain, address = super().get_request()
            if pair is None:
                return plain, address
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair)
            return context.wrap_socket(plain, server_side=True), address

        def handle_error(self, *_: object) -> None:
            pass  # a client that does not like the certificate

    with Server(("127.0.0.1", 0), Handler) as server:
        webmail.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield webmail
        finally:
            server.shutdown()
            thread.join()
