"""Trying the running servers: what a configuration is worth shows only in what they do.

`postfix check` is content with restrictions that do not exist and with two services on one port, so
each proof is a conversation: listeners greet, a known address is taken and an unknown one refused, a
stranger cannot relay, a login works, and no daemon died meanwhile. The account that is tried exists in
the look-ups alone and only as long as the proof. No message is sent.
"""

from __future__ import annotations

import imaplib
import ipaddress
import poplib
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from postmaster.directory.probe import Probe, probe_account
from postmaster.errors import ServerError
from postmaster.postfix import control, postconf
from postmaster.postfix.log import Follower
from postmaster.postfix.logfiles import log_files
from postmaster.settings import Settings

TIMEOUT = 10.0  # seconds for one answer
PATIENCE = 15.0  # seconds that a server has to come up after a reload
LOOKUP_PATIENCE = 4.0  # seconds that look-ups may fail while daemons of before the reload end

OUTSIDER = "127.0.0.2"

_FATAL = re.compile(r": (?:fatal|panic|Fatal|Panic): ")  # Postfix's words and Dovecot's


@dataclass(frozen=True, slots=True)
class Proof:
    """One thing that was tried. `status` is ok, or unknown where it cannot be tried from here."""

    name: str
    status: str
    detail: str


def prove(settings: Settings) -> list[Proof]:
    """Try everything. Raises ServerError at the first thing that does not work."""
    with closing(_Watch(settings)) as watch:
        return _try_all(settings, watch)


def _try_all(settings: Settings, watch: _Watch) -> list[Proof]:
    proofs = [greet(settings, name, port, watch.raise_if_dead) for name, port in _listeners(settings)]
    with probe_account(settings) as probe:
        proofs += [
            _recipients(settings, probe, watch.raise_if_dead),
            _outsider(settings),
            _login(settings, "imap", settings.server.imap_port, lambda: _try_imap(settings, probe)),
            _login(settings, "pop3", settings.server.pop3_port, lambda: _try_pop3(settings, probe)),
            _login(
                settings,
                "submission",
                settings.server.submission_port,
                lambda: _try_submission(settings, probe),
            ),
        ]
    proofs.append(watch.proof())
    return proofs


