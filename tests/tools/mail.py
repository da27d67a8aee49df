"""A lab and the clients of it: the command line, SMTP, submission, IMAP, POP3."""

from __future__ import annotations

import email
import imaplib
import os
import poplib
import smtplib
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from functools import cache
from pathlib import Path

from postmaster.directory import passwords, users
from postmaster.directory.database import open_directory
from postmaster.lab.lifecycle import LabStatus
from postmaster.settings import Settings, load_settings
from postmaster.setup.prove import tls_context
from tests.tools.building import A, Builder, open_builder
from tests.tools.loaded import Loaded

PASSWORD = "correct horse battery"
PATIENCE = 30.0  # seconds that a message has to arrive

_sources = (f"127.{a}.{b}.{c}" for a in range(9, 255) for b in range(256) for c in range(1, 255))


def connect(port: int) -> socket.socket:
    """A connection from an address never used before.

    Dovecot makes an address wait after each login that it refused, up to 17 seconds.
    """
    return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(next(_sources), 0))


class _Imap(imaplib.IMAP4):
    def _create_socket(self, timeout: float | None) -> socket.socket:
        return connect(self.port)


class _Imaps(_Imap):
    def _create_socket(self, timeout: float | None) -> socket.socket:
        return tls_context().wrap_socket(connect(self.port))


class _Pop3(poplib.POP3):
    def _create_socket(self, timeout: float | None) -> socket.socket:
        return connect(self.port)


class _Pop3s(_Pop3):
    def _create_socket(self, timeout: float | None) -> socket.socket:
        return tls_context().wrap_socket(connect(self.port))


class _Smtps(smtplib.SMTP):
    def _get_socket(self, host: str, port: int, timeout: float | None) -> socket.socket:
        return tls_context().wrap_socket(connect(port))


class _Smtp(smtplib.SMTP):
    def _get_socket(self, host: str, port: int, timeout: float | None) -> socket.socket:
        return connect(port)


@cache
def password_hash() -> str:
    """The hash of PASSWORD, computed once."""
    return passwords.hash_password(PASSWORD)


@cache
def loaded() -> Loaded:
    """The one that runs this process's commands."""
    return Loaded()


