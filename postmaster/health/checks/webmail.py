"""The webmail, as a browser without scripts meets it: it answers, its certificate, its login page, a login.

Nothing is done where the settings name no address. The login is made with the lasting account of the
round trip (`health.probe_address`) alone: a webmail keeps a record of each account that ever logged in,
so one that exists for a moment would leave one behind in each run. A password goes over TLS, or to this
very machine.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator
from functools import partial
from typing import IO, TYPE_CHECKING
from urllib.parse import urlencode, urljoin, urlsplit

from postmaster.errors import PostmasterError
from postmaster.health import certificate as certificates
from postmaster.health.finding import OK, Context, Finding, Measure, Severity, bad
from postmaster.health.ranges import at_most
from postmaster.health.talk import any_certificate

if TYPE_CHECKING:
    import ssl
    from urllib.request import OpenerDirector

    from cryptography import x509

    from postmaster.health.forms import Form

MEANING = "the webmail answers, shows its login page, and lets the probe in"
CODES = {
    **certificates.CODES,
    "webmail-down": "the webmail cannot be reached, or answers with an error",
    "webmail-slow": "the webmail takes longer than the settings allow",
    "webmail-tls": "the webmail's TLS does not work",
    "webmail-no-login": "there is no login page: no form that asks for a password",
    "webmail-login-refused": "the webmail does not let the probe in",
    "webmail-insecure": "the webmail would take passwords without TLS",
    "webmail-not-tried": "the login cannot be tried",
}
SETTINGS = (
    *("webmail_url", "answer_warning", "answer_critical", "certificate_warning", "certificate_critical"),
    *("ca_file", "probe_address", "probe_password_file"),
)
PAGE_LIMIT = 2 << 20  # bytes
SHARE = 0.8  # of the deadline

_bad = partial(bad, "webmail")


def run(context: Context) -> Iterator[Finding]:
    url = context.settings.health.webmail_url
    if not url:
        return
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if parts.scheme not in ("http", "https") or not host:
        message, remedy = f"{url!r} is no address of a web page", 'set health.webmail_url = "https://…"'
        yield _bad("webmail", "webmail-down", message, remedy, Severity.unknown)
        return
    ends = time.monotonic() + context.left(SHARE)
    if parts.scheme == "https":
        yield from _certificate(context, host, port or 443, ends)
    yield from _pages(context, url, ends)


def _certificate(context: Context, host: str, port: int, ends: float) -> Iterator[Finding]:
    """The certificate of its web server. What cannot be reached is said with the page."""
    import ssl

    limits = context.settings.health
    try:
        served, chain = certificates.looked_at(partial(_served, host, port, ends), limits.ca_file)
    except ssl.SSLError as error:
        message = f"TLS with {host}:{port} fails: {error.reason or error}"
        yield _bad("certificate", "webmail-tls", message, "see the web server's log")
        return
    except (OSError, ValueError):
        return
    days = certificates.days_measure(served, limits)
    wanted = certificates.host_names([host])
    problems = list(certificates.judge(served, wanted, chain, limits, "renew it and reload the web server"))
    for number, one in enumerate(problems):
        words, measures = f"the certificate of {host} {one.words}", () if number else (days,)
        yield Finding("webmail", "certificate", one.code, one.severity, words, one.remedy, measures)
    if not problems:
        words = f"the certificate of {host} is good for {days.value:.0f} days"
        yield Finding("webmail", "certificate", OK, Severity.ok, words, measures=(days,))


def _served(host: str, port: int, ends: float, tls: ssl.SSLContext) -> x509.Certificate:
    import socket

    from cryptography import x509

    with socket.create_connection((host, port), timeout=max(0.01, ends - time.monotonic())) as plain:
        plain.settimeout(max(0.01, ends - time.monotonic()))
        name = host if certificates.host_names([host]) else None
        with tls.wrap_socket(plain, server_hostname=name) as wrapped:
            data = wrapped.getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(data or b"")


def _pages(context: Context, url: str, ends: float) -> Iterator[Finding]:
    """The login page, and what comes after a login."""
    from urllib.error import URLError

    limits, browser, begun = context.settings.health, _browser(), time.monotonic()
    try:
        where, text = _open(browser, url, None, ends)
    except (OSError, ValueError, _Error) as error:
        reason = error.reason if isinstance(error, URLError) else error
        message = f"{url} does not answer: {reason}"
        yield _bad("page", "webmail-down", message, "see the web server's log; does PHP run?")
        return
    warning, critical = at_most(limits.answer_warning), at_most(limits.answer_critical)
    took = Measure("time", time.monotonic() - begun, "s", warning, critical, 0)
    from postmaster.health.forms import login_form

    form = login_form(text)
    if form is None:
        message = f"{where} has no form that asks for a password"
        remedy = "is it the address of the login page? see the webmail's own log"
        yield _bad("page", "webmail-no-login", message, remedy, Severity.critical, (took,))
        return
    if took.severity:
        message = f"{where} answers after {took.value:.2f} s"
        yield _bad("page", "webmail-slow", message, "see the web server's log", took.severity, (took,))
    else:
        message = f"{where} shows its login page after {took.value:.2f} s"
        yield Finding("webmail", "page", OK, Severity.ok, message, measures=(took,))
    target = urljoin(where, form.action)
    if not _is_safe(target):
        message = f"{target} takes passwords without TLS"
        yield _bad(
            "login", "webmail-insecure", message, "let the web server redirect to https", Severity.warning
        )
        return
    if limits.probe_address:
        yield from _log_in(context, browser, target, form, ends)


def _log_in(
    context: Context, browser: OpenerDirector, target: str, form: Form, ends: float
) -> Iterator[Finding]:
    from postmaster.health.probe import lasting_account

    try:
        account = lasting_account(context.settings)
    except PostmasterError as error:
        remedy = error.hint or "run it as root"
        yield _bad("login", "webmail-not-tried", error.message, remedy, Severity.unknown)
        return
    assert account is not None
    user, password = form.user_field(), form.password_field()
    if user is None or form.method != "post":
        message = "the login page has no field for a login that this check knows"
        yield _bad("login", "webmail-not-tried", message, "log in by hand", Severity.unknown)
        return
    begun = time.monotonic()
    fields = {**form.hidden(), user: account.address, password: account.password}
    remedy = "does Dovecot let it in? postmaster health check round-trip; see the webmail's own log"
    try:
        _, text = _open(browser, target, urlencode(fields).encode(), ends)
    except (OSError, ValueError, _Error) as error:
        yield _bad(
            "login", "webmail-login-refused", f"the login got {_plain(error, account.password)}", remedy
        )
        return
    from postmaster.health.forms import login_form

    if login_form(text) is not None:
        message = f"{account.address} is not let in: the login page comes again"
        yield _bad("login", "webmail-login-refused", message, remedy)
        return
    took = Measure("time", time.monotonic() - begun, "s", minimum=0)
    message = f"{account.address} is let in after {took.value:.2f} s"
    yield Finding("webmail", "login", OK, Severity.ok, message, measures=(took,))


class _Error(Exception):
    """An answer that is none."""


def _browser() -> OpenerDirector:
    """Keeps cookies, follows redirects, asks no proxy; names are looked at with the certificate."""
    from http.cookiejar import CookieJar
    from urllib.request import HTTPCookieProcessor, HTTPSHandler, ProxyHandler, build_opener

    return build_opener(
        ProxyHandler({}), HTTPCookieProcessor(CookieJar()), HTTPSHandler(context=any_certificate())
    )


def _open(browser: OpenerDirector, url: str, data: bytes | None, ends: float) -> tuple[str, str]:
    """(where it came from at last, the page). Raises OSError, ValueError, _Error."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request

    request = Request(url, data, {"User-Agent": "postmaster-health"})
    try:
        with browser.open(request, timeout=max(0.01, ends - time.monotonic())) as answer:
            return answer.geturl(), _read(answer, ends)
    except HTTPError as error:
        with error:
            # Roundcube answers a wrong password with 401 and its login page.
            if error.code == 401 and (page := _read(error, ends)):
                return error.geturl(), page
            raise _Error(f"status {error.code}") from None
    except HTTPException as error:
        raise _Error(f"no HTTP: {type(error).__name__}") from None


def _read(answer: IO[bytes], ends: float) -> str:
    """A page, as far as it comes in time."""
    parts: list[bytes] = []
    size = 0
    while size < PAGE_LIMIT and time.monotonic() < ends and (part := answer.read(64 << 10)):
        parts.append(part)
        size += len(part)
    return b"".join(parts).decode("utf-8", "replace")


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme == "https":
        return True
    try:
        return parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def _plain(error: Exception, secret: str) -> str:
    return str(getattr(error, "reason", None) or error).replace(secret, "********")
