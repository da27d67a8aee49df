"""What the world's name servers say about our domains and addresses, as a receiver or sender sees it.

Every domain of the directory, alias domains too. Questions are asked at once, each only once; what could not
be asked is unknown, never absent. Names that no name server has (RFC 6761) are left out unless the settings
name a resolver.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from postmaster.errors import PostmasterError
from postmaster.health.finding import OK, Context, Finding, Measure, Severity
from postmaster.health.ranges import at_most

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from postmaster.health.names.asking import Asker
    from postmaster.health.names.records import DkimKey
    from postmaster.settings import Settings

MEANING = "MX, SPF, DKIM, DMARC and more of every domain; reverse DNS, blocklists of our addresses"
CODES = {
    "domain-missing": "the world's name servers have no such domain",
    "domains-unknown": "the directory's domains cannot be read",
    "dns-timeout": "a question was not answered in time",
    "dns-failed": "the name servers answered that they fail",
    "dnssec-broken": "an answer fails DNSSEC validation: validating receivers and senders see nothing",
    "resolver-silent": "the resolver does not answer at all",
    "addresses-unknown": "it is not known by which public addresses the world sees this server",
    "mx-missing": "the domain has no MX: mail goes to its address, or nowhere",
    "mx-null": "the domain says that it takes no mail (RFC 7505)",
    "mx-unresolved": "a name in MX has no address",
    "mx-alias": "a name in MX is an alias, which RFC 5321 forbids",
    "mx-elsewhere": "no MX leads to this server",
    "reverse-missing": "one of our addresses has no name: many receivers refuse it",
    "reverse-mismatch": "the name of one of our addresses does not lead back to it",
    "helo-unresolved": "the name by which Postfix greets has no address",
    "helo-elsewhere": "the name by which Postfix greets leads elsewhere",
    "spf-missing": "the domain has no SPF record",
    "spf-several": "the domain has more than one SPF record: receivers take it for an error",
    "spf-syntax": "the SPF record cannot be evaluated",
    "spf-lookups": "the SPF record takes more look-ups than receivers make",
    "spf-fails": "SPF does not let one of our addresses send for the domain",
    "dkim-missing": "a DKIM selector has no key",
    "dkim-syntax": "a DKIM record cannot be read",
    "dkim-revoked": "a DKIM key is empty: it was revoked",
    "dkim-weak": "a DKIM key is too short",
    "dkim-mismatch": "a DKIM key is not that of the signing key: every signature fails",
    "dkim-key-unknown": "a signing key cannot be read",
    "dmarc-missing": "the domain has no DMARC record",
    "dmarc-syntax": "the DMARC record cannot be read, so it counts for nothing",
    "dmarc-reports": "who is to get DMARC reports has not agreed to it",
    "mta-sts-syntax": "the MTA-STS record cannot be read",
    "mta-sts-policy": "the MTA-STS policy cannot be taken from its page",
    "mta-sts-mx": "an MX is not in the MTA-STS policy",
    "mta-sts-unknown": "the page of the MTA-STS policy cannot be reached from here",
    "tls-rpt-syntax": "the TLS-RPT record cannot be read",
    "dane-mismatch": "the certificate that is served is not that of the TLSA records",
    "dane-unknown": "the served certificate cannot be compared with the TLSA records",
    "listed": "an address or a domain of ours is on a blocklist",
    "blocklist-unknown": "a blocklist could not be asked",
}
SETTINGS = (
    *("dns", "resolver", "addresses", "dkim_selectors", "dkim_keys", "blocklists", "domain_blocklists"),
)
WORKERS = 24
SPECIAL = ("test", "example", "invalid", "localhost", "local", "onion", "alt")  # RFC 6761, 6762, 7686, 9476
SPECIAL_DOMAINS = ("example.com", "example.net", "example.org")
RSA_WEAK, RSA_SHORT = 1024, 2048  # bits (RFC 8301 3.2)


@dataclass(frozen=True, slots=True)
class _World:
    """What every question needs."""

    context: Context
    asker: Asker
    addresses: tuple[str, ...]  # ours, public ones
    helo: str

    @property
    def settings(self) -> Settings:
        return self.context.settings


def run(context: Context) -> Iterator[Finding]:
    from postmaster.directory import quick

    limits = context.settings.health
    if not limits.dns:
        return
    domains = quick.all_domains(context.settings)
    if domains is None:
        message, remedy = "the directory cannot be read", "run it as root"
        yield Finding("dns", "domains", "domains-unknown", Severity.unknown, message, remedy)
        return
    real = [one for one in domains if limits.resolver or not _is_special(one)]
    if len(real) < len(domains):
        message = f"{len(domains) - len(real)} domains are left out: their names are for tests (RFC 6761)"
        yield Finding("dns", "domains", OK, Severity.ok, message)
    if real:
        yield from _look(context, real)


def _look(context: Context, domains: Sequence[str]) -> Iterator[Finding]:
    from concurrent.futures import ThreadPoolExecutor

    from postmaster.health.names.asking import Asker, Outcome
    from postmaster.postfix import postconf

    asker = Asker(context.settings.health.resolver, context.left)
    first = asker.ask(domains[0], "MX")
    if first.outcome is Outcome.late and asker.ask(".", "NS").outcome is Outcome.late:
        servers = ", ".join(context.settings.health.resolver) or "the one in /etc/resolv.conf"
        yield Finding(
            *("dns", "resolver", "resolver-silent", Severity.unknown, f"no answer from {servers}"),
            f"dig {domains[0]} MX",
        )
        return
    helo = postconf.value(context.settings.postfix.config_directory, "smtp_helo_name")
    world = _World(context, asker, _own_addresses(context.settings, asker), helo)
    if not world.addresses:
        message = "no public address of this server is known: what must lead here is not looked at"
        yield Finding(
            *("dns", "addresses", "addresses-unknown", Severity.unknown, message),
            "name them in the settings' health.addresses",
        )
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="dns")
    try:
        server = [
            *(pool.submit(_attempt, _reverse, world, address) for address in world.addresses),
            pool.submit(_attempt, _helo, world, helo),
            *(
                pool.submit(_attempt, _address_listed, world, f"{address}/{zone}")
                for zone in world.settings.health.blocklists
                for address in world.addresses
            ),
        ]
        asked = [(one, [pool.submit(_attempt, topic, world, one) for topic in _TOPICS]) for one in domains]
        for one in server:
            yield from _gathered(context, one)
        for domain, parts in asked:
            found = [finding for part in parts for finding in _gathered(context, part)]
            problems = _once(finding for finding in found if finding.code != OK)
            missing = [finding for finding in problems if finding.code == "domain-missing"]
            problems = missing or problems  # of what is not there nothing else is wrong
            if problems:
                yield from problems
            else:
                words = "; ".join(finding.message for finding in found)
                measures = tuple(measure for finding in found for measure in finding.measures)
                yield Finding("dns", domain, OK, Severity.ok, words, None, measures)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _attempt(topic: _Topic, world: _World, thing: str) -> list[Finding]:
    """What a topic finds; a question without an answer is a finding too."""
    from postmaster.health.names.asking import Outcome, Unanswered

    found: list[Finding] = []
    try:
        found.extend(topic(world, thing))
    except Unanswered as error:
        answer = error.answer
        code, severity = {
            Outcome.late: ("dns-timeout", Severity.unknown),
            Outcome.bogus: ("dnssec-broken", Severity.critical),
        }.get(answer.outcome, ("dns-failed", Severity.unknown))
        found.append(_problem(thing, code, severity, str(answer), f"dig {answer.name} {answer.kind}"))
    return found


def _gathered(context: Context, part: Future[list[Finding]]) -> list[Finding]:
    """Waits no longer than the check has; the deadline's own finding tells of the rest."""
    return part.result(timeout=context.left(2.0))


