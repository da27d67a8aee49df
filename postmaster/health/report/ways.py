"""The ways by which a message leaves: the local sendmail, SMTP to another host, a webhook.

A way is one text in the settings: `sendmail`, `smtp://[user@]host[:port]`, `smtps://…` or `https://…`.
Each has a time-out for everything together, a host that answers a byte a minute included, and raises
ServerError with one line in which no secret stands.

TLS: a certificate is always checked with `smtps`, with `https`, and wherever a password goes out, against the
system's authorities and `health.ca_file`; `smtp` without a user takes TLS where it is offered, unchecked, as
mail servers do among themselves.
"""

from __future__ import annotations

import json
import os
import re
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from pathlib import Path
from typing import TYPE_CHECKING

from postmaster import __version__
from postmaster.address import parse_address
from postmaster.errors import AddressError, PostmasterError, RightsError, ServerError, SettingsError
from postmaster.health.certificate import trusting
from postmaster.process import run
from postmaster.render.escape import printable
from postmaster.settings import Settings
from postmaster.shell import word

if TYPE_CHECKING:
    import smtplib
    import ssl

LOCAL = "sendmail"
SECRET_LIMIT = 4096  # octets of the file with a password
SECRET_MARK = "{secret}"  # where in a webhook's address the secret goes
SAID_LIMIT = 200  # characters of an answer that an error repeats

_PORTS = {"smtp": 25, "smtps": 465}
_SMTP = re.compile(
    r"(smtps?)://(?:([!-.0-~]{1,128})@)?([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(\d{1,5}))?/?"
)
_HTTPS = re.compile(
    r"https://([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(\d{1,5}))?(?:/[!-~]{0,2000})?"
)
_EXAMPLES = "for example sendmail, smtp://relay@mail.example.net:587 or https://hooks.example.net/{secret}"


@dataclass(frozen=True, slots=True)
class Way:
    """`kind`: sendmail, smtp, smtps or https. `address` is the webhook's, its secret not yet in it."""

    kind: str
    host: str = ""
    port: int = 0
    user: str = ""
    address: str = ""

    def __str__(self) -> str:
        """For people; a webhook's path is left out, as it may be a secret."""
        if self.kind == LOCAL:
            return "the local sendmail"
        if self.kind == "https":
            return f"the webhook at {self.host}"
        return f"{self.kind.upper()} to {self.host} port {self.port}"


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who is named to the server as sender and recipients, in the form that servers look up.

    `host`: how this host calls itself; where that is no whole name, its address is said instead.
    """

    sender: str
    recipients: tuple[str, ...]
    host: str = ""


def parse_way(text: str, name: str) -> Way:
    """A way from the setting `name`. Raises SettingsError, which never repeats a webhook's address."""
    if text == LOCAL:
        return Way(LOCAL)
    if found := _SMTP.fullmatch(text):
        kind, user, host, port = found.groups()
        if user and ":" in user:
            raise SettingsError(f"{name} has a password in it", hint="put it in a file of its own")
        return Way(kind, host.strip("[]"), _port(port, _PORTS[kind], name), user or "")
    if found := _HTTPS.fullmatch(text):
        return Way("https", found[1].strip("[]"), _port(found[2], 443, name), "", text)
    raise SettingsError(f"{name} is no way to send a report", hint=_EXAMPLES)


def _port(text: str | None, usual: int, name: str) -> int:
    port = int(text or usual)
    if not 0 < port < 65536:
        raise SettingsError(f"{name} has no port with the number {port}", hint=_EXAMPLES)
    return port


