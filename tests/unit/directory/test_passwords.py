"""Passwords: what is accepted, what is stored, and that messages never repeat a secret."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.directory import passwords
from postmaster.errors import PasswordError

GOOD = {
    "ARGON2ID": "$argon2id$v=19$m=65536,t=3,p=1$c2FsdHNhbHRzYWx0c2FsdA$"
    "aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g",
    "BLF-CRYPT": "$2y$05$" + "a" * 53,
    "SHA512-CRYPT": "$6$rounds=5000$saltsalt$" + "a" * 86,
    "SHA256-CRYPT": "$5$saltsalt$" + "a" * 43,
    "MD5-CRYPT": "$1$saltsalt$" + "a" * 22,
    "SSHA512": "YWJj" * 24,
    "SSHA256": "YWJj" * 12,
    "SSHA": "YWJj" * 8,
    "PBKDF2": "$1$salt$5000$" + "0a" * 20,
    "SCRAM-SHA-256": "4096,c2FsdA==,YWJj,YWJj",
}


def test_a_password_becomes_argon2id_of_nineteen_mebibytes_and_verifies() -> None:
    stored = passwords.hash_password("korrekt pferd")
    assert stored.startswith("{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$")
    assert passwords.verify("korrekt pferd", stored)
    assert not passwords.verify("falsch pferd", stored)
    assert passwords.check_hash(stored) == stored


def test_two_spellings_of_one_password_are_one() -> None:
    composed, decomposed = "pässword", "pa\u0308ssword"
    assert passwords.check_password(decomposed) == composed
    assert passwords.verify(decomposed, passwords.hash_password(composed))


@pytest.mark.parametrize(
    "bad", ["", "seven77", "tab\tinside", "nul\0inside", "line\ninside", "x" * 1025, "\ud800" * 8]
)
def test_a_bad_password_is_refused_without_being_repeated(bad: str) -> None:
    with pytest.raises(PasswordError) as caught:
        passwords.check_password(bad)
    assert not bad or bad not in f"{caught.value} {caught.value.hint}"


@given(st.text())
def test_any_text_is_taken_or_refused_and_never_fails_otherwise(text: str) -> None:
    try:
        taken = passwords.check_password(text)
    except PasswordError:
        return
    assert passwords.check_password(taken) == taken


@pytest.mark.parametrize("scheme", GOOD)
def test_hashes_from_elsewhere_are_kept_as_they_are(scheme: str) -> None:
    assert passwords.check_hash(f"{{{scheme}}}{GOOD[scheme]}") == f"{{{scheme}}}{GOOD[scheme]}"
    assert passwords.check_hash(f"{{{scheme.lower()}}}{GOOD[scheme]}") == f"{{{scheme}}}{GOOD[scheme]}"


@pytest.mark.parametrize("scheme", ["ARGON2ID", "BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "MD5-CRYPT"])
def test_a_crypt_hash_tells_its_scheme_itself(scheme: str) -> None:
    assert passwords.check_hash(GOOD[scheme]) == f"{{{scheme}}}{GOOD[scheme]}"
    assert passwords.check_hash("{CRYPT}" + GOOD[scheme]) == f"{{{scheme}}}{GOOD[scheme]}"


@pytest.mark.parametrize("scheme", ["SHA512-CRYPT", "SHA256-CRYPT", "MD5-CRYPT"])
def test_a_salt_may_have_what_crypt_takes(scheme: str) -> None:
    """PostfixAdmin makes salts of base64: every fifth hash of its sha512.b64 has a plus in it."""
    for odd in "+-_=@#,<>[]{}|~^'\"":
        given = GOOD[scheme].replace("saltsalt", f"s{odd}ltsalt")
        assert passwords.check_hash(given) == f"{{{scheme}}}{given}"
    for refused in "$:*!;\\ \n":
        with pytest.raises(PasswordError):
            passwords.check_hash(GOOD[scheme].replace("saltsalt", f"s{refused}ltsalt"))


@pytest.mark.parametrize("scheme", ["BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "MD5-CRYPT"])
@pytest.mark.parametrize("suffix", [".B64", ".b64", ".BASE64"])
def test_a_crypt_hash_in_base64_becomes_plain(scheme: str, suffix: str) -> None:
    packed = base64.b64encode(GOOD[scheme].encode()).decode()
    assert passwords.check_hash(f"{{{scheme}{suffix}}}{packed}") == f"{{{scheme}}}{GOOD[scheme]}"


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "{SHA512-CRYPT.B64}hunter2",
        "{SHA512-CRYPT.B64}////",
        "{SHA512-CRYPT.B64}" + base64.b64encode(GOOD["MD5-CRYPT"].encode()).decode(),
        "hunter2hunter2",
        "{PLAIN}hunter2",
        "{CLEARTEXT}hunter2",
        "{PLAIN-MD5}d41d8cd98f00b204e9800998ecf8427e",
        "{CRAM-MD5}" + "0a" * 32,
        "{SHA}YWJj",
        "{NONSENSE}x",
        "{ARGON2ID}hunter2",
        "{SSHA}short",
        "{BLF-CRYPT}$2y$05$short",
        "{SHA512-CRYPT}" + GOOD["SHA256-CRYPT"],
        GOOD["BLF-CRYPT"] + "\n",
        "{SSHA}" + "YWJj" * 8 + " x",
        "{SSHA}" + "a" * 600,
    ],
)
def test_what_is_no_hash_or_gives_the_password_away_is_refused(bad: str) -> None:
    with pytest.raises(PasswordError) as caught:
        passwords.check_hash(bad)
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


def test_a_generated_password_is_long_new_each_time_and_acceptable() -> None:
    made = {passwords.generate_password() for _ in range(50)}
    assert len(made) == 50
    for one in made:
        assert re.fullmatch(r"(?:[a-km-np-z2-9]{5}-){4}[a-km-np-z2-9]{5}", one)
        assert passwords.check_password(one) == one
