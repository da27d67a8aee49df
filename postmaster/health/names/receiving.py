"""What others need to send to a domain: MX, MTA-STS, TLS-RPT, DANE."""

from __future__ import annotations

from collections.abc import Iterator

from postmaster.health.finding import Finding, Severity
from postmaster.health.names.world import World, fine, problem


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
    from postmaster.health.names import records, served

    found = records.of_kind(world.asker.know(f"_mta-sts.{domain}", "TXT").texts, b"STSv1")
    if not found:
        return
    try:
        if len(found) > 1:
            raise records.Malformed("there are several records")
        records.parse_mta_sts(found[0])
    except records.Malformed as error:
        remedy = f"mend the TXT record of _mta-sts.{domain}"
        yield problem(
            domain, "mta-sts-syntax", Severity.warning, f"MTA-STS counts for nothing: {error}", remedy
        )
        return
    page = f"https://mta-sts.{domain}/.well-known/mta-sts.txt"
    try:
        text = served.policy(domain, world.asker.addresses(f"mta-sts.{domain}"), world.context.left(0.3))
        policy = records.parse_policy(text)
    except records.Malformed as error:
        yield problem(domain, "mta-sts-policy", Severity.warning, f"MTA-STS: {error}", f"curl -v {page}")
        return
    except OSError as error:
        message = f"{page} cannot be reached from here: {error.strerror or error}"
        yield problem(domain, "mta-sts-unknown", Severity.unknown, message, f"curl -v {page}")
        return
    missing = [host for host in _mx_hosts(world, domain) if host and not policy.covers(host)]
    if missing and policy.mode != "none":
        severity = Severity.critical if policy.mode == "enforce" else Severity.warning
        message = f"{missing[0]} is in MX and not in the MTA-STS policy (mode {policy.mode})"
        remedy = f"add the line mx: {missing[0]} to {page}, and change the id of _mta-sts.{domain}"
        yield problem(domain, "mta-sts-mx", severity, message, remedy)
    yield fine(domain, f"MTA-STS {policy.mode}")


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
    import smtplib

    from postmaster.health.names import served

    server = world.settings.server
    for host in _mx_hosts(world, domain):
        if not host or not set(world.asker.addresses(host)) & set(world.addresses):
            continue
        answer = world.asker.know(f"_25._tcp.{host}", "TLSA")
        if not answer.records:
            continue
        if not answer.validated:
            yield fine(domain, f"TLSA of {host}, which the resolver does not vouch for")
            continue
        try:
            shown = served.certificate(server.address, server.smtp_port, host, world.context.left(0.3))
            is_right = served.matches(answer.records, shown)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            message = f"the certificate of {host} cannot be had: {error}"
            remedy = f"openssl s_client -starttls smtp -connect {host}:25"
            yield problem(domain, "dane-unknown", Severity.unknown, message, remedy)
            continue
        if is_right is None:
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
