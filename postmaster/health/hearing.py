"""What a listener says to a client, heard once for all checks of a run: its offers, and its certificate.

A conversation as far as what is offered with TLS, in which the certificate is seen on the way. Whoever asks
for the same listener and name while one run lasts gets the same answer: each connection has the servers
start a process. Nothing is judged here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from postmaster.errors import PostmasterError
from postmaster.health import certificate as certificates
from postmaster.health.finding import Context
from postmaster.health.talk import Listener, Offers, Talk, TlsBroken, WrongAnswer
from postmaster.process import shared

if TYPE_CHECKING:
    import ssl

SHARE = 0.8  # of the deadline, for one listener


@dataclass(slots=True)
class Heard:
    """What was heard until the end, or until `error`: OSError, TlsBroken or WrongAnswer.

    `plain` and `secured` are what is offered without TLS and with it, `can` an SMTP server's words to the
    last EHLO. `certificate` is in DER; `distrust` is why a client of this machine would not trust its chain.
    """

    seconds: float = 0.0
    is_connected: bool = False
    plain: Offers | None = None
    secured: Offers | None = None
    can: tuple[str, ...] = ()
    certificate: bytes | None = None
    distrust: ssl.SSLCertVerificationError | None = None
    error: Exception | None = None


def hear(context: Context, listener: Listener, name: str) -> Heard:
    """Talk to a listener as a client that wants the server of this name; empty: of none."""
    settings = context.settings
    return _hear(settings.server.address, listener, name, settings.health.ca_file, context.ends)


def wanted_names(context: Context) -> list[str]:
    """The names that the certificates must have. Raises ProcessError where Postfix is to tell."""
    from postmaster.postfix import postconf

    settings = context.settings
    given = settings.health.certificate_names or (settings.server.hostname,)
    if not any(given):
        given = (postconf.value(settings.postfix.config_directory, "myhostname"),)
    return certificates.host_names(given)


def client_name(context: Context) -> str:
    """Whose certificate clients ask for in the handshake; empty where that is not known."""
    try:
        return next(iter(wanted_names(context)), "")
    except PostmasterError:
        return ""


@shared
def _hear(address: str, listener: Listener, name: str, ca_file: str, ends: float) -> Heard:
    ends = time.monotonic() + max(0.01, (ends - time.monotonic()) * SHARE)
    ask = partial(_talk, address, listener, name, ends)
    heard, distrust = certificates.looked_at(ask, ca_file)
    heard.distrust = distrust
    return heard


def _talk(address: str, listener: Listener, name: str, ends: float, tls: ssl.SSLContext) -> Heard:
    """Raises SSLCertVerificationError."""
    import ssl

    heard, begun = Heard(), time.monotonic()
    try:
        with Talk(address, listener, ends) as talk:
            heard.is_connected = True
            try:
                _listen(talk, listener, name, tls, heard)
            finally:
                heard.can = tuple(talk.can)
                heard.certificate = talk.tls.getpeercert(binary_form=True) if talk.tls else None
            talk.quit()
    except ssl.SSLCertVerificationError:
        raise
    except (OSError, TlsBroken, WrongAnswer) as error:
        heard.error = error.with_traceback(None)  # which would keep all that it went through
    heard.seconds = time.monotonic() - begun
    return heard


def _listen(talk: Talk, listener: Listener, name: str, tls: ssl.SSLContext, heard: Heard) -> None:
    if listener.tls:
        talk.secure(tls, name)
    talk.greeting()
    if not listener.tls:
        heard.plain = talk.offers()
        if listener.protocol == "lmtp" or not heard.plain.starttls:
            return  # LMTP is for this machine alone
        talk.starttls(tls, name)
    heard.secured = talk.offers()