def _once(findings: Iterable[Finding]) -> list[Finding]:
    """One finding of each problem: that of the worst, with the names of the others."""
    kept: dict[tuple[str, str, str], Finding] = {}
    for one in findings:
        before = kept.get(one.problem)
        if before is None or (one.severity is Severity.critical and before.severity is not Severity.critical):
            kept[one.problem] = one
    return list(kept.values())


# --- our server ---


def _own_addresses(settings: Settings, asker: Asker) -> tuple[str, ...]:
    """The public addresses that the world may know this server by, the settings' own word first."""
    import re

    from postmaster.postfix import postconf
    from postmaster.process import run as run_program

    given = settings.health.addresses
    if given:
        return tuple(str(ip_address(one)) for one in given if _is_address(one))
    config = settings.postfix.config_directory
    named: list[str] = []
    for parameter in ("inet_interfaces", "proxy_interfaces"):
        named += postconf.split_list(postconf.value(config, parameter))
    if "all" in named:
        with contextlib.suppress(PostmasterError):
            said = run_program(["ip", "-o", "addr", "show", "scope", "global"]).stdout
            named += re.findall(r"\binet6? ([0-9a-fA-F.:]+)", said)
    found: list[str] = []
    for one in named:
        text = one.strip("[]")
        if _is_address(text):
            found.append(text)
        elif "." in text:
            found += [str(r.address) for kind in ("A", "AAAA") for r in asker.ask(text, kind).records]
    return tuple(dict.fromkeys(str(ip_address(one)) for one in found if ip_address(one).is_global))


