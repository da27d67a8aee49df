"""What DNSSEC and TLS vouch for: DANE through a resolver that validates, MTA-STS from a page by HTTPS."""

from __future__ import annotations

import datetime
import hashlib
import http.server
import ipaddress
import os
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from postmaster.directory.migrate import initialise
from postmaster.health.checks import dns
from postmaster.health.finding import Context, Finding, Severity
from postmaster.settings import Settings
from tests.tools.building import open_builder, settings_under
from tests.tools.certificates import Authority
from tests.tools.mail import Lab
from tests.tools.names import NameServer, Signer, Validator, silence

from .conftest import faulty
from .faults import served

NAMES = ("mail.lab.test", "mail.safe.test", "mail.plain.test")
OURS = "192.0.2.10"
MAIL = '@ MX 10 mail\nmail A 192.0.2.10\n@ TXT "v=spf1 mx -all"\n_dmarc TXT "v=DMARC1; p=none"\n'
PAGE = f"127.{os.getpid() >> 8 & 127}.{os.getpid() & 255}.43"


@pytest.fixture(scope="module", autouse=True)
def authority(sick: Lab) -> Iterator[Authority]:
    """Who issued what the lab serves: a certificate with the names of all MX here."""
    own = Authority()
    with served(sick, own.issue(*NAMES)):
        yield own


def tlsa(certificate: bytes, usage: int = 3) -> str:
    """The record of a certificate's key (SHA2-256): itself (DANE-EE), or with 2 an authority's (DANE-TA)."""
    key = x509.load_pem_x509_certificate(certificate).public_key()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"_25._tcp.mail TLSA {usage} 1 1 {hashlib.sha256(der).hexdigest()}\n"


def settings(sick: Lab, folder: Path, resolver: str, *domains: str) -> Settings:
    truth = settings_under(folder / "truth")
    initialise(truth)
    with open_builder(truth) as make:
        for domain in domains:
            make.domain(domain)
    health = replace(sick.settings.health, resolver=(resolver,), addresses=(OURS,))
    return replace(sick.settings, directory=truth.directory, health=health)


def codes(own: Settings) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in look(own):
        found.setdefault(one.object, set()).add(one.code)
    return found


def look(own: Settings) -> list[Finding]:
    return list(dns.run(Context(own, time.monotonic() + 8)))


@dataclass
class Secured:
    names: NameServer
    settings: Settings
    served: str
    signer: Signer
    validator: Validator


