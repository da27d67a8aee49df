"""Ways to send a report: what a setting means, and that no password or token is ever repeated."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.errors import PostmasterError, RightsError, SettingsError
from postmaster.health.report.ways import Way, addresses, as_object, parse_way, read_secret
from postmaster.render.escape import printable
from tests.tools.reports import all_well

NAME = "health.fallback"


@pytest.mark.parametrize(
    ("text", "way", "shown"),
    [
        ("sendmail", Way("sendmail"), "the local sendmail"),
        ("smtp://mx.example.net", Way("smtp", "mx.example.net", 25), "SMTP to mx.example.net port 25"),
        (
            "smtp://amy@mx.example.net:587/",
            Way("smtp", "mx.example.net", 587, "amy"),
            "SMTP to mx.example.net port 587",
        ),
        ("smtps://amy@a.test@[::1]", Way("smtps", "::1", 465, "amy@a.test"), "SMTPS to ::1 port 465"),
        (
            "https://hooks.test:8443/T0/{secret}?x=1",
            Way("https", "hooks.test", 8443, "", "https://hooks.test:8443/T0/{secret}?x=1"),
            "the webhook at hooks.test",
        ),
    ],
)
def test_a_way(text: str, way: Way, shown: str) -> None:
    assert parse_way(text, NAME) == way
    assert str(way) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("", "Sendmail", "sendmail -t", "/usr/sbin/sendmail", "smtp://", "smtp://h:0", "smtp://h:99999"),
        *("smtp://amy:secret@h", "smtp://h/path", "smtp://h\n", "smtp://h\r\nRCPT TO:<x>", "smtp://a b@h"),
        *(
            "http://hooks.test/x",
            "file:///etc/shadow",
            "ftp://h/x",
            "https://",
            "https://h/a b",
            "https://h/\n",
        ),
        *("https://user@h/x", "https://h:0/", "gopher://h"),
    ],
)
def test_what_is_no_way(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_way(text, NAME)
    assert NAME in refused.value.message
    assert "secret@" not in f"{refused.value.message}{refused.value.hint}"


@given(st.text() | st.from_regex(r"(smtps?|https)://.*"))
def test_any_text_is_a_way_or_refused_without_being_repeated(text: str) -> None:
    said = ""
    try:
        way = parse_way(text, NAME)
    except SettingsError as error:
        said = f"{error.message} {error.hint}"
    else:
        said = str(way)
        assert way.kind == "sendmail" or 0 < way.port < 65536
        assert not set(way.host + way.user + way.address) & set(" \r\n\t")
    assert said == printable(said)
    assert len(text) <= 40 or text not in said


def secret(folder: Path, content: bytes, mode: int = 0o600) -> str:
    file = folder / "secret"
    file.write_bytes(content)
    file.chmod(mode)
    return str(file)


@pytest.mark.parametrize("content", [b"s3cret", b"s3cret\n", b"s3cret\r\n"])
def test_a_secret_is_the_line_of_its_file(tmp_path: Path, content: bytes) -> None:
    assert read_secret(secret(tmp_path, content), NAME) == "s3cret"
    assert read_secret("", NAME) == ""


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"s3cret\x00", b"x" * 5000])
def test_what_is_no_secret(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SettingsError, match="does not hold one line with a secret"):
        read_secret(secret(tmp_path, content), NAME)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_secret_that_others_may_read_is_not_used(tmp_path: Path, mode: int) -> None:
    with pytest.raises(RightsError, match="others may read") as refused:
        read_secret(secret(tmp_path, b"s3cret", mode), NAME)
    assert "chmod 600" in (refused.value.hint or "")


def test_what_is_no_file_is_no_secret_and_holds_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("pipe", "gone", "."):
        with pytest.raises(SettingsError):
            read_secret(str(tmp_path / name), NAME)


@given(st.text(max_size=300))
def test_recipients_are_addresses_or_one_clear_line(text: str) -> None:
    said = ""
    try:
        found = addresses(text, "x")
    except PostmasterError as error:
        said = error.message
    else:
        assert all(one.isascii() and "@" in one for one in found)
    assert said.isprintable()


def test_recipients_stand_between_commas() -> None:
    assert addresses("amy@example.org, bob@bücher.example,", "x") == (
        "amy@example.org",
        "bob@xn--bcher-kva.example",
    )


def test_a_webhook_is_told_what_the_message_says_of_itself() -> None:
    from postmaster.health.report.mail import message

    made = message(all_well())
    told = as_object(made)
    assert told["message_id"] == made["Message-ID"]
    assert (told["status"], told["mail_flows"]) == ("ok", True)
    assert told["subject"] == "mail.example.org: all is well"
    assert str(told["text"]).startswith("mail.example.org: all is well\n\nmail.example.org: all is well\n")
