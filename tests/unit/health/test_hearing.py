"""What is heard of a listener, whatever it does."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from postmaster.health.finding import Context
from postmaster.health.hearing import Heard, hear
from postmaster.health.talk import Listener, TlsBroken
from postmaster.process import one_reading
from postmaster.settings import Settings, load_settings
from tests.tools.certificates import Authority

NAME = "mail.example.test"


class Pop3s:
    """A listener that shows a certificate and offers what POP3 has; `clients` counts who came."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        issued = authority.issue(NAME)
        file = folder / "served.pem"
        file.write_bytes(issued.certificate + issued.key)
        self.clients = 0
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(file)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            plain, _ = self._socket.accept()
            with plain:
                first = plain.recv(1, socket.MSG_PEEK)
                if first == b"!":
                    return
                self.clients += 1
                with suppress(OSError), self._tls.wrap_socket(plain, server_side=True) as client:
                    client.sendall(b"+OK hello\r\n")
                    client.recv(100)
                    client.sendall(b"+OK\r\nSASL PLAIN\r\n.\r\n")
                    client.recv(100)

    def close(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as last:
            last.sendall(b"!")
        self._thread.join()
        self._socket.close()


@contextmanager
def listening(folder: Path) -> Iterator[tuple[Pop3s, Listener, Path]]:
    authority = Authority()
    trusted = folder / "authority.pem"
    trusted.write_bytes(authority.certificate)
    server = Pop3s(folder, authority)
    try:
        yield server, Listener("pop3s", "pop3", server.port, tls=True), trusted
    finally:
        server.close()


def context(ca_file: Path | str = "", seconds: float = 10.0) -> Context:
    settings = load_settings(None, {})
    settings = replace(settings, health=replace(settings.health, ca_file=str(ca_file)))
    return Context(_at_home(settings), time.monotonic() + seconds)


def _at_home(settings: Settings) -> Settings:
    return replace(settings, server=replace(settings.server, address="127.0.0.1"))


def test_what_is_trusted_is_heard_at_the_first_attempt(tmp_path: Path) -> None:
    with listening(tmp_path) as (server, listener, trusted):
        heard = hear(context(trusted), listener, NAME)
        assert server.clients == 1
    assert (heard.error, heard.distrust, heard.plain) == (None, None, None)
    assert heard.certificate is not None
    assert heard.secured is not None
    assert heard.secured.mechanisms == ("PLAIN",)


def test_what_nobody_trusts_is_heard_all_the_same_and_said(tmp_path: Path) -> None:
    with listening(tmp_path) as (_, listener, _):
        heard = hear(context(), listener, NAME)
    assert heard.error is None
    assert heard.distrust is not None
    assert heard.certificate is not None
    assert heard.secured is not None


def test_an_authority_that_is_found_by_no_hash_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's authorities in one file, as some systems have them, and an empty folder."""
    (tmp_path / "empty").mkdir()
    with listening(tmp_path) as (server, listener, trusted):
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "empty"))
        heard = hear(context(), listener, NAME)
        assert server.clients == 2
    assert heard.distrust is None
    assert heard.certificate is not None


def test_all_who_ask_while_a_run_lasts_are_answered_at_once(tmp_path: Path) -> None:
    given: list[Heard] = []
    with listening(tmp_path) as (server, listener, trusted), one_reading():
        asking = context(trusted)
        threads = [
            threading.Thread(target=lambda: given.append(hear(asking, listener, NAME))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.clients == 1
    assert len({id(one) for one in given}) == 1


def test_one_that_says_nothing_costs_its_share_and_no_more() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        listener = Listener("pop3s", "pop3", silent.getsockname()[1], tls=True)
        heard = hear(context(seconds=0.5), listener, NAME)
    assert heard.is_connected
    assert isinstance(heard.error, TlsBroken)
    assert heard.certificate is None


def test_one_that_is_not_there_is_an_error_of_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    heard = hear(context(), Listener("pop3", "pop3", port), NAME)
    assert not heard.is_connected
    assert isinstance(heard.error, OSError)
