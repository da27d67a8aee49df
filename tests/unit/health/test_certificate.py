"""Certificates: names, strength, and the files they come from."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from postmaster.health import certificate
from postmaster.health.certificate import covers, host_names, judge, read_pairs, weakness
from postmaster.settings import HealthSettings
from tests.tools.certificates import Authority, Issued

AUTHORITY = Authority()


def load(issued: Issued) -> x509.Certificate:
    return x509.load_pem_x509_certificate(issued.certificate)


@pytest.mark.parametrize(
    ("pattern", "name", "wanted"),
    [
        ("mail.example.org", "MAIL.example.org.", True),
        ("*.example.org", "mail.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "a.mail.example.org", False),
        ("*.org", "example.org", False),
        ("*", "example.org", False),
        ("m*.example.org", "mail.example.org", False),
    ],
)
def test_names(pattern: str, name: str, wanted: bool) -> None:
    assert covers(pattern, name) is wanted


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_name_covers_itself_and_any_text_is_compared(one: str, other: str) -> None:
    assert covers(one, one)
    assert covers(one, other) in (True, False)


def test_names_that_a_certificate_must_have() -> None:
    assert host_names(["mail.example.org"]) == ["mail.example.org"]
    assert host_names(("a.example.org", "b.example.org")) == ["a.example.org", "b.example.org"]
    assert host_names(["localhost"]) == []
    assert host_names(["192.0.2.1"]) == []


def test_all_that_is_wrong_is_said() -> None:
    issued = load(AUTHORITY.issue("other.test", begins=-9, ends=-1))
    found = [one.code for one in judge(issued, ["mail.test"], None, HealthSettings(), "renew")]
    assert found == ["certificate-expired", "certificate-name"]
    fine = load(AUTHORITY.issue("mail.test"))
    assert list(judge(fine, ["mail.test"], None, HealthSettings(), "renew")) == []
    nameless = load(AUTHORITY.issue())
    (lone,) = judge(nameless, ["mail.test"], None, HealthSettings(), "renew")
    assert "no name at all" in lone.words


def test_weak_keys() -> None:
    assert "1024" in weakness(load(AUTHORITY.issue("x.test", key=rsa.generate_private_key(65537, 1024))))
    assert "192" in weakness(load(AUTHORITY.issue("x.test", key=ec.generate_private_key(ec.SECP192R1()))))
    assert weakness(load(AUTHORITY.issue("x.test", key=rsa.generate_private_key(65537, 2048)))) == ""


def test_pairs_in_files(tmp_path: Path) -> None:
    one, other = AUTHORITY.issue("one.test"), AUTHORITY.issue("other.test")
    files = {
        "cert": one.certificate + AUTHORITY.certificate,
        "key": one.key,
        "wrong": other.key,
        "key first": one.key + one.certificate + AUTHORITY.certificate,
        "cert first": one.certificate + AUTHORITY.certificate + one.key,
        "both": one.key + one.certificate + AUTHORITY.certificate + other.key + other.certificate,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(b"a comment - with dashes\n" + content)

    def fits(*names: str) -> list[bool | None]:
        return [pair.key_fits for pair in read_pairs([tmp_path / name for name in names])]

    assert fits("key", "cert") == [True]
    assert fits("wrong", "cert") == [False]
    assert fits("cert") == [False]
    assert fits("key first") == fits("cert first") == [True]
    assert fits("both") == [True, True]


def test_a_key_with_a_password_cannot_be_told(tmp_path: Path) -> None:
    locked = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"
    old = (
        b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,AA\n\n"
        b"MIIB\n-----END RSA PRIVATE KEY-----\n"
    )
    for number, key in enumerate((locked, old)):
        (tmp_path / str(number)).write_bytes(key + AUTHORITY.issue("x.test").certificate)
        assert [pair.key_fits for pair in read_pairs([tmp_path / str(number)])] == [None]


_PART = st.sampled_from([b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n", b"-----", b"x"])


@given(st.lists(_PART))
def test_any_file_gives_pairs_or_a_value_error(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.pem"
    file.write_bytes(b"".join(parts))
    with suppress(ValueError):
        assert isinstance(read_pairs([file]), list)


def test_the_codes_of_a_judgement_are_listed() -> None:
    assert {"certificate-expired", "certificate-name"} <= set(certificate.CODES)
