"""What is where in a lab's folder, and the settings that follow from it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from postmaster.errors import ServerError
from postmaster.settings import (
    DirectorySettings,
    DovecotSettings,
    HealthSettings,
    LogSettings,
    LookupsSettings,
    MailSettings,
    PostfixSettings,
    ServerSettings,
    Settings,
    StateSettings,
)
from postmaster.shell import word

MARKER = "lab.json"  # says that a folder is a lab, and keeps its outbound port
DOMAIN = "lab.test"  # RFC 2606
POSTMASTER = f"postmaster@{DOMAIN}"
MAIL_ACCOUNT = "mail"  # exists on every Debian, so nothing outside the folder is made
ADDRESS = "127.0.0.1"

#: A Unix socket's path has 107 characters at most (unix(7)); the longest below a lab needs this many.
SOCKET_PATH = 107
LONGEST_SOCKET = len("/dovecot/run/srv.submission-login/stats-writer")

SERVICES = ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "lmtp")
TLS_SERVICES = ("submissions", "imaps", "pop3s")


@dataclass(frozen=True, slots=True)
class Layout:
    root: Path

    @property
    def marker(self) -> Path:
        return self.root / MARKER

    @property
    def settings_file(self) -> Path:
        return self.root / "postmaster.toml"

    @property
    def postfix(self) -> Path:
        return self.root / "postfix"

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def dovecot(self) -> Path:
        return self.root / "dovecot"

    @property
    def dovecot_config(self) -> Path:
        return self.dovecot / "dovecot.conf"

    @property
    def dovecot_pid(self) -> Path:
        return self.dovecot / "run" / "master.pid"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def certificate(self) -> Path:
        return self.root / "tls" / "certificate.pem"

    @property
    def key(self) -> Path:
        return self.root / "tls" / "key.pem"

    @property
    def password(self) -> Path:
        return self.root / "postmaster.password"


def settings_for(layout: Layout, ports: dict[str, int]) -> Settings:
    """The settings of a lab: every path below its folder, every port its own."""
    root = layout.root
    return Settings(
        directory=DirectorySettings(f"sqlite:///{root}/state/directory.db"),
        state=StateSettings(root / "state"),
        lookups=LookupsSettings(root / "lookups"),
        mail=MailSettings(root / "mail", MAIL_ACCOUNT, POSTMASTER),
        postfix=PostfixSettings(layout.postfix),
        dovecot=DovecotSettings(layout.dovecot_config),
        log=LogSettings((layout.log / "mail.log", layout.log / "dovecot.log")),
        server=ServerSettings(
            address=ADDRESS,
            hostname=f"mail.{DOMAIN}",
            **{f"{name}_port": ports[name] for name in SERVICES},
        ),
        # Nobody else signed its certificate; the clock is the machine's.
        health=HealthSettings(ca_file=str(layout.certificate), clock=False),
        file=layout.settings_file,
    )


def pick_ports(names: tuple[str, ...]) -> dict[str, int]:
    """A free port for each name. All are held until the last is found, so none comes twice."""
    held: list[socket.socket] = []
    try:
        for _ in names:
            one = socket.socket()
            held.append(one)
            one.bind((ADDRESS, 0))
        return {name: one.getsockname()[1] for name, one in zip(names, held, strict=True)}
    finally:
        for one in held:
            one.close()


def is_free(port: int) -> bool:
    """Whether nobody listens on a port."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((ADDRESS, port))
        except OSError:
            return False
    return True


def check_path(root: Path) -> None:
    """Refuse a folder in which the servers could not work. Raises ServerError."""
    if len(str(root)) + LONGEST_SOCKET > SOCKET_PATH:
        raise ServerError(
            f"the path {root} is too long for the servers' Unix sockets",
            hint=f"use one of at most {SOCKET_PATH - LONGEST_SOCKET} characters",
        )
    if not str(root).isprintable() or any(c in str(root) for c in " '\"\\{}#$,:"):
        raise ServerError(
            f"the path {root} has characters that Postfix or Dovecot cannot name", hint="use /srv/lab"
        )
    for parent in root.parents:
        if parent.is_dir() and not parent.stat().st_mode & 0o001:
            raise ServerError(
                f"the servers' users cannot pass through {parent}",
                hint=f"chmod o+x {word(parent)}, or use another folder",
            )