@pytest.fixture(scope="module")
def secured(sick: Lab, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A signed zone with the TLSA record of what the lab serves, and a resolver that validates it."""
    folder = tmp_path_factory.mktemp("secured")
    record = tlsa((sick.root / "tls" / "certificate.pem").read_bytes())
    signer = Signer()
    zones = {
        "safe.test": signer.signed("safe.test", MAIL + record),
        "lab.test": "mail A 192.0.2.10\n",
        "2.0.192.in-addr.arpa": "10 PTR mail.lab.test.\n",
        "plain.test": MAIL + "_25._tcp.mail TLSA 3 1 1 " + "00" * 32 + "\n",
    }
    names = NameServer(folder, zones)
    with silence() as mute:
        stubs = {**dict.fromkeys(zones, names.resolver), "late.test": mute}
        validator = Validator(folder, stubs, [signer.anchor("safe.test")])
        own = settings(sick, folder, validator.resolver, "safe.test", "plain.test")
        yield Secured(names, own, record, signer, validator)
        validator.close()
    names.close()


def test_the_certificate_that_is_served_is_that_of_tlsa(secured: Secured) -> None:
    (found,) = (one for one in look(secured.settings) if one.object == "safe.test")
    assert found.code == "ok"
    assert "DANE mail.safe.test" in found.message


def test_without_dnssec_tlsa_is_not_judged(secured: Secured) -> None:
    (found,) = (one for one in look(secured.settings) if one.object == "plain.test")
    assert found.code == "ok"
    assert "does not vouch" in found.message


def test_another_certificate_is_served_than_tlsa_has(secured: Secured) -> None:
    other = secured.served.replace("1 1 ", "1 1 00")[:-3] + "\n"
    fault = secured.names.changed("safe.test", secured.signer.signed("safe.test", MAIL + other))
    with faulty(secured.settings, ["dns"], "dane-mismatch", "safe.test", fault) as found:
        assert "mail.safe.test" in found.message


@pytest.mark.parametrize(
    ("usage", "severity"),
    [pytest.param(3, Severity.warning, marks=pytest.mark.full), (2, Severity.critical)],
    ids=["DANE-EE", "DANE-TA"],
)
def test_the_certificate_at_port_25_lacks_the_name_in_mx(
    secured: Secured, sick: Lab, authority: Authority, usage: int, severity: Severity
) -> None:
    """A TLSA record for the certificate itself makes its names moot; one for an authority does not."""

    @contextmanager
    def fault() -> Iterator[None]:
        other = authority.issue("mail.lab.test", "*.elsewhere.test")
        record = tlsa(other.certificate if usage == 3 else authority.certificate, usage)
        zone = secured.signer.signed("safe.test", MAIL + record)
        with secured.names.changed("safe.test", zone), served(sick, other):
            secured.validator.restart()
            yield
        secured.validator.restart()

    with faulty(
        secured.settings, ["dns"], "mx-certificate", "safe.test", fault(), severity=severity
    ) as found:
        assert "is for mail.lab.test, *.elsewhere.test, not for mail.safe.test" in found.message
        assert ("DANE does not deliver" in found.message) == (usage == 2)


def test_a_zone_is_signed_by_another_key(secured: Secured) -> None:
    @contextmanager
    def broken() -> Iterator[None]:
        with secured.names.changed("safe.test", Signer().signed("safe.test", MAIL + secured.served)):
            secured.validator.restart()
            yield
        secured.validator.restart()

    with faulty(secured.settings, ["dns"], "dnssec-broken", "safe.test", broken()) as found:
        assert "DNSSEC" in found.message


@pytest.mark.full
def test_one_domains_name_servers_say_nothing(secured: Secured) -> None:
    own = secured.settings

    @contextmanager
    def hosted() -> Iterator[None]:
        truth = settings_under(Path(str(own.directory.file)).parent)
        with open_builder(truth) as make:
            make.domain("late.test")
        try:
            yield
        finally:
            with open_builder(truth) as make:
                make.remove("domain", "late.test")

    with faulty(own, ["dns"], "dns-timeout", "late.test", hosted(), severity=Severity.unknown):
        assert codes(own)["safe.test"] == {"ok"}


def certificates(folder: Path, name: str) -> tuple[Path, Path]:
    """(an authority, a certificate with its key that it issued)."""
    now = datetime.datetime.now(datetime.UTC)
    authority = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())

    def issue(subject: str, public: Any, is_authority: bool) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=9))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
            .sign(authority, hashes.SHA256())
        )

    pem = serialization.Encoding.PEM
    top, leaf = folder / "authority.pem", folder / "leaf.pem"
    top.write_bytes(issue("authority", authority.public_key(), True).public_bytes(pem))
    leaf.write_bytes(
        issue(name, key.public_key(), False).public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return top, leaf


class Page:
    """A web server with one page, whose text and certificate can be changed."""

    def __init__(self, certificate: Path) -> None:
        self.text, self.status = "", 200
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(page.status if self.path == "/.well-known/mta-sts.txt" else 404)
                self.end_headers()
                self.wfile.write(page.text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._server = http.server.ThreadingHTTPServer((PAGE, 443), Handler, bind_and_activate=True)
        self._server.socket = self._context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @contextmanager
    def changed(self, text: str = "", status: int = 200) -> Iterator[None]:
        before = self.text, self.status
        self.text, self.status = text, status
        try:
            yield
        finally:
            self.text, self.status = before

    def show(self, certificate: Path) -> None:
        self._context.load_cert_chain(certificate)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


RIGHT = "version: STSv1\nmode: {}\nmx: {}\nmax_age: 86400\n"


@pytest.fixture
def page(
    sick: Lab, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Page, Settings, NameServer, Path]]:
    page_authority, leaf = certificates(tmp_path, "mta-sts.safe.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(page_authority))
    zones = {
        "safe.test": MAIL + f'_mta-sts TXT "v=STSv1; id=1"\nmta-sts A {PAGE}\n',
        "lab.test": "mail A 192.0.2.10\n",
        "2.0.192.in-addr.arpa": "10 PTR mail.lab.test.\n",
    }
    names = NameServer(tmp_path, zones)
    made = Page(leaf)
    made.text = RIGHT.format("enforce", "*.safe.test")
    own = settings(sick, tmp_path, names.resolver, "safe.test")
    (tmp_path / "trusted.pem").write_bytes(authority.certificate)
    yield (
        made,
        replace(own, health=replace(own.health, ca_file=str(tmp_path / "trusted.pem"))),
        names,
        tmp_path,
    )
    made.close()
    names.close()


def test_a_policy_is_right_or_leaves_out_an_mx_or_cannot_be_had(page: Any) -> None:
    web, own, names, folder = page
    (found,) = (one for one in look(own) if one.object == "safe.test")
    assert "MTA-STS enforce" in found.message
    elsewhere = RIGHT.format("{}", "mail.other.test")
    with faulty(own, ["dns"], "mta-sts-mx", "safe.test", web.changed(elsewhere.format("enforce"))) as found:
        assert "mail.safe.test is in MX" in found.message
    warning, unknown = Severity.warning, Severity.unknown
    for code, severity, fault in (
        ("mta-sts-mx", warning, web.changed(elsewhere.format("testing"))),
        ("mta-sts-policy", warning, web.changed("<html>")),
        ("mta-sts-policy", warning, web.changed("", 404)),
        (
            *("mta-sts-unknown", unknown),
            names.changed("safe.test", names.zones["safe.test"].replace(PAGE, "127.9.9.9")),
        ),
    ):
        with faulty(own, ["dns"], code, "safe.test", fault, severity=severity):
            pass
    (folder / "other").mkdir()
    _, stranger = certificates(folder / "other", "mta-sts.safe.test")
    web.show(stranger)
    assert codes(own)["safe.test"] == {"mta-sts-policy"}
    assert ipaddress.ip_address(PAGE).is_loopback


@pytest.mark.parametrize(
    ("mode", "severity"),
    [
        ("enforce", Severity.critical),
        pytest.param("testing", Severity.warning, marks=pytest.mark.full),
        pytest.param("none", Severity.warning, marks=pytest.mark.full),
    ],
)
def test_mta_sts_demands_the_name_in_mx(
    page: Any, sick: Lab, authority: Authority, mode: str, severity: Severity
) -> None:
    web, own, _, _ = page
    web.text = RIGHT.format(mode, "*.safe.test")
    fault = served(sick, authority.issue("mail.lab.test"))
    with faulty(own, ["dns"], "mx-certificate", "safe.test", fault, severity=severity) as found:
        assert "not for mail.safe.test, which is in MX" in found.message
        assert (f"MTA-STS in mode {mode}" in found.message) == (mode != "none")


def test_mta_sts_demands_a_certificate_that_others_trust(page: Any, sick: Lab) -> None:
    _, own, _, _ = page
    fault = served(sick, Authority().issue(*NAMES))
    with faulty(own, ["dns"], "mx-certificate", "safe.test", fault) as found:
        assert "is not trusted" in found.message