def read_secret(file: str, name: str) -> str:
    """A password from a file that its owner alone may read; empty without one.

    Raises RightsError for one that others may read, SettingsError for one that cannot be used.
    """
    if not file:
        return ""
    path = Path(file)
    try:
        # Without blocking: a named pipe in its place must not hold the report up.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            status = os.fstat(opened.fileno())
            data = opened.read(SECRET_LIMIT + 1) if stat.S_ISREG(status.st_mode) else None
    except OSError as error:
        raise SettingsError(f"{name}: {path} cannot be read: {error.strerror}") from None
    if data is None:
        raise SettingsError(f"{name}: {path} is no file")
    if status.st_mode & 0o077 or status.st_uid not in (0, os.geteuid()):
        raise RightsError(
            f"{name}: others may read {path}", hint=f"chown root {word(path)} && chmod 600 {word(path)}"
        )
    secret = data.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
    if not secret or len(data) > SECRET_LIMIT or not secret.isprintable():
        raise SettingsError(f"{name}: {path} does not hold one line with a secret")
    return secret


def deliver(
    way: Way,
    message: EmailMessage,
    envelope: Envelope,
    *,
    settings: Settings,
    secret: str = "",
    timeout: float = 20.0,
) -> None:
    """Give the message to a way. Returns when it was taken; raises ServerError when it was not."""
    if way.kind == LOCAL:
        _by_sendmail(message, envelope, settings.postfix.config_directory, timeout)
        return

    def work() -> None:
        # What is wrong with health.ca_file the check of certificates says; who is not trusted is refused.
        checked = trusting(settings.health.ca_file)
        checked.check_hostname = True
        if way.kind == "https":
            _by_webhook(way, message, secret, timeout, checked)
        else:
            _by_smtp(way, message, envelope, secret, timeout, checked)

    _within(timeout, way, work, secret)


def _by_sendmail(message: EmailMessage, envelope: Envelope, config_directory: Path, timeout: float) -> None:
    try:
        run(
            [
                "sendmail",
                "-C",
                str(config_directory),
                "-i",
                "-f",
                envelope.sender,
                "--",
                *envelope.recipients,
            ],
            stdin=message.as_bytes(policy=SMTP_POLICY.clone(linesep="\n")),
            timeout=timeout,
            whole=True,  # half a report would be sent as a whole one
        )
    except PostmasterError as error:
        raise ServerError(f"the local sendmail did not take it: {_said(error.message, '')}") from None


def _by_smtp(
    way: Way,
    message: EmailMessage,
    envelope: Envelope,
    secret: str,
    timeout: float,
    checked: ssl.SSLContext,
) -> None:
    import smtplib
    import socket

    from postmaster.setup.prove import tls_context

    name = envelope.host or socket.gethostname()  # not getfqdn: it asks a name server, which may not answer
    client: smtplib.SMTP
    if way.kind == "smtps":
        client = smtplib.SMTP_SSL(way.host, way.port, name, timeout=timeout, context=checked)
    else:
        client = smtplib.SMTP(way.host, way.port, name, timeout=timeout)
    with client:
        if "." not in name and client.sock is not None:  # RFC 5321 section 4.1.3; many servers want no less
            address = client.sock.getsockname()[0]
            client.local_hostname = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
        client.ehlo()
        if way.kind == "smtp" and (way.user or client.has_extn("starttls")):
            # A server without it refuses: a password never goes out in the clear.
            client.starttls(context=checked if way.user else tls_context())
            client.ehlo()
        if way.user:
            _log_in(client, way.user, secret)
        refused = client.sendmail(
            envelope.sender, list(envelope.recipients), message.as_bytes(policy=SMTP_POLICY)
        )
    if refused:
        recipient, (code, said) = next(iter(refused.items()))
        raise ServerError(f"{way} refused {recipient}: {code} {_said(said, secret)}")


def _log_in(client: smtplib.SMTP, user: str, secret: str) -> None:
    """Once: the library's own would try each mechanism in turn, and servers count wrong passwords."""
    import smtplib

    client.user, client.password = user, secret
    offered = client.esmtp_features.get("auth", "").upper().split()
    if "PLAIN" in offered:
        client.auth("PLAIN", client.auth_plain)
    elif "LOGIN" in offered:
        client.auth("LOGIN", client.auth_login)
    else:
        raise smtplib.SMTPNotSupportedError("it offers neither PLAIN nor LOGIN")