def _reverse(world: _World, address: str) -> Iterator[Finding]:
    import dns.reversename

    name = str(dns.reversename.from_address(address)).rstrip(".")
    names = [str(one.target).rstrip(".") for one in world.asker.know(name, "PTR").records]
    if not names:
        remedy = f"ask who gave you the address for a PTR record to {world.helo}"
        yield _problem(address, "reverse-missing", Severity.warning, "it has no name (PTR)", remedy)
    elif not any(address in world.asker.addresses(one) for one in names[:5]):
        message = f"its name {names[0]} does not lead back to it"
        remedy = f"make an address record of {names[0]} for {address}, or a PTR record to {world.helo}"
        yield _problem(address, "reverse-mismatch", Severity.warning, message, remedy)
    else:
        yield _fine(address, f"it is {names[0]}, which leads back to it")


def _helo(world: _World, name: str) -> Iterator[Finding]:
    found = world.asker.addresses(name) if "." in name else []
    remedy = f"make address records for {name}, or set smtp_helo_name (myhostname) in main.cf"
    if not found:
        yield _problem("helo", "helo-unresolved", Severity.warning, f"{name} has no address", remedy)
    elif world.addresses and not set(found) & set(world.addresses):
        message = f"{name} leads to {', '.join(found[:3])}, which is not this server"
        yield _problem("helo", "helo-elsewhere", Severity.warning, message, remedy)
    else:
        yield _fine("helo", f"Postfix greets as {name}, which has an address")


def _address_listed(world: _World, thing: str) -> Iterator[Finding]:
    import dns.reversename

    address, _, zone = thing.partition("/")
    reverse = str(dns.reversename.from_address(address))
    below = reverse.removesuffix("in-addr.arpa.").removesuffix("ip6.arpa.")
    yield from _listed(world, f"{below}{zone}", thing, f"{address} is on {zone}")


def _domain_listed(world: _World, domain: str) -> Iterator[Finding]:
    for zone in world.settings.health.domain_blocklists:
        yield from _listed(world, f"{domain}.{zone}", f"{domain}/{zone}", f"{domain} is on {zone}")


def _listed(world: _World, name: str, thing: str, message: str) -> Iterator[Finding]:
    """What a list answers: an address in 127.0.0.0/8 that is no error code of its operator."""
    from postmaster.health.names.asking import Outcome

    zone = thing.partition("/")[2]
    answer = world.asker.ask(name, "A")
    codes = [one.address for one in answer.records]
    errors = [one for one in codes if _is_error_code(one)]
    remedy = f"dig {name} A; a resolver of your own is what most lists want"
    if not answer.is_known:
        yield _problem(thing, "blocklist-unknown", Severity.unknown, f"{zone}: {answer}", remedy)
    elif errors:
        message = f"{zone} could not be asked: it answers {errors[0]}"
        yield _problem(thing, "blocklist-unknown", Severity.unknown, message, remedy)
    elif codes:
        why = world.asker.ask(name, "TXT")
        text = why.texts[0].decode("utf-8", "replace")[:200] if why.outcome is Outcome.found else codes[0]
        remedy = f"read why and ask to be taken off: {zone}"
        yield _problem(thing, "listed", Severity.critical, f"{message}: {text}", remedy)
    else:
        yield _fine(thing, f"not on {zone}")