@dataclass(frozen=True)
class Lab:
    status: LabStatus

    @property
    def root(self) -> Path:
        return self.status.directory

    @property
    def settings(self) -> Settings:
        return load_settings(self.status.settings_file, {})

    def port(self, name: str) -> int:
        return next(one.port for one in self.status.services if one.name == name)

    def home(self, login: str) -> Path:
        """The user's mail folder."""
        with open_directory(self.settings) as directory, directory.read() as reading:
            return users.mail_folder(self.settings.mail, users.show(reading, A(login)))

    def log(self) -> str:
        return (self.root / "log" / "mail.log").read_text(errors="replace")

    def postmaster(
        self, *arguments: str, stdin: str = "", expect: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run the command as a process of its own."""
        given = ["--config", str(self.status.settings_file), *arguments]
        done = loaded().run(given, stdin=stdin, timeout=100, environment=os.environ)
        if expect is not None:
            assert done.returncode == expect, f"{arguments}: {done.returncode} {done.stdout}{done.stderr}"
        return done

    @contextmanager
    def change(self) -> Iterator[Builder]:
        """Build in the lab's directory through the library."""
        with open_builder(self.settings) as make:
            yield make

    @contextmanager
    def smtp(self, source: str = "127.0.0.2") -> Iterator[smtplib.SMTP]:
        """A stranger's session: 127.0.0.2 is not in mynetworks."""
        with smtplib.SMTP(
            "127.0.0.1",
            self.port("smtp"),
            local_hostname="client.test",
            timeout=30,
            source_address=(source, 0),
        ) as client:
            client.ehlo()
            yield client

    def rcpt(self, recipient: str, sender: str = "stranger@outside.test") -> tuple[int, str]:
        """What a stranger hears about a recipient."""
        with self.smtp() as client:
            client.mail(sender)
            code, text = client.rcpt(recipient)
        return code, text.decode("ascii", "replace")

    def send(
        self, recipient: str, subject: str, *, sender: str = "stranger@outside.test", body: str = "Hello."
    ) -> None:
        """A stranger's message."""
        content = (
            f"From: {sender}\r\nTo: {recipient}\r\nSubject: {subject}\r\n"
            f"Date: Mon, 01 Jun 2026 12:00:00 +0000\r\nMessage-ID: <{subject}@outside.test>\r\n\r\n{body}\r\n"
        )
        with self.smtp() as client:
            client.sendmail(sender, [recipient], content)

    @contextmanager
    def submission(
        self, login: str, password: str = PASSWORD, *, name: str = "submission"
    ) -> Iterator[smtplib.SMTP]:
        """A session after login, on port 587 or 465."""
        kind = _Smtps if name == "submissions" else _Smtp
        client = kind("127.0.0.1", self.port(name), local_hostname="client.test", timeout=30)
        if name == "submission":
            client.starttls(context=tls_context())
        try:
            client.ehlo()
            # Not login(): after a refusal it would try the next mechanism.
            client.user, client.password = login, password
            client.auth("PLAIN", client.auth_plain)
            yield client
        finally:
            with suppress(OSError, smtplib.SMTPException):
                client.quit()
            client.close()

    @contextmanager
    def imap(self, login: str, password: str = PASSWORD, *, name: str = "imap") -> Iterator[imaplib.IMAP4]:
        client = (_Imaps if name == "imaps" else _Imap)("127.0.0.1", self.port(name), timeout=30)
        if name == "imap":
            client.starttls(tls_context())
        try:
            client.login(login, password)
            yield client
            client.logout()
        finally:
            with suppress(OSError):  # closed already after a logout
                client.shutdown()

    @contextmanager
    def pop3(self, login: str, password: str = PASSWORD, *, name: str = "pop3") -> Iterator[poplib.POP3]:
        client = (_Pop3s if name == "pop3s" else _Pop3)("127.0.0.1", self.port(name), timeout=30)
        if name == "pop3":
            client.stls(tls_context())
        try:
            client.user(login)
            client.pass_(password)
            yield client
            client.quit()
        finally:
            client.close()

    def may_login(self, service: str, login: str, password: str = PASSWORD) -> bool:
        """Whether a login works: imap, imaps, pop3, pop3s, submission, submissions."""
        try:
            if service.startswith("imap"):
                with self.imap(login, password, name=service):
                    return True
            if service.startswith("pop3"):
                with self.pop3(login, password, name=service):
                    return True
            with self.submission(login, password, name=service):
                return True
        except (imaplib.IMAP4.error, poplib.error_proto, smtplib.SMTPAuthenticationError):
            return False

    def mailbox(self, login: str, password: str = PASSWORD) -> list[Message]:
        """Every message in INBOX, by IMAP."""
        with self.imap(login, password) as client:
            client.select("INBOX", readonly=True)
            _, found = client.search(None, "ALL")
            messages = []
            for number in found[0].split():
                _, parts = client.fetch(number.decode(), "(RFC822)")
                messages.append(email.message_from_bytes(parts[0][1]))  # type: ignore[index,arg-type]
        return messages

    def wait_for(
        self, login: str, subject: str, password: str = PASSWORD, *, count: int = 1
    ) -> list[Message]:
        """Wait until so many messages have this in their subject; gives them back."""
        ends = time.monotonic() + PATIENCE
        while True:
            messages = self.mailbox(login, password)
            found = [m for m in messages if subject in str(m["Subject"])]
            if len(found) >= count:
                return found
            if time.monotonic() > ends:
                log = "\n".join(self.log().splitlines()[-30:])
                subjects = [str(m["Subject"]) for m in messages]
                raise AssertionError(f"{login} has {subjects}, not {count} × {subject!r}\n{log}")
            time.sleep(0.1)
