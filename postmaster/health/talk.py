"""A conversation with a listener: SMTP, LMTP, IMAP, POP3, ManageSieve, as far as their capabilities.

All of it ends before one moment on the monotonic clock, whatever the other side does: one that drips,
floods or says nothing costs no more. What it says is hostile: lines and their number are bounded, and
`said` is what of it may be shown.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from postmaster.settings import ServerSettings

if TYPE_CHECKING:
    import socket
    import ssl

LINE_LIMIT = 4096  # bytes
LINES_LIMIT = 1000
SHOWN = 80  # characters of what a listener said
HELLO = "[127.0.0.1]"

#: Mechanisms that hand the password, or what is as good as one, to whoever listens.
CLEAR = frozenset(("PLAIN", "LOGIN", "USER", "XOAUTH2", "OAUTHBEARER"))


@dataclass(frozen=True, slots=True)
class Listener:
    """`tls`: from the first byte on. `protocol`: smtp, lmtp, imap, pop3, sieve."""

    name: str
    protocol: str
    port: int
    tls: bool = False

    @property
    def takes_logins(self) -> bool:
        return self.name not in ("smtp", "lmtp")


_LISTENERS = (
    ("smtp", "smtp", False),
    ("submission", "smtp", False),
    ("submissions", "smtp", True),
    ("imap", "imap", False),
    ("imaps", "imap", True),
    ("pop3", "pop3", False),
    ("pop3s", "pop3", True),
    ("lmtp", "lmtp", False),
    ("sieve", "sieve", False),
)


def listeners(server: ServerSettings) -> list[Listener]:
    """Those that the settings name."""
    found = [Listener(name, kind, getattr(server, f"{name}_port"), tls) for name, kind, tls in _LISTENERS]
    return [one for one in found if one.port]


class WrongAnswer(Exception):
    """The other side said something else than its protocol has. The argument may be shown."""


class TlsBroken(Exception):
    """TLS was offered, or comes first, and does not work. The argument may be shown."""


class Refused(Exception):
    """The other side will not do what it was asked. The argument may be shown."""


@dataclass(frozen=True, slots=True)
class Offers:
    """What a listener offers: whether STARTTLS, and the mechanisms for a login."""

    starttls: bool
    mechanisms: tuple[str, ...]


def said(text: bytes) -> str:
    """What a listener said, cut and with nothing in it that a terminal would obey."""
    return repr(text[:SHOWN].decode("ascii", "replace").rstrip("\r\n"))


def any_certificate() -> ssl.SSLContext:
    """A client that takes any certificate: whether its name fits is another question."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Talk:
    """A connection to a listener.

    Every method raises OSError (TimeoutError when the time is up) and WrongAnswer.
    """

    def __init__(self, address: str, listener: Listener, ends: float) -> None:
        self._listener, self._ends, self._buffer = listener, ends, b""
        self.can: list[str] = []  # an SMTP server's words after its last EHLO
        self._socket = _connect(address, listener, self._left)

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def tls(self) -> ssl.SSLSocket | None:
        import ssl

        return self._socket if isinstance(self._socket, ssl.SSLSocket) else None

    def start(self, tls: ssl.SSLContext, name: str = "") -> None:
        """As far as TLS, whichever way the listener has it. Raises as `secure` does."""
        is_smtp = self._listener.protocol == "smtp"
        if self._listener.tls:
            self.secure(tls, name)
        self.greeting()
        if is_smtp:
            self.hello()
        if not self._listener.tls:
            self.starttls(tls, name)
            if is_smtp:
                self.hello()

    def greeting(self) -> str:
        """The first words, which a listener says unasked."""
        match self._listener.protocol:
            case "smtp" | "lmtp":
                code, lines = self._reply()
                if code != 220:
                    raise WrongAnswer(said(lines[-1]))
                return lines[0].decode("ascii", "replace")
            case "sieve":
                self._sieve()
                return ""
            case kind:
                line = self.line()
                if not line.startswith(b"* OK" if kind == "imap" else b"+OK"):
                    raise WrongAnswer(said(line))
                return line.decode("ascii", "replace")

    def offers(self) -> Offers:
        """Ask what is offered now."""
        match self._listener.protocol:
            case "smtp" | "lmtp":
                words = self.hello()
                mechanisms = [
                    m
                    for line in words
                    for m in line.replace("=", " ").split()[1:]
                    if line.upper().startswith(("AUTH ", "AUTH="))
                ]
                return Offers("STARTTLS" in words, _unique(mechanisms))
            case "imap":
                self.say("a CAPABILITY")
                words = self._until(rb"a ", b"a OK")
                items = {
                    item for line in words if line.upper().startswith("* CAPABILITY") for item in line.split()
                }
                mechanisms = [item[5:] for item in sorted(items) if item.startswith("AUTH=")]
                if "LOGINDISABLED" not in items:
                    mechanisms.append("LOGIN")
                return Offers("STARTTLS" in items, _unique(mechanisms))
            case "pop3":
                self.say("CAPA")
                if not (line := self.line()).startswith(b"+OK"):
                    raise WrongAnswer(said(line))
                words = self._until(rb"\.$", b".")
                mechanisms = [m for line in words for m in line.split()[1:] if line.startswith("SASL")]
                mechanisms += [word for word in words if word.strip() == "USER"]
                return Offers("STLS" in words, _unique(mechanisms))
            case _:
                self.say("CAPABILITY")
                words = self._sieve()
                mechanisms = [m for line in words for m in _quoted(line)[1:] if _quoted(line)[0] == "SASL"]
                mechanisms = [m for text in mechanisms for m in text.split()]
                return Offers(any(_quoted(line)[0] == "STARTTLS" for line in words), _unique(mechanisms))

    def hello(self) -> list[str]:
        """EHLO or LHLO; what the server can."""
        self.say(f"{'LHLO' if self._listener.protocol == 'lmtp' else 'EHLO'} {HELLO}")
        code, lines = self._reply()
        if code != 250:
            raise WrongAnswer(said(lines[-1]))
        self.can = [line[4:].decode("ascii", "replace").strip().upper() for line in lines[1:]]
        return self.can

    def command(self, text: str) -> tuple[int, str]:
        """An SMTP command; the reply's code and last line."""
        self.say(text)
        code, lines = self._reply()
        return code, said(lines[-1])

    def log_in(self, login: str, password: str) -> None:
        """SASL PLAIN (RFC 4616), and never without TLS. Raises Refused."""
        if self.tls is None:
            raise Refused("no login without TLS")
        import base64

        words = base64.b64encode(f"\0{login}\0{password}".encode()).decode()
        match self._listener.protocol:
            case "imap":
                self._tagged(f"AUTHENTICATE PLAIN {words}")
            case kind:
                self.say(f"AUTH PLAIN {words}")
                line = self._reply()[1][-1] if kind == "smtp" else self.line()
                if not line.startswith(b"235" if kind == "smtp" else b"+OK"):
                    raise Refused(said(line.replace(words.encode(), b"********")))

    def message(self, content: str) -> str:
        """Send a message whose envelope was taken; the server's last words. Raises Refused."""
        code, text = self.command("DATA")
        if code != 354:
            raise Refused(text)
        lines = [f".{line}" if line.startswith(".") else line for line in content.splitlines()]
        code, text = self.command("\r\n".join([*lines, "."]))
        if code != 250:
            raise Refused(text)
        return text

    def imap(self, command: str) -> list[str]:
        """An IMAP command; the lines before its end, literals as lines of their own. Raises Refused."""
        return self._tagged(command)

    def pop3(self, command: str, *, whole: bool = False) -> list[str]:
        """A POP3 command; its first line, with `whole` all that follow it. Raises Refused."""
        self.say(command)
        if not (line := self.line()).startswith(b"+OK"):
            raise Refused(said(line))
        return self._until(rb"\.$", b".") if whole else [line.decode("ascii", "replace")]

    def starttls(self, context: ssl.SSLContext, name: str) -> None:
        """Ask for TLS and begin it, as `secure` does."""
        kind = self._listener.protocol
        self.say({"imap": "a STARTTLS", "pop3": "STLS"}.get(kind, "STARTTLS"))
        line = self.line()
        if not line.startswith({"imap": b"a OK", "pop3": b"+OK", "sieve": b"OK"}.get(kind, b"220")):
            raise TlsBroken(f"answers STARTTLS with {said(line)}")
        if self._buffer:
            raise TlsBroken("says more than it was asked before TLS")
        self.secure(context, name)
        if kind == "sieve":
            self._sieve()  # it says its capabilities anew

    def secure(self, context: ssl.SSLContext, name: str) -> None:
        """Begin TLS; `name` is whose certificate is wanted.

        Raises TlsBroken, and ssl.SSLCertVerificationError where the context looks at certificates.
        """
        import ssl

        try:
            self._socket.settimeout(self._left())
            self._socket = context.wrap_socket(self._socket, server_hostname=name or None)
        except ssl.SSLCertVerificationError:
            raise
        except ssl.SSLError as error:
            raise TlsBroken(f"fails at TLS: {error.reason or error}") from error
        except TimeoutError as error:
            raise TlsBroken("does not finish TLS in time") from error
        except OSError as error:
            raise TlsBroken(f"breaks off at TLS: {error.strerror or error}") from error

    def say(self, text: str) -> None:
        self._socket.settimeout(self._left())
        self._socket.sendall(f"{text}\r\n".encode())

    def quit(self) -> None:
        """Take leave; whether it is heard does not matter."""
        with suppress(OSError):
            self.say({"imap": "a LOGOUT", "sieve": "LOGOUT"}.get(self._listener.protocol, "QUIT"))

    def line(self) -> bytes:
        """One line without its end."""
        while (cut := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > LINE_LIMIT:
                raise WrongAnswer(f"a line without an end: {said(self._buffer)}")
            self._socket.settimeout(self._left())
            data = self._socket.recv(LINE_LIMIT)
            if not data:
                raise ConnectionError("it closes the connection" + " without a word" * (not self._buffer))
            self._buffer += data
        line, self._buffer = self._buffer[:cut], self._buffer[cut + 1 :]
        return line.rstrip(b"\r")

    def _left(self) -> float:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def _reply(self) -> tuple[int, list[bytes]]:
        lines = []
        for _ in range(LINES_LIMIT):
            lines.append(line := self.line())
            if not re.match(rb"[2-5]\d\d(?:[ -]|$)", line):
                raise WrongAnswer(said(line))
            if line[3:4] != b"-":
                return int(line[:3]), lines
        raise WrongAnswer(f"a reply without an end: {said(lines[0])}")

    def _tagged(self, command: str) -> list[str]:
        self.say(f"b {command}")
        lines: list[str] = []
        for _ in range(LINES_LIMIT):
            line = self.line()
            if line.startswith(b"b "):
                if not line.startswith(b"b OK"):
                    raise Refused(said(line))
                return lines
            lines.append(line.decode("ascii", "replace"))
        raise WrongAnswer("an answer without an end")

    def _until(self, last: bytes, good: bytes) -> list[str]:
        """Lines to the one that begins with `last`, a pattern; that one must begin with `good`."""
        lines: list[str] = []
        for _ in range(LINES_LIMIT):
            line = self.line()
            if re.match(last, line):
                if not line.startswith(good):
                    raise WrongAnswer(said(line))
                return lines
            lines.append(line.decode("ascii", "replace").strip())
        raise WrongAnswer("an answer without an end")

    def _sieve(self) -> list[str]:
        first = self.line()
        if not first.startswith(b'"'):
            raise WrongAnswer(said(first))
        return [first.decode("ascii", "replace"), *self._until(rb"(?i)OK|NO|BYE", b"OK")]


def _connect(address: str, listener: Listener, left: Callable[[], float]) -> socket.socket:
    """Where logins are by Dovecot, from another address of this machine than the one that is called.

    Dovecot takes a connection from the server's own address for a safe one, and offers it what it would
    offer nobody else. Where that is not possible, as to another machine, from whichever address.
    """
    import socket

    there = (address, listener.port)
    if listener.protocol not in ("smtp", "lmtp") and ":" not in address:
        source = "127.0.0.2" if address.startswith("127.") and address != "127.0.0.2" else "127.0.0.1"
        try:
            return socket.create_connection(there, min(1.0, left()), (source, 0))
        except ConnectionRefusedError:
            raise
        except OSError:
            pass
    return socket.create_connection(there, left())


def _quoted(line: str) -> list[str]:
    return re.findall(r'"([^"]*)"', line) or [""]


def _unique(words: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.upper() for word in words if word.isprintable()))
