"""What others need to send to a domain: MX, MTA-STS, TLS-RPT, DANE, and the certificate that they demand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from postmaster.health.finding import Finding, Severity
from postmaster.health.names.world import World, fine, problem

if TYPE_CHECKING:
    from postmaster.health.hearing import Heard
    from postmaster.health.names.asking import Answer
    from postmaster.health.names.records import Malformed, Policy


def _mx_hosts(world: World, domain: str) -> list[str]:
    """The names in MX, best first; empty without any. Raises Unanswered."""
    records = sorted(world.asker.know(domain, "MX").records, key=lambda one: int(one.preference))
    return [str(one.exchange).lower().rstrip(".") for one in records]


def mx(world: World, domain: str) -> Iterator[Finding]:
    from postmaster.health.names.asking import Outcome

    answer = world.asker.know(domain, "MX")
    if answer.outcome is Outcome.absent:
        remedy = "is it registered, and spelt right? else: postmaster domain remove"
        yield problem(domain, "domain-missing", Severity.critical, "there is no such domain", remedy)
        return
    hosts = _mx_hosts(world, domain)
    if not hosts:
        found = world.asker.addresses(domain)
        severity = Severity.warning if set(found) & set(world.addresses) else Severity.critical
        message = "it has no MX" + (f"; mail goes to its address {found[0]}" if found else ", and no address")
        remedy = f"make a record: {domain}. MX 10 {world.helo}."
        yield problem(domain, "mx-missing", severity, message, remedy)
        return
    if "" in hosts:
        remedy = f"make a record: {domain}. MX 10 {world.helo}."
        yield problem(domain, "mx-null", Severity.critical, "its MX says that it takes no mail", remedy)
        return
    here, dead, alias = [], [], []
    for host in hosts:
        found = world.asker.addresses(host)
        if not found:
            dead.append(host)
        elif set(found) & set(world.addresses):
            here.append(host)
        if world.asker.know(host, "A").alias is not None:
            alias.append(host)
    if dead:
        severity = Severity.critical if len(dead) == len(hosts) else Severity.warning
        message = f"{' and '.join(dead[:3])} in MX has no address"
        yield problem(domain, "mx-unresolved", severity, message, f"make address records for {dead[0]}")
    if alias:
        message = f"{' and '.join(alias[:3])} in MX is an alias"
        yield problem(
            domain, "mx-alias", Severity.warning, message, "name the host itself in MX, not its CNAME"
        )
    if world.addresses and not here and len(dead) < len(hosts):
        message = f"MX leads to {', '.join(hosts[:3])}, and none of them is this server"
        remedy = f"make a record: {domain}. MX 10 {world.helo}. (or set health.addresses)"
        yield problem(domain, "mx-elsewhere", Severity.warning, message, remedy)
    yield fine(domain, f"MX {', '.join(hosts[:3])}")


def mta_sts(world: World, domain: str) -> Iterator[Finding]:
    from postmaster.health.names import records

    try:
        if not _announces_mta_sts(world, domain):
            return
    except records.Malformed as error:
        remedy = f"mend the TXT record of _mta-sts.{domain}"
        yield problem(
            domain, "mta-sts-syntax", Severity.warning, f"MTA-STS counts for nothing: {error}", remedy
        )
        return
    page = f"https://mta-sts.{domain}/.well-known/mta-sts.txt"
    policy = _mta_sts_policy(world, domain)
    if isinstance(policy, records.Malformed):
        yield problem(domain, "mta-sts-policy", Severity.warning, f"MTA-STS: {policy}", f"curl -v {page}")
        return
    if isinstance(policy, OSError):
        message = f"{page} cannot be reached from here: {policy.strerror or policy}"
        yield problem(domain, "mta-sts-unknown", Severity.unknown, message, f"curl -v {page}")
        return
    missing = [host for host in _mx_hosts(world, domain) if host and not policy.covers(host)]
    if missing and policy.mode != "none":
        severity = Severity.critical if policy.mode == "enforce" else Severity.warning
        message = f"{missing[0]} is in MX and not in the MTA-STS policy (mode {policy.mode})"
        remedy = f"add the line mx: {missing[0]} to {page}, and change the id of _mta-sts.{domain}"
        yield problem(domain, "mta-sts-mx", severity, message, remedy)
    yield fine(domain, f"MTA-STS {policy.mode}")


def _announces_mta_sts(world: World, domain: str) -> bool:
    """Whether there is a record. Raises Malformed, Unanswered."""
    from postmaster.health.names import records

    found = records.of_kind(world.asker.know(f"_mta-sts.{domain}", "TXT").texts, b"STSv1")
    if len(found) > 1:
        raise records.Malformed("there are several records")
    if found:
        records.parse_mta_sts(found[0])
    return bool(found)


def _mta_sts_policy(world: World, domain: str) -> Policy | Malformed | OSError:
    """What a sender gets, or why it gets nothing. Raises Unanswered."""
    from postmaster.health.names import served

    return served.policy(domain, tuple(world.asker.addresses(f"mta-sts.{domain}")), world.context.ends)


def tls_rpt(world: World, domain: str) -> Iterator[Finding]:
    from postmaster.health.names import records

    found = records.of_kind(world.asker.know(f"_smtp._tls.{domain}", "TXT").texts, b"TLSRPTv1")
    if not found:
        return
    try:
        if len(found) > 1:
            raise records.Malformed("there are several records")
        records.parse_tls_rpt(found[0])
    except records.Malformed as error:
        remedy = f"mend the TXT record of _smtp._tls.{domain}"
        message = f"TLS-RPT counts for nothing: {error}"
        yield problem(domain, "tls-rpt-syntax", Severity.warning, message, remedy)
        return
    yield fine(domain, "TLS-RPT")


def dane(world: World, domain: str) -> Iterator[Finding]:
    """TLSA of those MX that are this server, where the resolver vouches for the answer."""
    for host in _hosts_here(world, domain):
        answer = world.asker.know(f"_25._tcp.{host}", "TLSA")
        if not answer.records:
            continue
        if not answer.validated:
            yield fine(domain, f"TLSA of {host}, which the resolver does not vouch for")
            continue
        heard = _heard(world, host)
        try:
            is_right = _fits(answer, heard)
            why = None if heard.certificate else heard.error or "STARTTLS is not offered"
        except ValueError as error:
            is_right, why = None, error
        if why is not None:
            message = f"the certificate of {host} cannot be had: {why}"
            remedy = f"openssl s_client -starttls smtp -connect {host}:25"
            yield problem(domain, "dane-unknown", Severity.unknown, message, remedy)
        elif is_right is None:
            message = f"TLSA of {host} names an authority, which is not looked at here"
            yield fine(domain, message)
        elif is_right:
            yield fine(domain, f"DANE {host}")
        else:
            message = (
                f"TLSA of {host} does not fit the certificate that is served: senders that look refuse it"
            )
            remedy = f"make a TLSA record of _25._tcp.{host} for the new certificate"
            yield problem(domain, "dane-mismatch", Severity.critical, message, remedy)


def mx_certificate(world: World, domain: str) -> Iterator[Finding]:
    """Whether those MX that are this server show a certificate with their names.

    Most senders do not look; one that goes by MTA-STS, or by a TLSA record for an authority, delivers to no
    other (RFC 8461 4.1, RFC 7672 3.2.2). That the chain is trusted is asked where MTA-STS demands it.
    """
    from cryptography import x509

    from postmaster.health import certificate as certificates

    for host in _hosts_here(world, domain):
        heard = _heard(world, host)
        if heard.certificate is None:
            continue  # what cannot be seen or read the check of certificates says
        try:
            has = certificates.names(x509.load_der_x509_certificate(heard.certificate))
        except ValueError:
            continue
        mode, demand = _mode(world, domain, host), None
        if not any(certificates.covers(one, host) for one in has):
            shown = ", ".join(has[: certificates.SHOWN]) or "no name at all"
            wrong = f"is for {shown}, not for {host}, which is in MX"
            remedy = f"get one with the name {host} too, or name in MX a host that it is for"
            demand = "DANE" if _demands_names(world, host) else None
        elif heard.distrust is not None and mode in ("enforce", "testing"):
            wrong = f"is not trusted: {heard.distrust.verify_message}"
            remedy = "serve one of a public authority, with its whole chain, or take MTA-STS back"
        else:
            continue
        if demand is None and mode in ("enforce", "testing"):
            demand = f"MTA-STS in mode {mode}"
        is_refused = demand == "DANE" or (demand is not None and mode == "enforce")
        severity = Severity.critical if is_refused else Severity.warning
        who = f"a sender that goes by {demand}" if demand else "a sender that looks"
        does = "does not deliver" if is_refused else "would not deliver"
        message = f"the certificate at port 25 {wrong}: {who} {does}"
        yield problem(domain, "mx-certificate", severity, message, remedy)


def _hosts_here(world: World, domain: str) -> list[str]:
    """The names in MX that lead to this server, where it has a port for them. Raises Unanswered."""
    if not world.settings.server.smtp_port:
        return []
    ours = set(world.addresses)
    return [
        host for host in _mx_hosts(world, domain) if host and ours.intersection(world.asker.addresses(host))
    ]


def _heard(world: World, host: str) -> Heard:
    """What our own SMTP listener says to a sender that wants this host."""
    from postmaster.health.hearing import hear
    from postmaster.health.talk import listeners

    (smtp,) = (one for one in listeners(world.settings.server) if one.name == "smtp")
    return hear(world.context, smtp, host)


def _fits(answer: Answer, heard: Heard) -> bool | None:
    """Whether the certificate that was heard fits TLSA records, as `served.matches` says."""
    from postmaster.health.names import served

    return None if heard.certificate is None else served.matches(answer.records, heard.certificate)


def _demands_names(world: World, host: str) -> bool:
    """Whether DANE goes by an authority, so that names count: of a pinned certificate they do not."""
    answer = world.asker.know(f"_25._tcp.{host}", "TLSA")
    is_authority = any(one.usage == 2 for one in answer.records)
    return is_authority and answer.validated and _fits(answer, _heard(world, host)) is None


def _mode(world: World, domain: str, host: str) -> str | None:
    """The mode of an MTA-STS policy that holds for a host; None without one, as `mta_sts` tells."""
    from postmaster.health.names import records

    try:
        policy = _mta_sts_policy(world, domain) if _announces_mta_sts(world, domain) else None
    except records.Malformed:
        return None
    return policy.mode if isinstance(policy, records.Policy) and policy.covers(host) else None
