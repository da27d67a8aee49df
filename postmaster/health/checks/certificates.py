"""The certificate that is served on each port, and the files that it comes from.

Each listener is asked by STARTTLS or TLS, as a client would that wants the server's name. What is served
is compared with the servers' files: where they differ, somebody renewed it and forgot the reload.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from postmaster.errors import PostmasterError
from postmaster.health import certificate as certificates
from postmaster.health.certificate import Pair
from postmaster.health.finding import FAILED, OK, Context, Finding, Severity
from postmaster.health.hearing import Heard, client_name, hear, wanted_names
from postmaster.health.talk import Listener, TlsBroken, WrongAnswer, listeners
from postmaster.health.together import together

if TYPE_CHECKING:
    from cryptography import x509

MEANING = "the certificate that each port serves: names, chain, days left, strength, and its file"
CODES = {
    **certificates.CODES,
    "certificate-unseen": "no certificate can be seen at a listener",
    "certificate-not-reloaded": "a server serves another certificate than its file has",
    "certificate-key-mismatch": "the key in the file is another certificate's",
    "certificate-file": "the file with the certificate or its key cannot be read, or has none",
    "ca-file-unreadable": "the file of trusted authorities cannot be read",
}
SETTINGS = ("certificate_warning", "certificate_critical", "certificate_names", "ca_file")
_KINDS = ("", "ec", "d")  # of keys that smtpd has one certificate each for


def run(context: Context) -> Iterator[Finding]:
    limits = context.settings.health
    wanted = wanted_names(context)
    why = certificates.trouble(limits.ca_file)
    if why is not None:
        remedy = "name a file of certificates in PEM form in health.ca_file"
        yield Finding("certificates", "authorities", "ca-file-unreadable", Severity.unknown, why, remedy)
    files: dict[str, list[Pair]] = {}
    for server, read in (("Postfix", _postfix_files), ("Dovecot", _dovecot_files)):
        try:
            paths = read(context)
        except PostmasterError as error:
            yield Finding("certificates", server, FAILED, Severity.unknown, error.message, error.hint)
            continue
        files[server] = yield from _files(server, paths)
    asked = [one for one in listeners(context.settings.server) if one.name != "lmtp"]
    jobs = [partial(_ask, context, one, wanted, files) for one in asked]
    for findings in together(jobs, context.ends):
        yield from findings


def _ask(
    context: Context, listener: Listener, wanted: Sequence[str], files: dict[str, list[Pair]]
) -> list[Finding]:
    """What there is to say of one listener's certificate."""
    name, server = listener.name, "Postfix" if listener.protocol == "smtp" else "Dovecot"
    limits, pairs = context.settings.health, files.get(server, [])
    heard = hear(context, listener, client_name(context))
    try:
        served = _served(heard)
        is_other = _is_other(served, pairs) and _is_other(_served(hear(context, listener, "")), pairs)
    except (OSError, TlsBroken, WrongAnswer, ValueError) as error:
        message = f"no certificate can be seen at port {listener.port}: {error}"
        where = f"{context.settings.server.address}:{listener.port}"
        remedy = f"postmaster health check services; openssl s_client -connect {where}"
        return [Finding("certificates", name, "certificate-unseen", Severity.unknown, message, remedy)]
    reload = "postfix reload" if server == "Postfix" else "doveadm reload"
    problems = list(certificates.judge(served, wanted, heard.distrust, limits, f"renew it, then {reload}"))
    measures = (certificates.days_measure(served, limits),)
    found = [
        Finding("certificates", name, one.code, one.severity, _words(listener, one.words), one.remedy)
        for one in problems
    ]
    if is_other:
        until = pairs[0].certificate.not_valid_after_utc.strftime("%Y-%m-%d")
        which = "the one" if len(pairs) == 1 else f"one of {server}'s, such as that"
        words = _words(listener, f"is not {which} in {pairs[0].path}, which is good until {until}")
        found.append(
            Finding("certificates", name, "certificate-not-reloaded", Severity.warning, words, reload)
        )
    if not found:
        shown = ", ".join(certificates.names(served)[: certificates.SHOWN])
        words = _words(listener, f"is for {shown} and good for {measures[0].value:.0f} days")
        found.append(Finding("certificates", name, OK, Severity.ok, words))
    found[0] = replace(found[0], measures=measures)
    return found


