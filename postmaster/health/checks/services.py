"""Whether every listener in the settings answers, and how quickly."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator

from postmaster.health.finding import OK, Context, Finding, Measure, Severity

MEANING = "every listener in the settings greets"
CODES = {
    "service-down": "a listener cannot be reached, or says nothing in time",
    "service-greeting": "a listener greets with something else than its protocol's words",
}

#: Service -> what a greeting begins with, and whether TLS comes first.
_GREETINGS = {
    "smtp": (b"220", False),
    "submission": (b"220", False),
    "submissions": (b"220", True),
    "imap": (b"* OK", False),
    "imaps": (b"* OK", True),
    "pop3": (b"+OK", False),
    "pop3s": (b"+OK", True),
    "lmtp": (b"220", False),
    "sieve": (b'"', False),
}


def run(context: Context) -> Iterator[Finding]:
    """Every configured listener greets; where TLS comes first, it is spoken."""
    server = context.settings.server
    for name, (greeting, tls) in _GREETINGS.items():
        port = getattr(server, f"{name}_port")
        if not port:
            continue
        begun = time.monotonic()
        try:
            said = _first_bytes(server.address, port, tls, context.left(0.5))
        except OSError as error:
            message = f"port {port} does not answer: {error.strerror or error}"
            yield Finding(
                *("services", name, "service-down", Severity.critical, message),
                "is it running? see the mail log",
            )
            continue
        took = time.monotonic() - begun
        if said.startswith(greeting):
            message = f"port {port} greets after {took:.3f} s"
            yield Finding(
                *("services", name, OK, Severity.ok, message), measures=(Measure("time", took, "s"),)
            )
        else:
            message = f"port {port} says {said[:60].decode('ascii', 'replace')!r}"
            yield Finding(
                "services", name, "service-greeting", Severity.critical, message, "see the mail log"
            )


def _first_bytes(address: str, port: int, tls: bool, timeout: float) -> bytes:
    with socket.create_connection((address, port), timeout=timeout) as plain:
        if not tls:
            return plain.recv(256)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # whether the name fits is another question
        with context.wrap_socket(plain) as wrapped:
            return wrapped.recv(256)
