"""DNS against a real name server: each wrong record is put into its zone, found, and gone when mended."""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from postmaster.directory.migrate import initialise
from postmaster.health.checks import dns
from postmaster.health.finding import Context, Finding, Severity
from postmaster.settings import Settings
from tests.tools.building import open_builder, settings_under
from tests.tools.certificates import Authority
from tests.tools.mail import Lab
from tests.tools.names import NameServer, silence

from .conftest import faulty, once
from .faults import served

WARNING, CRITICAL, UNKNOWN = Severity.warning, Severity.critical, Severity.unknown
OURS = ("192.0.2.10", "2001:db8::10")


def txt(name: str, text: str) -> str:
    parts = " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))
    return f"{name} TXT ( {parts} )\n"


def public(key: Any) -> str:
    """The key as its record has it."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return "v=DKIM1; k=ed25519; p=" + base64.b64encode(raw).decode()
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return "v=DKIM1; k=rsa; p=" + base64.b64encode(der).decode()


def pem(key: Any) -> bytes:
    made: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made


def made_by_openssl(bits: int) -> bytes:
    """A key shorter than what Python's library makes, as its public half."""
    private = subprocess.run(["openssl", "genrsa", str(bits)], capture_output=True, check=True).stdout
    argv = ["openssl", "rsa", "-pubout", "-outform", "DER"]
    return subprocess.run(argv, input=private, capture_output=True, check=True).stdout


KEY = rsa.generate_private_key(65537, 2048)
SHORT = rsa.generate_private_key(65537, 1024)
WEAK = "v=DKIM1; p=" + base64.b64encode(made_by_openssl(768)).decode()
CURVE = ed25519.Ed25519PrivateKey.generate()

#: What a domain has that is in order, by topic; a fault puts another text in the place of one.
RIGHT = {
    "mx": "@ MX 10 mail\n@ MX 20 second\n",
    "hosts": "mail A 192.0.2.10\nmail AAAA 2001:db8::10\nsecond A 198.51.100.7\n",
    "spf": txt("@", "v=spf1 mx include:_spf.else.test -all"),
    "dkim": txt("one._domainkey", public(KEY)) + txt("two._domainkey", public(CURVE)),
    "dmarc": txt("_dmarc", "v=DMARC1; p=reject; rua=mailto:d@reports.test,mailto:own@right.test!10m"),
    "tls-rpt": txt("_smtp._tls", "v=TLSRPTv1; rua=mailto:tls@right.test"),
}


def zone(**other: str) -> str:
    parts = {**RIGHT, **{name.replace("_", "-"): text for name, text in other.items()}}
    return "".join(parts.values())


ELSE = (
    txt("_spf", "v=spf1 ip4:203.0.113.0/24 -all")
    + "".join(txt(f"s{at}", f"v=spf1 include:s{at + 1}.else.test -all") for at in range(12))
    + txt("s12", "v=spf1 -all")
    + "mail A 203.0.113.5\n"
)
REVERSE6 = "8.b.d.0.1.0.0.2.ip6.arpa"
PTR6 = "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 PTR mail.lab.test.\n"
PTR4 = "10 PTR mail.lab.test.\n"
ZONES = {
    "right.test": zone(),
    "also.test": zone(dmarc=txt("_dmarc", "v=DMARC1; p=none")),
    "else.test": ELSE,
    "reports.test": txt("right.test._report._dmarc", "v=DMARC1"),
    "lab.test": "mail A 192.0.2.10\nmail AAAA 2001:db8::10\n",
    "2.0.192.in-addr.arpa": PTR4,
    REVERSE6: PTR6,
    "bl.test": "2.0.0.127 A 127.0.0.2\n",
    "dbl.test": "",
    "broken.test": "!",
}


@dataclass
class World:
    names: NameServer
    settings: Settings
    folder: Path

    def with_(self, **given: Any) -> Settings:
        return replace(self.settings, health=replace(self.settings.health, **given))

    def findings(self, settings: Settings | None = None, seconds: float = 8.0) -> list[Finding]:
        return list(dns.run(Context(settings or self.settings, time.monotonic() + seconds)))