def _is_error_code(address: str) -> bool:
    """No word on the address asked about: an error (127.255.255.0/24, 127.0.0.1, 127.0.1.255), or no list."""
    return (
        address.startswith("127.255.255.")
        or address in ("127.0.0.1", "127.0.1.255")
        or not address.startswith("127.")
    )


# --- a domain ---


def _mx_hosts(world: _World, domain: str) -> list[str]:
    """The names in MX, best first; empty without any. Raises Unanswered."""
    records = sorted(world.asker.know(domain, "MX").records, key=lambda one: int(one.preference))
    return [str(one.exchange).lower().rstrip(".") for one in records]


def _mx(world: _World, domain: str) -> Iterator[Finding]:
    from postmaster.health.names.asking import Outcome

    answer = world.asker.know(domain, "MX")
    if answer.outcome is Outcome.absent:
        remedy = "is it registered, and spelt right? else: postmaster domain remove"
        yield _problem(domain, "domain-missing", Severity.critical, "there is no such domain", remedy)
        return
    hosts = _mx_hosts(world, domain)
    if not hosts:
        found = world.asker.addresses(domain)
        severity = Severity.warning if set(found) & set(world.addresses) else Severity.critical
        message = "it has no MX" + (f"; mail goes to its address {found[0]}" if found else ", and no address")
        remedy = f"make a record: {domain}. MX 10 {world.helo}."
        yield _problem(domain, "mx-missing", severity, message, remedy)
        return
    if "" in hosts:
        remedy = f"make a record: {domain}. MX 10 {world.helo}."
        yield _problem(domain, "mx-null", Severity.critical, "its MX says that it takes no mail", remedy)
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
        yield _problem(domain, "mx-unresolved", severity, message, f"make address records for {dead[0]}")
    if alias:
        message = f"{' and '.join(alias[:3])} in MX is an alias"
        yield _problem(
            domain, "mx-alias", Severity.warning, message, "name the host itself in MX, not its CNAME"
        )
    if world.addresses and not here and len(dead) < len(hosts):
        message = f"MX leads to {', '.join(hosts[:3])}, and none of them is this server"
        remedy = f"make a record: {domain}. MX 10 {world.helo}. (or set health.addresses)"
        yield _problem(domain, "mx-elsewhere", Severity.warning, message, remedy)
    yield _fine(domain, f"MX {', '.join(hosts[:3])}")


def _spf(world: _World, domain: str) -> Iterator[Finding]:
    from postmaster.health.names import records, spf

    texts = world.asker.know(domain, "TXT").texts
    own = [one for one in texts if one.lower() == b"v=spf1" or one.lower().startswith(b"v=spf1 ")]
    if not own:
        remedy = f'make a TXT record of {domain}: "v=spf1 mx -all"'
        yield _problem(domain, "spf-missing", Severity.warning, "it has no SPF record", remedy)
        return
    if len(own) > 1:
        message = f"it has {len(own)} SPF records, which receivers take for an error"
        yield _problem(
            domain, "spf-several", Severity.critical, message, "leave one, with all that is allowed"
        )
        return
    walk = spf.evaluate(world.asker, spf.NOBODY, domain, domain)
    if walk.is_too_many:
        message = f"its SPF record takes too many look-ups: {walk.detail}"
        remedy = f"at most {spf.MOST_LOOKUPS}: name addresses (ip4:, ip6:) in the place of include: and mx"
        yield _problem(domain, "spf-lookups", Severity.critical, message, remedy)
        return
    if walk.result == "permerror":
        remedy = f"mend the TXT record of {domain}"
        yield _problem(
            domain, "spf-syntax", Severity.critical, f"SPF cannot be evaluated: {walk.detail}", remedy
        )
        return
    for address in world.addresses:
        verdict = spf.evaluate(world.asker, address, domain, world.helo)
        if verdict.result == "temperror":
            remedy = f"dig {domain} TXT"
            yield _problem(domain, "dns-failed", Severity.unknown, f"SPF: {verdict.detail}", remedy)
        elif verdict.result != "pass":
            severity = Severity.critical if verdict.result == "fail" else Severity.warning
            message = f"SPF says {verdict.result} for mail from {address}"
            kind = "ip6" if ":" in address else "ip4"
            remedy = f"put {kind}:{address} into the TXT record of {domain}"
            yield _problem(domain, "spf-fails", severity, message, remedy)
    measure = Measure("spf_lookups", walk.lookups, "", None, at_most(spf.MOST_LOOKUPS), 0)
    yield Finding("dns", domain, OK, Severity.ok, f"SPF {records.shown(own[0])}", None, (measure,))