def _words(listener: Listener, words: str) -> str:
    return f"the certificate at port {listener.port} {words}"


def _served(heard: Heard) -> x509.Certificate:
    """The certificate that was seen. Raises what kept it from being seen, and ValueError."""
    from cryptography import x509

    if heard.certificate is not None:
        return x509.load_der_x509_certificate(heard.certificate)
    raise heard.error or TlsBroken("it does not offer STARTTLS")


def _is_other(served: x509.Certificate, pairs: list[Pair]) -> bool:
    return bool(pairs) and all(served != pair.certificate for pair in pairs)


def _files(server: str, groups: Sequence[Sequence[Path]]) -> Generator[Finding, None, list[Pair]]:
    """What is wrong with a server's files; gives the certificates in them.

    Raises nothing: what cannot be read is a finding.
    """
    found: list[Pair] = []
    for group in groups:
        subject = f"{server} {group[-1]}"
        try:
            pairs = certificates.read_pairs(group)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no certificate in PEM form"
            path = getattr(error, "filename", None) or group[-1]
            message, remedy = f"{path} cannot be used: {why}", f"put it right before {server} is restarted"
            severity = Severity.unknown if isinstance(error, PermissionError) else Severity.critical
            yield Finding("certificates", subject, "certificate-file", severity, message, remedy)
            continue
        if not pairs:
            message = f"there is no certificate in {group[-1]}"
            remedy = f"put one there before {server} is restarted"
            yield Finding("certificates", subject, "certificate-file", Severity.critical, message, remedy)
        for pair in pairs:
            if pair.key_fits is False:
                message = f"the key of {pair.path} in {group[0]} is another certificate's, or missing"
                remedy = f"put the certificate's own key there: at the next start {server} has no TLS"
                yield Finding(
                    *("certificates", subject, "certificate-key-mismatch", Severity.critical), message, remedy
                )
        found += pairs
    return found


def _postfix_files(context: Context) -> list[tuple[Path, ...]]:
    """(key, certificate) files of all smtpd services, main.cf's first."""
    from postmaster.postfix import postconf

    names = [f"smtpd_tls_{kind}{what}_file" for kind in _KINDS for what in ("cert", "key")]
    directory = context.settings.postfix.config_directory
    main = postconf.expanded(directory, [*names, "smtpd_tls_chain_files"])
    given = (main, *({**main, **own} for own in postconf.overrides(directory).values()))
    return list(dict.fromkeys(group for values in given for group in _smtpd_files(values)))


def _smtpd_files(values: Mapping[str, str]) -> list[tuple[Path, ...]]:
    """Those of one service; `smtpd_tls_chain_files` wins over all others."""
    from postmaster.postfix import postconf

    chain = postconf.split_list(values["smtpd_tls_chain_files"])
    if chain:
        return [tuple(map(Path, chain))]
    found = []
    for kind in _KINDS:
        certificate = values[f"smtpd_tls_{kind}cert_file"]
        if certificate and certificate != "none":
            found.append(_group(Path(certificate), Path(values[f"smtpd_tls_{kind}key_file"] or certificate)))
    return found


def _dovecot_files(context: Context) -> list[tuple[Path, ...]]:
    """The same of Dovecot."""
    from postmaster.dovecot import doveadm

    return [_group(*pair) for pair in doveadm.certificate_files(context.settings.dovecot.config)]


def _group(certificate: Path, key: Path) -> tuple[Path, ...]:
    return (certificate,) if key == certificate else (key, certificate)
