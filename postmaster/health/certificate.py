"""What is to be said of a certificate: its names, its days, its strength, its chain, its file.

Names are judged as RFC 6125 says: the DNS names of the extension alone, a wildcard for one whole label.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from postmaster.health.finding import Measure, Severity
from postmaster.health.ranges import at_least
from postmaster.settings import HealthSettings

if TYPE_CHECKING:
    import ssl

    from cryptography import x509

CODES = {
    "certificate-expired": "the certificate that is served is no longer good",
    "certificate-expires": "the certificate that is served ends soon",
    "certificate-not-yet-valid": "the certificate that is served is not good yet",
    "certificate-name": "the certificate that is served is for other names",
    "certificate-untrusted": "the certificate that is served leads to no authority that is trusted here",
    "certificate-weak": "the certificate that is served has a weak key or signature",
}
WEAKEST = {"RSA": 2048, "DSA": 2048, "EC": 224}  # bits (NIST SP 800-131A)
FILE_LIMIT = 1 << 20  # bytes
SHOWN = 5  # names

#: OpenSSL's words for what `days` says better.
_TIME_CODES = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


@dataclass(frozen=True, slots=True)
class Problem:
    code: str
    severity: Severity
    words: str
    remedy: str


def trusting(settings: HealthSettings) -> tuple[ssl.SSLContext, str | None]:
    """A client that trusts the system's authorities and what `health.ca_file` has, and why it does not.

    A certificate that is named itself is trusted as it is, whoever signed it.
    """
    import ssl

    context = as_clients_do()
    context.check_hostname = False  # names are looked at apart, so that all that is wrong is said
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if settings.ca_file:
        try:
            context.load_verify_locations(cafile=settings.ca_file)
        except ssl.SSLError:
            return context, f"{settings.ca_file} has no certificate in PEM form"
        except OSError as error:
            return context, f"{settings.ca_file} cannot be read: {error.strerror}"
    return context, None


def as_clients_do() -> ssl.SSLContext:
    """A client that trusts the system's authorities, and minds no more than mail programs and servers do.

    From Python 3.13 on its default refuses certificates that all of them take (RFC 5280's fine points).
    """
    import ssl

    context = ssl.create_default_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def days_left(certificate: x509.Certificate) -> float:
    return (certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds() / 86_400


def days_measure(certificate: x509.Certificate, limits: HealthSettings) -> Measure:
    warning, critical = at_least(limits.certificate_warning), at_least(limits.certificate_critical)
    return Measure("days", days_left(certificate), "", warning, critical)


def judge(
    certificate: x509.Certificate,
    wanted: Iterable[str],
    chain: ssl.SSLCertVerificationError | None,
    limits: HealthSettings,
    renew: str,
) -> Iterator[Problem]:
    """All that is wrong with a certificate that is served. `renew` says how it is renewed."""
    days = days_measure(certificate, limits)
    until = certificate.not_valid_after_utc.strftime("%Y-%m-%d %H:%M UTC")
    if days.value < 0:
        yield Problem("certificate-expired", Severity.critical, f"ended on {until}", renew)
    elif days.severity:
        words = f"ends on {until}, in {days.value:.1f} days"
        yield Problem("certificate-expires", days.severity, words, renew)
    if certificate.not_valid_before_utc > datetime.now(UTC):
        begins = certificate.not_valid_before_utc.strftime("%Y-%m-%d %H:%M UTC")
        words = f"begins on {begins}"
        yield Problem("certificate-not-yet-valid", Severity.critical, words, "is the clock right? " + renew)
    has = names(certificate)
    lacking = [name for name in wanted if not any(covers(one, name) for one in has)]
    if lacking:
        shown = ", ".join(has[:SHOWN]) or "no name at all"
        words = f"is for {shown}, not for {', '.join(lacking)}"
        yield Problem("certificate-name", Severity.critical, words, f"get one with that name: {renew}")
    if chain is not None and chain.verify_code not in _TIME_CODES:
        words = f"is not trusted: {chain.verify_message}"
        remedy = "serve the whole chain of an authority, or name the authority's file in health.ca_file"
        yield Problem("certificate-untrusted", Severity.warning, words, remedy)
    weak = weakness(certificate)
    if weak:
        yield Problem("certificate-weak", Severity.warning, f"is weak: {weak}", renew)


def names(certificate: x509.Certificate) -> list[str]:
    """The DNS names and IP addresses that it is for."""
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]


def covers(pattern: str, name: str) -> bool:
    """Whether a name of a certificate stands for a host's name."""
    pattern, name = pattern.lower().rstrip("."), name.lower().rstrip(".")
    if pattern == name:
        return True
    first, dot, rest = name.partition(".")
    return pattern.startswith("*.") and bool(first and dot) and "." in rest and pattern[2:] == rest


def weakness(certificate: x509.Certificate) -> str:
    """What is weak about it: its key, or the digest of its signature where somebody else made it."""
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

    key = certificate.public_key()
    kinds = ((rsa.RSAPublicKey, "RSA"), (dsa.DSAPublicKey, "DSA"), (ec.EllipticCurvePublicKey, "EC"))
    for kind, name in kinds:
        if isinstance(key, kind) and key.key_size < WEAKEST[name]:
            return f"a key of {key.key_size} bits ({name})"
    try:
        digest = certificate.signature_hash_algorithm
    except ValueError:  # one that nobody knows any more
        return "a signature of an unknown kind"
    if digest is not None and digest.name in ("md5", "sha1") and certificate.issuer != certificate.subject:
        return f"a signature with {digest.name.upper()}"
    return ""


def host_names(settings_names: Iterable[str], fallback: str) -> list[str]:
    """The names that a certificate must have: the settings', else the server's; no address, no lone word."""
    wanted = list(settings_names) or [fallback]
    return [name for name in wanted if "." in name and not _is_address(name)]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate in a file, and whether the key with it is its own; None: it is locked by a password."""

    path: Path
    certificate: x509.Certificate
    key_fits: bool | None


def read_pairs(files: Iterable[Path]) -> list[Pair]:
    """The certificates that a server serves from these PEM files, each with its key.

    As Postfix reads `smtpd_tls_chain_files`: a key belongs to the first certificate after it, and what
    follows is that one's chain. A key after the certificate is its own as well. Raises OSError, and
    ValueError for what is no certificate.
    """
    from cryptography import x509

    found: list[Pair] = []
    key: bytes | None = None
    is_next = True  # whether the next certificate is one that is served, and not the chain of one
    for path in files:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT)
        for block in re.finditer(_BLOCK, data, re.DOTALL):
            if block[1].endswith(b"PRIVATE KEY"):
                if found and found[-1].key_fits is False and key is None:
                    last = found.pop()
                    found.append(Pair(last.path, last.certificate, _fits(block[0], last.certificate)))
                else:
                    key, is_next = block[0], True
            elif block[1] == b"CERTIFICATE" and is_next:
                certificate = x509.load_pem_x509_certificate(block[0])
                found.append(Pair(path, certificate, key is not None and _fits(key, certificate)))
                key, is_next = None, False
    return found


def _fits(key: bytes, certificate: x509.Certificate) -> bool | None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

    try:
        own = load_pem_private_key(key, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return own.public_bytes(*form) == certificate.public_key().public_bytes(*form)


_BLOCK = rb"-----BEGIN ([A-Z0-9 ]{1,40})-----(?>(?:(?!-----).)*)-----END \1-----\s?"