def _dkim(world: _World, domain: str) -> Iterator[Finding]:
    from postmaster.health.names import keys, records

    limits = world.settings.health
    signing = keys.named(limits.dkim_keys, domain)
    for selector in dict.fromkeys([*limits.dkim_selectors, *signing]):
        name = f"{selector}._domainkey.{domain}"
        texts = world.asker.know(name, "TXT").texts
        if not texts:
            message = f"there is no key for the selector {selector}"
            yield _problem(
                domain, "dkim-missing", Severity.critical, message, f"make the TXT record of {name}"
            )
            continue
        try:
            if len(texts) > 1:
                raise records.Malformed("there are several records")
            key = records.parse_dkim(texts[0])
            if not key.serves_mail:
                raise records.Malformed("it is for another service than mail (s=)")
            kind, bits = keys.strength(key) if key.key else ("", 0)
        except records.Malformed as error:
            message = f"the key of the selector {selector}: {error}"
            yield _problem(
                domain, "dkim-syntax", Severity.critical, message, f"mend the TXT record of {name}"
            )
            continue
        if not key.key:
            message = f"the key of the selector {selector} was revoked"
            remedy = f"publish the key in {name}, or sign with another selector"
            yield _problem(domain, "dkim-revoked", Severity.critical, message, remedy)
            continue
        if kind == "rsa" and bits < RSA_SHORT:
            severity = Severity.critical if bits < RSA_WEAK else Severity.warning
            message = f"the key of the selector {selector} has {bits} bits"
            remedy = f"make a new key of {RSA_SHORT} bits, under a new selector"
            yield _problem(domain, "dkim-weak", severity, message, remedy)
        if selector in signing:
            yield from _compared(domain, selector, key, signing[selector])
        yield _fine(domain, f"DKIM {selector} {kind}")


def _compared(domain: str, selector: str, key: DkimKey, file: Path) -> Iterator[Finding]:
    from postmaster.health.names import keys

    try:
        is_same = keys.is_public_half(key, file)
    except (OSError, ValueError) as error:
        message = f"the signing key {file} cannot be read: {getattr(error, 'strerror', None) or error}"
        remedy = "run it as root; health.dkim_keys names it"
        yield _problem(domain, "dkim-key-unknown", Severity.unknown, message, remedy)
        return
    if not is_same:
        message = f"the key of the selector {selector} is not that of {file}: every signature fails"
        remedy = f"publish the public half of {file} in {selector}._domainkey.{domain}"
        yield _problem(domain, "dkim-mismatch", Severity.critical, message, remedy)


def _dmarc(world: _World, domain: str) -> Iterator[Finding]:
    from postmaster.health.names import records

    labels = domain.split(".")
    found: list[bytes] = []
    where = domain
    # The record of a parent counts for what is below it; up to which one is a matter of public suffixes,
    # which say nothing for what has less than two labels.
    for at in range(max(1, len(labels) - 1)):
        where = ".".join(labels[at:])
        found = records.of_kind(world.asker.know(f"_dmarc.{where}", "TXT").texts, b"DMARC1")
        if found:
            break
    if not found:
        remedy = f'make a TXT record of _dmarc.{domain}: "v=DMARC1; p=none; rua=mailto:…"'
        yield _problem(domain, "dmarc-missing", Severity.warning, "it has no DMARC record", remedy)
        return
    remedy = f"mend the TXT record of _dmarc.{where}"
    try:
        if len(found) > 1:
            raise records.Malformed("there are several records")
        record = records.parse_dmarc(found[0])
    except records.Malformed as error:
        yield _problem(domain, "dmarc-syntax", Severity.warning, f"DMARC counts for nothing: {error}", remedy)
        return
    for address, host in record.reports:
        if _same_house(host, where):
            continue
        consent = world.asker.know(f"{where}._report._dmarc.{host}", "TXT").texts
        if not records.of_kind(consent, b"DMARC1"):
            message = f"{host} has not agreed to get reports at {address}"
            ask = f'{host} needs a TXT record of {where}._report._dmarc.{host}: "v=DMARC1"'
            yield _problem(domain, "dmarc-reports", Severity.warning, message, ask)
    policy = record.policy if where == domain or not record.subdomain_policy else record.subdomain_policy
    yield _fine(domain, f"DMARC {policy}")


