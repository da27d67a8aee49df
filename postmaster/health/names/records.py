"""The records of mail as RFCs have them: DKIM keys, DMARC, MTA-STS with its policy, TLS-RPT.

Each parser takes any bytes and gives a frozen record, or raises `Malformed` with one line that says what is
wrong. Nothing is asked here. Sources: RFC 6376 3.6.1, RFC 8463, RFC 7489 6.3, RFC 8461 3, RFC 8460 3.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

LONGEST = 8192  # bytes of a record that are looked at
POLICY_LONGEST = 65536  # bytes of a policy (RFC 8461 3.3)
MOST_AGE = 31_557_600  # seconds, max_age's limit

_TAG = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}\Z")
_URI = re.compile(r"mailto:([^\s@,;!?]{1,64}@([A-Za-z0-9._-]{1,253}))(?:\?[^\s,;!]*)?\Z", re.IGNORECASE)
_ID = re.compile(r"[A-Za-z0-9]{1,32}\Z")
_MX = re.compile(r"(?:\*\.)?[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})+\.?\Z")


class Malformed(ValueError):
    """A record that does not say what it should; the text says why."""


@dataclass(frozen=True, slots=True)
class DkimKey:
    """`key` is what stands in the record: DER for RSA, 32 bytes for Ed25519; empty where it is revoked."""

    kind: str
    key: bytes
    serves_mail: bool


@dataclass(frozen=True, slots=True)
class Dmarc:
    """`reports`: (address, its domain) of each mailto URI in `rua` and `ruf`."""

    policy: str
    subdomain_policy: str | None
    percent: int
    reports: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """An MTA-STS policy. Hosts are patterns in lower case, of which `*.example.org` stands for one label."""

    mode: str
    hosts: tuple[str, ...]
    max_age: int

    def covers(self, host: str) -> bool:
        name = host.lower().rstrip(".")
        parent = name.partition(".")[2]
        return name in self.hosts or (bool(parent) and f"*.{parent}" in self.hosts)


def of_kind(texts: Iterable[bytes], version: bytes) -> list[bytes]:
    """Those of the TXT records at a name that are of a version, `v=DMARC1` for one."""
    return [one for one in texts if re.match(rb"\s*v\s*=\s*" + re.escape(version) + rb"\s*(?:;|\Z)", one)]


def parse_dkim(raw: bytes) -> DkimKey:
    """A DKIM key record (RFC 6376 3.6.1). Raises Malformed."""
    tags = _tags(raw)
    if tags.get("v", "DKIM1") != "DKIM1":
        raise Malformed(f"its version is {_shown(tags['v'])}, not DKIM1")
    if "v" in tags and next(iter(tags)) != "v":
        raise Malformed("v= does not come first")
    if "p" not in tags:
        raise Malformed("it has no key (p=)")
    kind = tags.get("k", "rsa").lower()
    if kind not in ("rsa", "ed25519"):
        raise Malformed(f"its key type is {_shown(kind)}, which receivers do not know")
    try:
        key = base64.b64decode(re.sub(r"\s+", "", tags["p"]), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("its key (p=) is no Base64") from None
    services = [one.strip().lower() for one in tags.get("s", "*").split(":")]
    return DkimKey(kind, key, "*" in services or "email" in services)


def parse_dmarc(raw: bytes) -> Dmarc:
    """A DMARC record (RFC 7489 6.3). Raises Malformed."""
    tags = _tags(raw)
    if tags.get("v") != "DMARC1" or next(iter(tags)) != "v":
        raise Malformed("it does not begin with v=DMARC1")
    policies = {name: tags[name].lower() for name in ("p", "sp") if name in tags}
    if "p" not in policies:
        raise Malformed("it has no policy (p=)")
    for which, policy in policies.items():
        if policy not in ("none", "quarantine", "reject"):
            raise Malformed(f"its policy {which}={_shown(policy)} is none of none, quarantine, reject")
    for name in ("adkim", "aspf"):
        if tags.get(name, "r").lower() not in ("r", "s"):
            raise Malformed(f"{name}={_shown(tags[name])} is neither r nor s")
    percent = tags.get("pct", "100")
    if not re.fullmatch(r"[0-9]{1,3}", percent) or int(percent) > 100:
        raise Malformed(f"pct={_shown(percent)} is no number from 0 to 100")
    reports = [
        _report(uri)
        for name in ("rua", "ruf")
        if name in tags
        for uri in tags[name].split(",")
        if uri.strip()
    ]
    return Dmarc(policies["p"], policies.get("sp"), int(percent), tuple(dict.fromkeys(filter(None, reports))))


def _report(uri: str) -> tuple[str, str] | None:
    """(address, domain) of a mailto URI, whose size limit is left out; None for another scheme."""
    text = re.sub(r"![0-9]+[kmgt]?\Z", "", uri.strip(), flags=re.IGNORECASE)
    found = _URI.match(text)
    if found is not None:
        return found[1].lower(), found[2].lower().rstrip(".")
    if re.match(r"https?:", text, re.IGNORECASE):
        return None
    raise Malformed(f"reports cannot be sent to {_shown(uri)}: it is no mailto: address")


def parse_mta_sts(raw: bytes) -> str:
    """The id of an MTA-STS record (RFC 8461 3.1). Raises Malformed."""
    tags = _tags(raw)
    if tags.get("v") != "STSv1" or next(iter(tags)) != "v":
        raise Malformed("it does not begin with v=STSv1")
    if not _ID.match(tags.get("id", "")):
        raise Malformed("its id is not 1 to 32 letters and digits")
    return tags["id"]


def parse_policy(raw: bytes) -> Policy:
    """An MTA-STS policy, the text behind its URL (RFC 8461 3.2). Raises Malformed."""
    if len(raw) > POLICY_LONGEST:
        raise Malformed("the policy is too long")
    values: dict[str, str] = {}
    hosts: list[str] = []
    for line in _text(raw, POLICY_LONGEST).splitlines():
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if not colon:
            raise Malformed(f"the policy has a line without a colon: {_shown(line)}")
        if name == "mx":
            if not _MX.match(value):
                raise Malformed(f"the policy's mx {_shown(value)} is no name of a host")
            hosts.append(value.lower().rstrip("."))
        else:
            values.setdefault(name, value)
    if values.get("version") != "STSv1":
        raise Malformed("the policy has no version: STSv1")
    mode, age = values.get("mode", ""), values.get("max_age", "")
    if mode not in ("enforce", "testing", "none"):
        raise Malformed("the policy's mode is none of enforce, testing, none")
    if not re.fullmatch(r"[0-9]{1,10}", age) or int(age) > MOST_AGE:
        raise Malformed("the policy has no max_age of at most a year")
    if not hosts and mode != "none":
        raise Malformed("the policy names no mx")
    return Policy(mode, tuple(hosts), int(age))


def parse_tls_rpt(raw: bytes) -> tuple[str, ...]:
    """Where TLS reports go: the URIs of a TLS-RPT record (RFC 8460 3). Raises Malformed."""
    tags = _tags(raw)
    if tags.get("v") != "TLSRPTv1" or next(iter(tags)) != "v":
        raise Malformed("it does not begin with v=TLSRPTv1")
    uris = tuple(one.strip() for one in tags.get("rua", "").split(",") if one.strip())
    if not uris:
        raise Malformed("it names nobody to report to (rua=)")
    for uri in uris:
        if not _URI.match(uri) and not re.match(r"https://[^\s/]+", uri, re.IGNORECASE):
            raise Malformed(f"reports cannot be sent to {_shown(uri)}")
    return uris


def _tags(raw: bytes) -> dict[str, str]:
    """The list `name=value; …`, names as they stand, in their order. Raises Malformed."""
    if len(raw) > LONGEST:
        raise Malformed("the record is too long")
    found: dict[str, str] = {}
    for part in _text(raw, LONGEST).split(";"):
        if not part.strip():
            continue
        name, equals, value = part.partition("=")
        name = name.strip()
        if not equals or not _TAG.match(name):
            raise Malformed(f"{_shown(part.strip())} is no name=value")
        if name in found:
            raise Malformed(f"{name}= is there twice")
        found[name] = value.strip()
    if not found:
        raise Malformed("it is empty")
    return found


def _text(raw: bytes, longest: int) -> str:
    try:
        return raw[:longest].decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("it has bytes that are no text") from None


def shown(raw: bytes) -> str:
    """The beginning of a record, for people."""
    text = raw[:100].decode("utf-8", "replace")
    return "".join(one if one.isprintable() else "?" for one in text) + ("…" if len(raw) > 100 else "")


def _shown(text: str) -> str:
    """A part of a record as it may be printed."""
    return repr(text[:60])
