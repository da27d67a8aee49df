"""Whether every listener in the settings answers, how quickly, what it offers, and to whom it relays.

All listeners are asked at once, each with its own share of the deadline. Postfix's restrictions are
judged meanwhile; where Postfix lets this machine speak for another address (XCLIENT), an outsider's
attempt to relay is made as well. No message is sent.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from postmaster.health.finding import OK, Context, Finding, Measure, Severity
from postmaster.health.hearing import SHARE, Heard, client_name, hear
from postmaster.health.ranges import at_most
from postmaster.health.talk import (
    CLEAR,
    Listener,
    Talk,
    TlsBroken,
    WrongAnswer,
    any_certificate,
    listeners,
)
from postmaster.health.together import together

if TYPE_CHECKING:
    from postmaster.postfix.relay import Judged

MEANING = "every listener answers, offers TLS, takes no password without it, and relays for nobody"
CODES = {
    "service-down": "a listener cannot be reached, or hangs up without a word",
    "service-silent": "a listener accepts connections and says nothing in time",
    "service-greeting": "a listener says something else than its protocol's words",
    "service-slow": "a listener takes longer than the settings allow",
    "starttls-missing": "a listener does not offer STARTTLS",
    "tls-broken": "a listener offers TLS and does not manage it",
    "sasl-without-tls": "a listener takes logins without TLS",
    "sasl-missing": "a listener for logins offers no mechanism",
    "open-relay": "everybody can send mail anywhere through this server",
    "relay-unknown": "whether everybody can relay cannot be told from the restrictions",
    "networks-wide": "a network as wide as a provider's may relay (mynetworks)",
}
SETTINGS = ("answer_warning", "answer_critical")

Problem = tuple[str, Severity, str, str | None]  # code, severity, words, remedy


def run(context: Context) -> Iterator[Finding]:
    name = client_name(context)
    jobs = [partial(_ask, context, one, name) for one in listeners(context.settings.server)]
    if context.settings.server.smtp_port:
        jobs.append(partial(_relay, context, name))
    for findings in together(jobs, context.ends):
        yield from findings


def _ask(context: Context, listener: Listener, name: str) -> list[Finding]:
    """One listener's findings; the time that it took is in the first of them."""
    heard = hear(context, listener, name)
    problems = [*_offered(listener, heard), *_broken(listener, heard)]
    limits = context.settings.health
    warning, critical = at_most(limits.answer_warning), at_most(limits.answer_critical)
    took = Measure("time", heard.seconds, "s", warning, critical, 0)
    if not problems:
        words = f"answers after {took.value:.3f} s"
        if took.severity:
            remedy = "what holds it up? see the mail log, and the load of the machine"
            problems.append(("service-slow", took.severity, words, remedy))
        else:
            mechanisms = heard.secured.mechanisms if heard.secured else ()
            words += f" and offers {' '.join(mechanisms)}" * listener.takes_logins
            problems.append((OK, Severity.ok, words, None))
    return [
        Finding("services", listener.name, code, severity, f"port {listener.port} {words}", remedy, measures)
        for (code, severity, words, remedy), measures in zip(problems, ((took,), *((),) * 9), strict=False)
    ]


def _broken(listener: Listener, heard: Heard) -> Iterator[Problem]:
    """What cut the conversation off."""
    status = "postfix status" if listener.protocol == "smtp" else "doveadm service status"
    match heard.error:
        case None:
            return
        case TlsBroken() as error:
            yield "tls-broken", Severity.critical, str(error), _tls_remedy(listener)
        case WrongAnswer() as answer:
            remedy = "which program listens there? ss -ltnp; see the mail log"
            yield "service-greeting", Severity.critical, f"says {answer}", remedy
        case TimeoutError() if heard.is_connected:
            why = f"says nothing for {heard.seconds:.1f} s"
            yield "service-silent", Severity.critical, why, f"is it stuck? {status}"
        case error:
            why = f"does not answer: {getattr(error, 'strerror', None) or error}"
            remedy = f"see the mail log; {status}" if heard.is_connected else f"is it running? {status}"
            yield "service-down", Severity.critical, why, remedy


def _offered(listener: Listener, heard: Heard) -> Iterator[Problem]:
    """What is wrong with what is offered without TLS, and with it."""
    if listener.protocol == "lmtp":
        return  # it is for this machine alone
    remedy, plain = _tls_remedy(listener), heard.plain
    if plain is not None and plain.mechanisms:
        severity = Severity.critical if CLEAR.intersection(plain.mechanisms) else Severity.warning
        words = f"takes logins without TLS: {' '.join(plain.mechanisms)}"
        yield "sasl-without-tls", severity, words, remedy
    if plain is not None and not plain.starttls:
        severity = Severity.critical if listener.takes_logins else Severity.warning
        yield "starttls-missing", severity, "does not offer STARTTLS", remedy
    if listener.takes_logins and heard.secured is not None and not heard.secured.mechanisms:
        words = "offers no mechanism: nobody can log in"
        yield "sasl-missing", Severity.critical, words, "does Dovecot run? see the mail log"