def _same_house(one: str, other: str) -> bool:
    """Whether two names are of one owner, as far as that can be told without a list of public suffixes."""
    return one.split(".")[-2:] == other.split(".")[-2:]


def _mta_sts(world: _World, domain: str) -> Iterator[Finding]:
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
        yield _problem(
            domain, "mta-sts-syntax", Severity.warning, f"MTA-STS counts for nothing: {error}", remedy
        )
        return
    page = f"https://mta-sts.{domain}/.well-known/mta-sts.txt"
    try:
        text = served.policy(domain, world.asker.addresses(f"mta-sts.{domain}"), world.context.left(0.3))
        policy = records.parse_policy(text)
    except records.Malformed as error:
        yield _problem(domain, "mta-sts-policy", Severity.warning, f"MTA-STS: {error}", f"curl -v {page}")
        return
    except OSError as error:
        message = f"{page} cannot be reached from here: {error.strerror or error}"
        yield _problem(domain, "mta-sts-unknown", Severity.unknown, message, f"curl -v {page}")
        return
    missing = [host for host in _mx_hosts(world, domain) if host and not policy.covers(host)]
    if missing and policy.mode != "none":
        severity = Severity.critical if policy.mode == "enforce" else Severity.warning
        message = f"{missing[0]} is in MX and not in the MTA-STS policy (mode {policy.mode})"
        remedy = f"add the line mx: {missing[0]} to {page}, and change the id of _mta-sts.{domain}"
        yield _problem(domain, "mta-sts-mx", severity, message, remedy)
    yield _fine(domain, f"MTA-STS {policy.mode}")


def _tls_rpt(world: _World, domain: str) -> Iterator[Finding]:
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
        yield _problem(domain, "tls-rpt-syntax", Severity.warning, message, remedy)
        return
    yield _fine(domain, "TLS-RPT")


def _dane(world: _World, domain: str) -> Iterator[Finding]:
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
            yield _fine(domain, f"TLSA of {host}, which the resolver does not vouch for")
            continue
        try:
            shown = served.certificate(server.address, server.smtp_port, host, world.context.left(0.3))
            is_right = served.matches(answer.records, shown)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            message = f"the certificate of {host} cannot be had: {error}"
            remedy = f"openssl s_client -starttls smtp -connect {host}:25"
            yield _problem(domain, "dane-unknown", Severity.unknown, message, remedy)
            continue
        if is_right is None:
            message = f"TLSA of {host} names an authority, which is not looked at here"
            yield _fine(domain, message)
        elif is_right:
            yield _fine(domain, f"DANE {host}")
        else:
            message = (
                f"TLSA of {host} does not fit the certificate that is served: senders that look refuse it"
            )
            remedy = f"make a TLSA record of _25._tcp.{host} for the new certificate"
            yield _problem(domain, "dane-mismatch", Severity.critical, message, remedy)


_Topic = Callable[[_World, str], Iterator[Finding]]
_TOPICS: tuple[_Topic, ...] = (_mx, _spf, _dkim, _dmarc, _mta_sts, _tls_rpt, _dane, _domain_listed)


def _problem(thing: str, code: str, severity: Severity, message: str, remedy: str) -> Finding:
    return Finding("dns", thing, code, severity, message, remedy)


def _fine(thing: str, message: str) -> Finding:
    return Finding("dns", thing, OK, Severity.ok, message)


def _is_special(domain: str) -> bool:
    labels = domain.split(".")
    return labels[-1] in SPECIAL or ".".join(labels[-2:]) in SPECIAL_DOMAINS


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
