"""What the world's name servers say about our domains and addresses, as a receiver or sender sees it.

Every domain of the directory, alias domains too. Questions are asked at once, each only once; what could not
be asked is unknown, never absent. Names that no name server has (RFC 6761) are left out unless the settings
name a resolver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from postmaster.health.finding import OK, Context, Finding, Severity

if TYPE_CHECKING:
    from concurrent.futures import Future

    from postmaster.health.names.world import World

    _Topic = Callable[[World, str], Iterator[Finding]]

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
    "mx-certificate": "the certificate at port 25 is not one that MTA-STS and DANE take for a name in MX",
    "listed": "an address or a domain of ours is on a blocklist",
    "blocklist-unknown": "a blocklist could not be asked",
}
SETTINGS = (
    *("dns", "resolver", "addresses", "dkim_selectors", "dkim_keys", "blocklists", "domain_blocklists"),
)
WORKERS = 24
SPECIAL = ("test", "example", "invalid", "localhost", "local", "onion", "alt")  # RFC 6761, 6762, 7686, 9476
SPECIAL_DOMAINS = ("example.com", "example.net", "example.org")


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

    from postmaster.health.names import host, receiving, sending
    from postmaster.health.names.asking import Asker, Outcome
    from postmaster.health.names.world import World
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
    world = World(context, asker, host.own_addresses(context.settings, asker), helo)
    if not world.addresses:
        message = "no public address of this server is known: what must lead here is not looked at"
        yield Finding(
            *("dns", "addresses", "addresses-unknown", Severity.unknown, message),
            "name them in the settings' health.addresses",
        )
    topics: tuple[_Topic, ...] = (
        *(receiving.mx, sending.spf, sending.dkim, sending.dmarc),
        *(receiving.mta_sts, receiving.tls_rpt, receiving.dane, receiving.mx_certificate),
        host.domain_listed,
    )
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="dns")
    try:
        server = [
            *(pool.submit(_attempt, host.reverse, world, address) for address in world.addresses),
            pool.submit(_attempt, host.helo, world, helo),
            *(
                pool.submit(_attempt, host.address_listed, world, f"{address}/{zone}")
                for zone in world.settings.health.blocklists
                for address in world.addresses
            ),
        ]
        asked = [(one, [pool.submit(_attempt, topic, world, one) for topic in topics]) for one in domains]
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


def _attempt(topic: _Topic, world: World, thing: str) -> list[Finding]:
    """What a topic finds; a question without an answer is a finding too."""
    from postmaster.health.names.asking import Outcome, Unanswered
    from postmaster.health.names.world import problem

    found: list[Finding] = []
    try:
        found.extend(topic(world, thing))
    except Unanswered as error:
        answer = error.answer
        code, severity = {
            Outcome.late: ("dns-timeout", Severity.unknown),
            Outcome.bogus: ("dnssec-broken", Severity.critical),
        }.get(answer.outcome, ("dns-failed", Severity.unknown))
        found.append(problem(thing, code, severity, str(answer), f"dig {answer.name} {answer.kind}"))
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


def _is_special(domain: str) -> bool:
    labels = domain.split(".")
    return labels[-1] in SPECIAL or ".".join(labels[-2:]) in SPECIAL_DOMAINS