def tls_context() -> ssl.SSLContext:
    """A client that takes any certificate: here it counts that TLS works, not whose name it shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _listeners(settings: Settings) -> list[tuple[str, int]]:
    names = ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "lmtp", "sieve")
    ports = [(name, int(getattr(settings.server, f"{name}_port"))) for name in names]
    return [(name, port) for name, port in ports if port]


def greet(settings: Settings, name: str, port: int, watch: Callable[[], None] = lambda: None) -> Proof:
    """Wait until a listener greets. Raises ServerError when it does not within PATIENCE.

    `watch` is called after each attempt in vain and may raise the reason.
    """
    begun, last = time.monotonic(), "no answer"
    while time.monotonic() - begun < PATIENCE:
        try:
            plain = socket.create_connection((settings.server.address, port), timeout=TIMEOUT)
            wrapped = tls_context().wrap_socket(plain) if name in ("submissions", "imaps", "pop3s") else plain
            with wrapped:
                greeting = wrapped.recv(512).decode("ascii", "replace").strip()
            if greeting.startswith(("220", "* OK", "+OK", '"')):
                return Proof(f"{name} greets", "ok", greeting.splitlines()[0][:80])
            last = f"it said {greeting[:80]!r}"
        except OSError as error:
            last = str(error)
        watch()
        time.sleep(0.2)
    raise ServerError(f"{name} on {settings.server.address}:{port} does not greet: {last}")


def _smtp(settings: Settings, source: str | None = None, port: int | None = None) -> smtplib.SMTP:
    client = smtplib.SMTP(
        settings.server.address,
        port or settings.server.smtp_port,
        local_hostname="prove.invalid",
        timeout=TIMEOUT,
        source_address=(source, 0) if source else None,
    )
    client.ehlo()
    return client


def _recipients(settings: Settings, probe: Probe, watch: Callable[[], None]) -> Proof:
    """A known address gets 250, an unknown one 550. Waits while Postfix is still reloading."""
    unknown = f"nobody@{probe.domain}"
    begun = time.monotonic()
    while True:
        try:
            with _smtp(settings) as client:
                client.mail(f"prove@{probe.domain}")
                code, text = client.rcpt(probe.address)
                no_code, no_text = client.rcpt(unknown)
        except (OSError, smtplib.SMTPException) as error:
            code, text, no_code, no_text = 0, str(error).encode(), 0, b""
        if code == 250 and no_code == 550:
            return Proof("recipients", "ok", "a known address got 250, an unknown one 550")
        watch()
        if time.monotonic() - begun > (LOOKUP_PATIENCE if code else PATIENCE):
            break
        time.sleep(0.2)
    if code != 250:
        raise ServerError(f"a known address got {code} {text.decode('ascii', 'replace')[:200]}")
    raise ServerError(f"an unknown address got {no_code} {no_text.decode('ascii', 'replace')[:200]}, not 550")


def _outsider(settings: Settings) -> Proof:
    """A relay attempt by someone who is not in mynetworks is refused."""
    name = "no open relay"
    networks = postconf.value(settings.postfix.config_directory, "mynetworks")
    if not settings.server.address.startswith("127."):
        return Proof(name, "unknown", "not provable from here: Postfix is not asked over loopback")
    inside = is_inside(OUTSIDER, networks)
    if inside is not False:
        return Proof(
            name, "unknown", f"not provable from here: mynetworks ({networks[:80]}) may include {OUTSIDER}"
        )
    try:
        with _smtp(settings, source=OUTSIDER) as client:
            client.mail("stranger@outside.invalid")
            code, text = client.rcpt("anybody@elsewhere.invalid")
    except (OSError, smtplib.SMTPException) as error:
        raise ServerError(f"an outsider could not be tried: {error}") from error
    if code < 400:
        raise ServerError(f"an outsider may relay: RCPT got {code} {text.decode('ascii', 'replace')[:200]}")
    return Proof(name, "ok", f"an outsider's relay attempt got {code}")


def is_inside(address: str, networks: str) -> bool | None:
    """Whether mynetworks includes an address; None where it names files or tables."""
    there = ipaddress.ip_address(address)
    for item in postconf.split_list(networks):
        text = item.replace("[", "").replace("]", "")
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            return None
        if there.version == network.version and there in network:
            return True
    return False


def _login(settings: Settings, service: str, port: int, attempt: Callable[[], None]) -> Proof:
    if not port:
        return Proof(f"{service} login", "unknown", "there is no such listener")
    try:
        attempt()
    except (OSError, smtplib.SMTPException, imaplib.IMAP4.error, poplib.error_proto) as error:
        raise ServerError(f"a login by {service} does not work: {error}") from error
    return Proof(f"{service} login", "ok", "the password is taken")


def _try_imap(settings: Settings, probe: Probe) -> None:
    # No wrong password is tried: Dovecot would slow down every login from this address for a while.
    client = imaplib.IMAP4(settings.server.address, settings.server.imap_port, timeout=TIMEOUT)
    try:
        client.starttls(tls_context())
        client.login(probe.address, probe.password)
    finally:
        client.shutdown()


def _try_pop3(settings: Settings, probe: Probe) -> None:
    client = poplib.POP3(settings.server.address, settings.server.pop3_port, timeout=TIMEOUT)
    try:
        client.stls(tls_context())
        client.user(probe.address)
        client.pass_(probe.password)
    finally:
        client.close()


def _try_submission(settings: Settings, probe: Probe) -> None:
    with _smtp(settings, port=settings.server.submission_port) as client:
        client.starttls(context=tls_context())
        client.ehlo()
        client.login(probe.address, probe.password)
        client.mail(probe.address)
        code, text = client.rcpt("anybody@elsewhere.invalid")
        if code != 250:
            raise ServerError(
                f"a login may not send: RCPT got {code} {text.decode('ascii', 'replace')[:200]}"
            )
        client.rset()
        client.mail(f"somebody-else@{probe.domain}")
        code, _ = client.rcpt("anybody@elsewhere.invalid")
        if code != 553:
            raise ServerError(f"a login may send as someone else: RCPT got {code}, not 553")


class _Watch:
    """The servers' logs from now on, and whether Postfix still lives."""

    def __init__(self, settings: Settings) -> None:
        self._postfix = settings.postfix.config_directory
        self._follower = Follower(log_files(settings.log, settings.postfix))

    def raise_if_dead(self) -> None:
        """Raises ServerError with the first fatal or panic line that is new, or when Postfix is gone."""
        for line in self._follower.lines():
            if _FATAL.search(line):
                raise ServerError(f"a daemon died: {line[-300:]}")
        if control.master_pid(self._postfix) is None:
            # Its last words are often lost: they would go through its own logging daemon.
            raise ServerError(
                "Postfix ended when it read the new configuration",
                hint="is one of its ports taken by another program? ss -ltnp shows",
            )

    def close(self) -> None:
        self._follower.close()

    def proof(self) -> Proof:
        if not self._follower.readable:
            return Proof("log", "unknown", "there is neither a log file nor a journal; name one in log.files")
        self.raise_if_dead()
        return Proof("log", "ok", "no fatal or panic line since")