@pytest.fixture(scope="module")
def world(sick: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two domains in a directory of their own, on the lab's servers, and a name server for the world."""
    folder = tmp_path_factory.mktemp("names")
    truth = settings_under(folder / "truth")
    initialise(truth)
    with open_builder(truth) as make:
        make.domain("right.test")
        make.domain("also.test", alias_of="right.test")
    for name, key in (("one", KEY), ("two", CURVE), ("other", SHORT)):
        (folder / f"{name}.pem").write_bytes(pem(key))
    names = NameServer(folder, ZONES)
    settings = replace(
        sick.settings,
        directory=truth.directory,
        health=replace(
            sick.settings.health,
            resolver=(names.resolver,),
            addresses=OURS,
            dkim_selectors=("one", "two"),
            dkim_keys=(f"one={folder}/one.pem", f"right.test/two={folder}/two.pem"),
            blocklists=("bl.test",),
            domain_blocklists=("dbl.test",),
        ),
    )
    with served(sick, Authority().issue("mail.lab.test", "*.right.test", "*.also.test")):
        yield World(names, settings, folder)
    names.close()


def test_what_is_right_is_well(world: World) -> None:
    found = world.findings()
    assert {(one.object, one.code) for one in found} == {
        (name, "ok")
        for name in ("right.test", "also.test", "helo", *OURS, *(f"{address}/bl.test" for address in OURS))
    }
    (right,) = (one for one in found if one.object == "right.test")
    assert "DKIM one rsa" in right.message
    assert "DKIM two ed25519" in right.message
    assert "DMARC reject" in right.message
    assert [(one.name, one.value) for one in right.measures] == [("spf_lookups", 2)]


LOOKUPS = txt("@", "v=spf1 include:s0.else.test -all")
SPF = RIGHT["spf"]
DKIM = RIGHT["dkim"]
TWO = txt("two._domainkey", public(CURVE))

WRONG = [
    ("mx-missing", CRITICAL, zone(mx="", spf=txt("@", "v=spf1 +all")), "no MX, and no address"),
    (
        "mx-missing",
        WARNING,
        zone(mx="@ A 192.0.2.10\n", spf=txt("@", "v=spf1 a ip6:2001:db8::/32 -all")),
        "ad",
    ),
    ("mx-null", CRITICAL, zone(mx="@ MX 0 .\n", spf=txt("@", "v=spf1 +all")), "takes no mail"),
    ("mx-unresolved", CRITICAL, zone(mx="@ MX 10 gone\n", spf=txt("@", "v=spf1 +all")), "gone.right.test"),
    ("mx-unresolved", WARNING, zone(mx="@ MX 10 gone\n@ MX 20 mail\n"), "gone.right.test"),
    ("mx-alias", WARNING, zone(mx="@ MX 10 alias\nalias CNAME mail\n"), "alias.right.test in MX is an alias"),
    (
        "mx-elsewhere",
        WARNING,
        zone(mx="@ MX 10 mail.else.test.\n", spf=txt("@", "v=spf1 +all")),
        "mail.else.t",
    ),
    ("spf-missing", WARNING, zone(spf=""), "no SPF"),
    ("spf-several", CRITICAL, zone(spf=SPF + txt("@", "v=spf1 -all")), "2 SPF records"),
    ("spf-syntax", CRITICAL, zone(spf=txt("@", "v=spf1 mxx -all")), "mxx"),
    ("spf-syntax", CRITICAL, zone(spf=txt("@", "v=spf1 mx include:nothing.else.test -all")), "evaluated"),
    ("spf-lookups", CRITICAL, zone(spf=LOOKUPS), "oo many"),
    ("spf-fails", CRITICAL, zone(spf=txt("@", "v=spf1 ip4:192.0.2.10 -all")), "2001:db8::10"),
    (
        "spf-fails",
        WARNING,
        zone(spf=txt("@", "v=spf1 ip6:2001:db8::10 ~all")),
        "softfail for mail from 192.0.2",
    ),
    ("dkim-missing", CRITICAL, zone(dkim=TWO), "selector one"),
    ("dkim-syntax", CRITICAL, zone(dkim=txt("one._domainkey", "v=DKIM1; p=!!") + TWO), "Base64"),
    ("dkim-syntax", CRITICAL, zone(dkim=txt("one._domainkey", "v=DKIM1; p=QUJD") + TWO), "no rsa key"),
    ("dkim-revoked", CRITICAL, zone(dkim=txt("one._domainkey", "v=DKIM1; p=") + TWO), "revoked"),
    (
        "dkim-mismatch",
        CRITICAL,
        zone(dkim=DKIM.replace("two.", "x.") + txt("two._domainkey", public(KEY))),
        "two",
    ),
    ("dmarc-missing", WARNING, zone(dmarc=""), "no DMARC"),
    ("dmarc-syntax", WARNING, zone(dmarc=txt("_dmarc", "v=DMARC1; p=rejekt")), "rejekt"),
    ("dmarc-syntax", WARNING, zone(dmarc=2 * RIGHT["dmarc"] + txt("_dmarc", "v=DMARC1; p=none")), "several"),
    (
        "dmarc-reports",
        WARNING,
        zone(dmarc=txt("_dmarc", "v=DMARC1; p=none; rua=mailto:x@else.test")),
        "else.",
    ),
    ("mta-sts-syntax", WARNING, zone(mta_sts=txt("_mta-sts", "v=STSv1; id=a-b")), "id"),
    ("tls-rpt-syntax", WARNING, zone(tls_rpt=txt("_smtp._tls", "v=TLSRPTv1; rua=someone")), "someone"),
]


ESSENTIAL = (
    *("mx-missing", "mx-alias", "mx-elsewhere", "spf-several", "spf-lookups", "spf-fails", "dkim-mismatch"),
    *("dmarc-missing", "reverse-missing", "listed", "blocklist-unknown"),
)


@pytest.mark.parametrize(("code", "severity", "text", "said"), once(WRONG, ESSENTIAL))
def test_a_wrong_record(world: World, code: str, severity: Severity, text: str, said: str) -> None:
    fault = world.names.changed("right.test", text)
    with faulty(world.settings, ["dns"], code, "right.test", fault, severity=severity) as found:
        assert said in found.message


@pytest.mark.full
def test_of_an_alias_domain_too(world: World) -> None:
    fault = world.names.changed("also.test", zone(spf="", dmarc=""))
    with faulty(world.settings, ["dns"], "spf-missing", "also.test", fault, severity=WARNING):
        pass


@pytest.mark.parametrize(
    ("record", "bits", "severity"),
    [(public(SHORT), 1024, WARNING), (WEAK, 768, CRITICAL)],
    ids=["1024", "768"],
)
def test_a_weak_key(world: World, record: str, bits: int, severity: Severity) -> None:
    own = world.with_(dkim_keys=())
    fault = world.names.changed("right.test", zone(dkim=txt("one._domainkey", record) + TWO))
    with faulty(own, ["dns"], "dkim-weak", "right.test", fault, severity=severity) as found:
        assert f"{bits} bits" in found.message


@pytest.mark.full
def test_a_signing_key_that_cannot_be_read(world: World) -> None:
    file = world.folder / "one.pem"

    @contextmanager
    def gone() -> Iterator[None]:
        file.rename(file.with_suffix(".away"))
        yield
        file.with_suffix(".away").rename(file)

    with faulty(world.settings, ["dns"], "dkim-key-unknown", "right.test", gone(), severity=UNKNOWN):
        pass


Fault = Callable[[World], AbstractContextManager[None]]
SERVER: list[tuple[str, str, Severity, Fault]] = [
    ("reverse-missing", OURS[0], WARNING, lambda w: w.names.changed("2.0.192.in-addr.arpa", "")),
    ("reverse-missing", OURS[1], WARNING, lambda w: w.names.changed(REVERSE6, "")),
    (
        *("reverse-mismatch", OURS[0], WARNING),
        lambda w: w.names.changed("2.0.192.in-addr.arpa", "10 PTR mail.else.test.\n"),
    ),
    ("helo-unresolved", "helo", WARNING, lambda w: w.names.changed("lab.test", "")),
    ("helo-elsewhere", "helo", WARNING, lambda w: w.names.changed("lab.test", "mail A 198.51.100.9\n")),
    (
        *("listed", f"{OURS[0]}/bl.test", CRITICAL),
        lambda w: w.names.changed("bl.test", '10.2.0.192 A 127.0.0.2\n10.2.0.192 TXT "spam\\009seen"\n'),
    ),
    (
        *("listed", f"{OURS[1]}/bl.test", CRITICAL),
        lambda w: w.names.changed("bl.test", f"{PTR6.split()[0]}.8.b.d.0.1.0.0.2 A 127.0.0.4\n"),
    ),
    (
        *("blocklist-unknown", f"{OURS[0]}/bl.test", UNKNOWN),
        lambda w: w.names.changed("bl.test", "10.2.0.192 A 127.255.255.254\n"),
    ),
    (
        *("blocklist-unknown", f"{OURS[0]}/bl.test", UNKNOWN),
        lambda w: w.names.changed("bl.test", "10.2.0.192 A 198.51.100.1\n"),
    ),
    (
        *("listed", "right.test/dbl.test", CRITICAL),
        lambda w: w.names.changed("dbl.test", "right.test A 127.0.1.2\n"),
    ),
    (
        *("blocklist-unknown", "right.test/dbl.test", UNKNOWN),
        lambda w: w.names.changed("dbl.test", "right.test A 127.0.1.255\n"),
    ),
]


@pytest.mark.parametrize(("code", "object", "severity", "fault"), once(SERVER, ESSENTIAL))
def test_of_our_addresses(world: World, code: str, object: str, severity: Severity, fault: Fault) -> None:
    more = ["dns/*.test/spf-fails"]
    with faulty(
        world.settings, ["dns"], code, object, fault(world), severity=severity, allowed=more
    ) as found:
        assert found.message.isprintable() or code == "listed"


@contextmanager
def hosted(world: World, name: str) -> Iterator[None]:
    """One more domain in the directory."""
    truth = settings_under(world.folder / "truth")
    with open_builder(truth) as make:
        make.domain(name)
    try:
        yield
    finally:
        with open_builder(truth) as make:
            make.remove("domain", name)


def test_name_servers_that_fail_are_told_apart_from_absence(world: World) -> None:
    fault = hosted(world, "broken.test")
    with faulty(world.settings, ["dns"], "dns-failed", "broken.test", fault, severity=UNKNOWN) as found:
        assert "SERVFAIL" in found.message


@pytest.mark.full
def test_a_domain_that_nobody_knows(world: World) -> None:
    with faulty(world.settings, ["dns"], "domain-missing", "no.else.test", hosted(world, "no.else.test")):
        pass


def test_a_resolver_that_says_nothing_costs_a_few_seconds_and_is_named(world: World) -> None:
    begun = time.monotonic()
    with silence() as resolver:
        (found,) = world.findings(world.with_(resolver=(resolver,)), 3.0)
    assert (found.code, found.severity) == ("resolver-silent", UNKNOWN)
    assert resolver in found.message
    assert time.monotonic() - begun < 3


def test_without_public_addresses_what_leads_here_is_not_guessed(world: World) -> None:
    found = world.findings(world.with_(addresses=()))
    assert {one.code for one in found} == {"ok", "addresses-unknown"}


def test_names_for_tests_are_left_out_without_a_resolver(world: World) -> None:
    (found,) = world.findings(world.with_(resolver=()))
    assert found.code == "ok"
    assert found.message.startswith("2 domains are left out")
    assert world.findings(world.with_(dns=False)) == []
