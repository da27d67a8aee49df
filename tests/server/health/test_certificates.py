"""Certificates: each fault is served by real servers, found, and gone when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from postmaster.dovecot import doveadm
from postmaster.health.finding import Severity
from postmaster.health.run import choose, run
from postmaster.settings import Settings
from tests.tools.certificates import Authority, Issued
from tests.tools.mail import Lab

from .conftest import faulty
from .faults import dovecot_with, postfix_with, served

CERTIFICATES = ["certificates"]
NAME = "mail.lab.test"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def settings(sick: Lab, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A lab with a good certificate of an authority that is trusted here."""
    file = tmp_path_factory.mktemp("authority") / "authority.pem"
    file.write_bytes(authority.certificate)
    with served(sick, authority.issue(NAME)):
        yield replace(sick.settings, health=replace(sick.settings.health, ca_file=str(file)))


@pytest.mark.parametrize(
    ("code", "severity", "names", "days"),
    [
        ("certificate-expired", Severity.critical, (NAME,), (-90, -1)),
        ("certificate-expires", Severity.warning, (NAME,), (-70, 20)),
        ("certificate-expires", Severity.critical, (NAME,), (-84, 6)),
        pytest.param(
            *("certificate-not-yet-valid", Severity.critical, (NAME,), (1, 90)), marks=pytest.mark.full
        ),
        ("certificate-name", Severity.critical, ("mail.elsewhere.test",), (-1, 90)),
    ],
)
def test_a_wrong_certificate(
    sick: Lab,
    settings: Settings,
    authority: Authority,
    code: str,
    severity: Severity,
    names: tuple[str, ...],
    days: tuple[float, float],
) -> None:
    fault = served(sick, authority.issue(*names, begins=days[0], ends=days[1]))
    others = [f"certificates/*/{code}"]
    with faulty(settings, CERTIFICATES, code, "imap", fault, severity=severity, allowed=others) as found:
        assert found.measures[0].name == "days"


def test_a_certificate_that_nobody_trusts(sick: Lab, settings: Settings, authority: Authority) -> None:
    fault = served(sick, authority.issue(NAME, itself=True))
    warning = Severity.warning
    with faulty(settings, CERTIFICATES, "certificate-untrusted", "smtp", fault, severity=warning) as found:
        assert "self-signed" in found.message


def test_a_renewed_certificate_that_is_not_reloaded(
    sick: Lab, settings: Settings, authority: Authority
) -> None:
    fault = served(sick, authority.issue(NAME, ends=180), reloaded=False)
    warning = Severity.warning
    with faulty(
        settings, CERTIFICATES, "certificate-not-reloaded", "imaps", fault, severity=warning
    ) as found:
        assert found.remedy == "doveadm reload"


def test_a_key_that_is_another_certificates(sick: Lab, settings: Settings, authority: Authority) -> None:
    """The servers go on with what they have; at their next start they have no TLS."""
    now = (sick.root / "tls" / "certificate.pem").read_bytes()
    other = Issued(now, authority.issue(NAME).key)
    file = sick.root / "tls" / "certificate.pem"
    others = ["certificates/*/certificate-key-mismatch"]
    fault = served(sick, other, reloaded=False)
    with faulty(settings, CERTIFICATES, "certificate-key-mismatch", f"Dovecot {file}", fault, allowed=others):
        pass


def test_a_file_that_is_gone(sick: Lab, settings: Settings) -> None:
    @contextmanager
    def fault() -> Iterator[None]:
        file = sick.root / "tls" / "key.pem"
        content = file.read_bytes()
        file.unlink()
        try:
            yield
        finally:
            file.write_bytes(content)
            file.chmod(0o600)

    certificate = sick.root / "tls" / "certificate.pem"
    others = ["certificates/*/certificate-file"]
    with faulty(
        settings, CERTIFICATES, "certificate-file", f"Postfix {certificate}", fault(), allowed=others
    ) as found:
        assert "key.pem" in found.message


@pytest.mark.full
def test_chain_files_and_names_of_their_own(sick: Lab, settings: Settings, authority: Authority) -> None:
    """smtpd_tls_chain_files holds key and certificate in one, and a listener may have another certificate."""
    issued = authority.issue(NAME, "other.test")
    chain = sick.root / "tls" / "chain.pem"
    chain.write_bytes(issued.key + issued.certificate + authority.certificate)
    chain.chmod(0o600)
    with postfix_with(sick, f"smtpd_tls_chain_files = {chain}"):
        found = {one.object: one for one in run(settings, choose(CERTIFICATES, []))}
        assert {one.code for one in found.values()} == {"ok"}
        assert "other.test" in found["smtp"].message
    with postfix_with(sick, submission=f"smtpd_tls_chain_files={chain}"):
        found = {one.object: one for one in run(settings, choose(CERTIFICATES, []))}
        assert {one.code for one in found.values()} == {"ok"}
        assert ("other.test" in found["submission"].message, "other.test" in found["smtp"].message) == (
            True,
            False,
        )
    names = ("ssl_server_cert_file = ", "ssl_server_key_file = ")
    if doveadm.version() < (2, 4):
        names = ("ssl_cert = <", "ssl_key = <")
    own = "\n".join(f"{name}{chain}" for name in names)
    with dovecot_with(sick, own):
        found = {one.object: one for one in run(settings, choose(CERTIFICATES, []))}
        assert {one.code for one in found.values()} == {"ok"}
        assert "other.test" in found["pop3"].message
    with dovecot_with(sick, f"protocol imap {{\n{own}\n}}"):
        found = {one.object: one for one in run(settings, choose(CERTIFICATES, []))}
        assert {one.code for one in found.values()} == {"ok"}
        assert ["other.test" in found[name].message for name in ("imap", "imaps", "pop3")] == [
            True,
            True,
            False,
        ]


def test_authorities_that_cannot_be_read(sick: Lab) -> None:
    settings = replace(sick.settings, health=replace(sick.settings.health, ca_file="/nonexistent.pem"))
    found = {one.object: one for one in run(settings, choose(CERTIFICATES, []))}
    assert found["authorities"].code == "ca-file-unreadable"
    assert found["imap"].code == "certificate-untrusted"
