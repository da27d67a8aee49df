"""By what others trust the mail of a domain: SPF, DKIM, DMARC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from postmaster.health.finding import OK, Finding, Measure, Severity
from postmaster.health.names.world import World, fine, problem
from postmaster.health.ranges import at_most

if TYPE_CHECKING:
    from pathlib import Path

    from postmaster.health.names.records import DkimKey

RSA_WEAK, RSA_SHORT = 1024, 2048  # bits (RFC 8301 3.2)


def spf(world: World, domain: str) -> Iterator[Finding]:
    from postmaster.health.names import records, spf

    texts = world.asker.know(domain, "TXT").texts
    own = [one for one in texts if one.lower() == b"v=spf1" or one.lower().startswith(b"v=spf1 ")]
    if not own:
        remedy = f'make a TXT record of {domain}: "v=spf1 mx -all"'
        yield problem(domain, "spf-missing", Severity.warning, "it has no SPF record", remedy)
        return
    if len(own) > 1:
        message = f"it has {len(own)} SPF records, which receivers take for an error"
        yield problem(
            domain, "spf-several", Severity.critical, message, "leave one, with all that is allowed"
        )
        return
    walk = spf.evaluate(world.asker, spf.NOBODY, domain, domain)
    if walk.is_too_many:
        message = f"its SPF record takes too many look-ups: {walk.detail}"
        remedy = f"at most {spf.MOST_LOOKUPS}: name addresses (ip4:, ip6:) in the place of include: and mx"
        yield problem(domain, "spf-lookups", Severity.critical, message, remedy)
        return
    if walk.result == "permerror":
        remedy = f"mend the TXT record of {domain}"
        yield problem(
            domain, "spf-syntax", Severity.critical, f"SPF cannot be evaluated: {walk.detail}", remedy
        )
        return
    for address in world.addresses:
        verdict = spf.evaluate(world.asker, address, domain, world.helo)
        if verdict.result == "temperror":
            remedy = f"dig {domain} TXT"
            yield problem(domain, "dns-failed", Severity.unknown, f"SPF: {verdict.detail}", remedy)
        elif verdict.result != "pass":
            severity = Severity.critical if verdict.result == "fail" else Severity.warning
            message = f"SPF says {verdict.result} for mail from {address}"
            kind = "ip6" if ":" in address else "ip4"
            remedy = f"put {kind}:{address} into the TXT record of {domain}"
            yield problem(domain, "spf-fails", severity, message, remedy)
    measure = Measure("spf_lookups", walk.lookups, "", None, at_most(spf.MOST_LOOKUPS), 0)
    yield Finding("dns", domain, OK, Severity.ok, f"SPF {records.shown(own[0])}", None, (measure,))


def dkim(world: World, domain: str) -> Iterator[Finding]:
    from postmaster.health.names import keys, records

    limits = world.settings.health
    signing = keys.named(limits.dkim_keys, domain)
    for selector in dict.fromkeys([*limits.dkim_selectors, *signing]):
        name = f"{selector}._domainkey.{domain}"
        texts = world.asker.know(name, "TXT").texts
        if not texts:
            message = f"there is no key for the selector {selector}"
            yield problem(
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
            yield problem(domain, "dkim-syntax", Severity.critical, message, f"mend the TXT record of {name}")
            continue
        if not key.key:
            message = f"the key of the selector {selector} was revoked"
            remedy = f"publish the key in {name}, or sign with another selector"
            yield problem(domain, "dkim-revoked", Severity.critical, message, remedy)
            continue
        if kind == "rsa" and bits < RSA_SHORT:
            severity = Severity.critical if bits < RSA_WEAK else Severity.warning
            message = f"the key of the selector {selector} has {bits} bits"
            remedy = f"make a new key of {RSA_SHORT} bits, under a new selector"
            yield problem(domain, "dkim-weak", severity, message, remedy)
        if selector in signing:
            yield from _compared(domain, selector, key, signing[selector])
        yield fine(domain, f"DKIM {selector} {kind}")


def _compared(domain: str, selector: str, key: DkimKey, file: Path) -> Iterator[Finding]:
    from postmaster.health.names import keys

    try:
        is_same = keys.is_public_half(key, file)
    except (OSError, ValueError) as error:
        message = f"the signing key {file} cannot be read: {getattr(error, 'strerror', None) or error}"
        remedy = "run it as root; health.dkim_keys names it"
        yield problem(domain, "dkim-key-unknown", Severity.unknown, message, remedy)
        return
    if not is_same:
        message = f"the key of the selector {selector} is not that of {file}: every signature fails"
        remedy = f"publish the public half of {file} in {selector}._domainkey.{domain}"
        yield problem(domain, "dkim-mismatch", Severity.critical, message, remedy)


def dmarc(world: World, domain: str) -> Iterator[Finding]:
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
        yield problem(domain, "dmarc-missing", Severity.warning, "it has no DMARC record", remedy)
        return
    remedy = f"mend the TXT record of _dmarc.{where}"
    try:
        if len(found) > 1:
            raise records.Malformed("there are several records")
        record = records.parse_dmarc(found[0])
    except records.Malformed as error:
        yield problem(domain, "dmarc-syntax", Severity.warning, f"DMARC counts for nothing: {error}", remedy)
        return
    for address, host in record.reports:
        if _same_house(host, where):
            continue
        consent = world.asker.know(f"{where}._report._dmarc.{host}", "TXT").texts
        if not records.of_kind(consent, b"DMARC1"):
            message = f"{host} has not agreed to get reports at {address}"
            ask = f'{host} needs a TXT record of {where}._report._dmarc.{host}: "v=DMARC1"'
            yield problem(domain, "dmarc-reports", Severity.warning, message, ask)
    policy = record.policy if where == domain or not record.subdomain_policy else record.subdomain_policy
    yield fine(domain, f"DMARC {policy}")


def _same_house(one: str, other: str) -> bool:
    """Whether two names are of one owner, as far as that can be told without a list of public suffixes."""
    return one.split(".")[-2:] == other.split(".")[-2:]