def _by_webhook(
    way: Way, message: EmailMessage, secret: str, timeout: float, checked: ssl.SSLContext
) -> None:
    """POST the message as JSON (RFC 8259). `text` is what chat services show."""
    import urllib.request

    address, headers = (
        way.address,
        {"Content-Type": "application/json", "User-Agent": f"postmaster/{__version__}"},
    )
    if SECRET_MARK in address:
        address = address.replace(SECRET_MARK, secret)
    elif secret:
        headers["Authorization"] = f"Bearer {secret}"
    request = urllib.request.Request(
        address, json.dumps(as_object(message)).encode(), headers=headers, method="POST"
    )
    # Put together by hand: no other scheme is known to it, and it follows nothing.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(context=checked),
    ):
        opener.add_handler(handler)
    with opener.open(request, timeout=timeout) as answer:
        status, said = answer.status, answer.read(SAID_LIMIT)
    if 300 <= status < 400:
        raise ServerError(
            f"{way} answers with a redirection, which is not followed", hint="name its new address"
        )
    if not 200 <= status < 300:
        raise ServerError(f"{way} answers {status}: {_said(said, secret)}")


def as_object(message: EmailMessage) -> dict[str, object]:
    """The message as a webhook gets it: what it says of itself, and its text."""
    body = message.get_body(("plain",))
    text = "" if body is None else body.get_content()
    subject = str(message["Subject"] or "")
    return {
        "text": f"{subject}\n\n{text}".strip(),
        "subject": subject,
        "status": str(message["X-Postmaster-Status"] or "unknown"),
        "mail_flows": message["X-Postmaster-Mail"] != "broken",
        "message_id": str(message["Message-ID"] or ""),
    }


def _within(timeout: float, way: Way, work: Callable[[], None], secret: str) -> None:
    """Do it in a thread that nobody waits for longer than so many seconds, and put failures into a line."""
    failures: list[BaseException] = []

    def attempt() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    # The libraries' own time-outs are for each answer: one byte at a time, a host could hold us for ever.
    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        raise ServerError(f"{way} did not take it within {timeout:g} s")
    if failures:
        failure = failures[0]
        if isinstance(failure, PostmasterError):
            raise failure
        if not isinstance(failure, Exception):
            raise ServerError(f"{way} did not take it")
        raise ServerError(f"{way} did not take it: {_reason(failure, secret)}") from None


def _reason(error: Exception, secret: str) -> str:
    """What a library's error says, with nothing in it that we gave it."""
    import smtplib
    import ssl
    import urllib.error

    if isinstance(error, smtplib.SMTPRecipientsRefused):
        recipient, (code, said) = next(iter(error.recipients.items()))
        return f"{recipient}: {code} {_said(said, secret)}"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"{error.smtp_code}: the user or the password is wrong"  # its words may repeat them
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_said(error.smtp_error, secret)}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError | smtplib.SMTPException):
        return _said(getattr(error, "strerror", None) or str(error), secret)
    return type(error).__name__  # its words may repeat an address


def _said(said: bytes | str, secret: str) -> str:
    """An answer from outside, on one line, bounded, safe to show, without the secret."""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    if secret:
        text = text.replace(secret, "********")
    text = " ".join(text.split())
    return printable(text[:SAID_LIMIT]) + ("…" if len(text) > SAID_LIMIT else "")


def addresses(text: str, name: str) -> tuple[str, ...]:
    """Addresses with commas between them, in the form that servers look up. Raises SettingsError."""
    try:
        return tuple(parse_address(one.strip()).ascii for one in text.split(",") if one.strip())
    except AddressError as error:
        raise SettingsError(printable(f"{name}: {error.message}"), hint=error.hint) from None
