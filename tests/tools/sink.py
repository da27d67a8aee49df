"""A mail server that keeps what it gets: the world outside a lab."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Received:
    sender: str
    recipients: tuple[str, ...]
    content: bytes
    client: str = ""  # how it called itself


@dataclass
class Sink:
    """What a recipient gets depends on how its local part begins: `refused` 550, `later` 451, `busy` 421.

    For `slow` the server stops in the middle of the content, sets `stalled`, and goes on when `go` is set.
    """

    messages: list[Received] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    def count(self, recipient: str) -> int:
        """How often something came for this recipient."""
        return sum(recipient in message.recipients for message in self.messages)

    def wait_for(self, recipient: str, seconds: float = 20.0) -> Received:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for message in self.messages:
                if recipient in message.recipients:
                    return message
            time.sleep(0.05)
        raise AssertionError(f"nothing for {recipient} came: {[m.recipients for m in self.messages]}")


@contextmanager
def listening(port: int = 0, address: str = "127.0.0.1", *, smtputf8: bool = False) -> Iterator[Sink]:
    """Listen at a port, any free one with 0."""
    sink = Sink()

    class Session(socketserver.StreamRequestHandler):
        timeout = 30

        def handle(self) -> None:
            sender, recipients, client = "", list[str](), ""
            self._say("220 sink")
            while line := self.rfile.readline(1024):
                word, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
                match word.upper():
                    case "EHLO":
                        client = rest
                        self._say("250-sink\r\n250-8BITMIME\r\n250 SMTPUTF8" if smtputf8 else "250 sink")
                    case "HELO":
                        client = rest
                        self._say("250 sink")
                    case "MAIL":
                        sender, recipients = _path(rest), []
                        self._say("250 ok")
                    case "RCPT" if _path(rest).startswith("refused"):
                        self._say("550 5.1.1 no such user")
                    case "RCPT" if _path(rest).startswith("later"):
                        self._say("451 4.2.0 come back later")
                    case "RCPT" if _path(rest).startswith("busy"):
                        self._say("421 4.7.0 slow down")
                        return
                    case "RCPT":
                        recipients.append(_path(rest))
                        self._say("250 ok")
                    case "DATA":
                        self._say("354 go on")
                        first = self.rfile.readline()
                        if any(one.startswith("slow") for one in recipients):
                            sink.stalled.set()
                            sink.go.wait(60)
                        content = first + b"".join(iter(self.rfile.readline, b".\r\n"))
                        sink.messages.append(Received(sender, tuple(recipients), content, client))
                        self._say("250 kept")
                    case "QUIT":
                        self._say("221 bye")
                        return
                    case _:
                        self._say("250 ok")

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server((address, port), Session) as server:
        sink.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield sink
        finally:
            sink.go.set()
            server.shutdown()
            thread.join()


def _path(rest: str) -> str:
    return rest.partition("<")[2].partition(">")[0]