def _tls_remedy(listener: Listener) -> str:
    if listener.protocol == "smtp":
        return (
            "postmaster setup diff; see the mail log, postconf smtpd_tls_auth_only smtpd_tls_security_level"
        )
    return "postmaster setup diff; see Dovecot's log, doveconf ssl ssl_cert ssl_key disable_plaintext_auth"


def _relay(context: Context, own_name: str) -> list[Finding]:
    """Whether every smtpd refuses an outsider, and whether one asked as such is refused."""
    from postmaster.postfix import postconf, relay

    settings = context.settings
    directory, server = settings.postfix.config_directory, settings.server
    names = {str(one.port): one.name for one in listeners(server) if one.protocol == "smtp"}
    names |= {name: name for name in ("smtp", "submission", "submissions")} | {"smtps": "submissions"}
    ports = {one.name: one for one in listeners(server) if one.protocol == "smtp"}
    judged = {names.get(one.service.rpartition(":")[2], one.service): one for one in relay.judge(directory)}

    def ask(name: str) -> Finding:
        port = ports.get(name)
        asked = None if port is None else _ask_as_outsider(context, port, own_name)
        return _judged(name, judged[name], asked)

    found = list(together([partial(ask, name) for name in judged], context.ends))
    wide = relay.widest(postconf.value(directory, "mynetworks"))
    if wide is not None:
        words = f"mynetworks has {wide}: all of it may send mail anywhere through this server"
        remedy = "postconf -e 'mynetworks = ' with your own networks only, then postfix reload"
        found.append(Finding("services", "mynetworks", "networks-wide", Severity.warning, words, remedy))
    return found


def _judged(name: str, judged: Judged, asked: tuple[bool, str] | None) -> Finding:
    """What the restrictions and the answer to an outsider say together; one that is open is open."""
    from postmaster.postfix.relay import Verdict

    subject, remedy = f"{name} relay", "postmaster setup diff; postconf smtpd_relay_restrictions mynetworks"
    if asked is not None and asked[0]:
        words = f"an outsider's RCPT TO elsewhere got {asked[1]}"
        return Finding("services", subject, "open-relay", Severity.critical, words, remedy)
    if judged.verdict is Verdict.open:
        words = f"anybody may relay: {judged.why}"
        return Finding("services", subject, "open-relay", Severity.critical, words, remedy)
    if asked is not None:
        words = f"an outsider's RCPT TO elsewhere got {asked[1]}"
        return Finding("services", subject, OK, Severity.ok, words)
    if judged.verdict is Verdict.closed:
        return Finding("services", subject, OK, Severity.ok, f"no outsider may relay: {judged.why}")
    words = f"whether an outsider may relay cannot be told: {judged.why}"
    remedy = "let it be asked: postconf -e 'smtpd_authorized_xclient_hosts = 127.0.0.1', then postfix reload"
    return Finding("services", subject, "relay-unknown", Severity.unknown, words, remedy)


def _ask_as_outsider(context: Context, listener: Listener, name: str) -> tuple[bool, str] | None:
    """(whether it may relay, the reply) of an outsider, None where nobody can be asked or tells clearly.

    Only a refusal for reasons of policy (RFC 3463: X.7.Y) is one to relay; another may have its reason in
    the address that is tried.
    """
    from postmaster.postfix.relay import OUTSIDER, RECIPIENT, SENDER

    if not any(word.startswith("XCLIENT ") for word in hear(context, listener, name).can):
        return None
    ends = time.monotonic() + context.left(SHARE)
    try:
        with Talk(context.settings.server.address, listener, ends) as talk:
            talk.start(any_certificate(), name)
            if talk.command(f"XCLIENT NAME=[UNAVAILABLE] ADDR={OUTSIDER}")[0] != 220:
                talk.quit()
                return None
            talk.hello()
            talk.command(f"MAIL FROM:<{SENDER}>")
            code, text = talk.command(f"RCPT TO:<{RECIPIENT}>")
            talk.quit()
    except (OSError, TlsBroken, WrongAnswer):
        return None  # what is wrong with the listener is said elsewhere
    if code < 300:
        return True, text
    return (False, text) if ".7." in text[:12] else None
