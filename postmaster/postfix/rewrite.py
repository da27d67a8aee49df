"""Asking the running trivial-rewrite where an address goes: class, transport, next hop.

The protocol is Postfix's own and internal: attributes as `name NUL value NUL`, a NUL more at the end
(attr_scan0.c, resolve_clnt.c). Only root can reach the socket. Whatever goes wrong, the answer is None: the
caller has worked out the same from the configuration.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 3.0  # seconds for one answer
SOCKET = "private/rewrite"
_GREETING = {"protocol": "trivial_rewrite_protocol"}
_REPLY_BYTES = 65536
_CLASSES = {
    0x100: "local",
    0x200: "virtual_alias",
    0x400: "virtual_mailbox",
    0x800: "relay",
    0x1000: "default",
}
_ERROR, _FAIL = 0x4, 0x8  # resolve_clnt.h


@dataclass(frozen=True, slots=True)
class Resolved:
    """Where mail for an address goes by itself; aliases are not looked at."""

    domain_class: str
    transport: str
    next_hop: str
    recipient: str


class Rewriter:
    """A connection to the service of one instance, made at the first question."""

    def __init__(self, queue_directory: Path) -> None:
        self._path = queue_directory / SOCKET
        self._socket: socket.socket | None = None
        self.answers = 0  # how many questions it answered
        self._is_dead = False

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def resolve(self, address: str, sender: str = "") -> Resolved | None:
        """Where an address (in internal form) goes; None where the service does not say."""
        if self._is_dead or "\0" in address + sender:
            return None
        try:
            found = self._ask(("request", "resolve"), ("sender", sender), ("address", address))
        except (OSError, ValueError):
            self._is_dead = True
            self.close()
            return None
        flags = int(found.get("flags", "0") or 0) if found.get("flags", "0").isdigit() else 0
        domain_class = next((name for bit, name in _CLASSES.items() if flags & bit), None)
        if domain_class is None or flags & (_ERROR | _FAIL):
            return None
        self.answers += 1
        return Resolved(
            domain_class, found.get("transport", ""), found.get("nexthop", ""), found.get("recipient", "")
        )

    def _ask(self, *pairs: tuple[str, str]) -> dict[str, str]:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(TIMEOUT)
            self._socket.connect(str(self._path))
            if self._read() != _GREETING:
                raise ValueError("another protocol")
        text = "".join(f"{name}\0{value}\0" for name, value in pairs) + "\0"
        self._socket.sendall(text.encode("utf-8", "surrogateescape"))
        return self._read()

    def _read(self) -> dict[str, str]:
        assert self._socket is not None
        data = b""
        while not (data.endswith(b"\0\0") and _is_whole(data)):
            more = self._socket.recv(4096)
            if not more or len(data) > _REPLY_BYTES:
                raise ValueError("no whole answer")
            data += more
        words = data.decode("utf-8", "surrogateescape").split("\0")
        # A name may come twice: the first `flags` are the server's, the last ones the address's.
        return dict(zip(words[0:-2:2], words[1:-1:2], strict=False))


def _is_whole(data: bytes) -> bool:
    """Whether the two NULs at the end close the answer, and not an empty value in it."""
    return data.count(b"\0") % 2 == 1
