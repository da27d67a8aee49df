"""Mail in by SMTP, out by IMAP and POP3; who is refused, and what stays in the house."""

from __future__ import annotations

import email

import pytest

from tests.tools.mail import Lab, password_hash
from tests.tools.sink import Sink


def a_user(lab: Lab, *addresses: str) -> None:
    with lab.change() as make:
        for one in addresses:
            make.user(one, password_hash=password_hash())


def by_pop3(lab: Lab, login: str) -> list[str]:
    """The subjects in the mailbox, read by POP3."""
    with lab.pop3(login, name="pop3s") as client:
        total = len(client.list()[1])
        contents = [b"\r\n".join(client.retr(number + 1)[1]) for number in range(total)]
    return [str(email.message_from_bytes(content)["Subject"]) for content in contents]


def test_mail_to_a_user_is_read_back_by_imap_and_pop3(lab: Lab, domain: str) -> None:
    amy = f"amy@{domain}"
    lab.postmaster("user", "add", amy, "--password-stdin", stdin="correct horse battery\n")
    lab.send(amy, "to a user", body="Grüße".encode("ascii", "backslashreplace").decode())
    (message,) = lab.wait_for(amy, "to a user")
    assert message["Delivered-To"] == amy
    assert by_pop3(lab, amy) == ["to a user"]


def test_the_inbox_is_the_maildir_itself_in_both_lines_of_dovecot(lab: Lab, domain: str) -> None:
    """Else an upgrade would hide all mail, and so would mailboxes that other programs made."""
    amy = f"amy@{domain}"
    a_user(lab, amy)
    lab.send(amy, "where it lies")
    lab.wait_for(amy, "where it lies")
    home = lab.home(amy)
    assert [path.parent.parent for path in home.rglob("*") if ",S=" in path.name] == [home / "Maildir"]


def test_an_alias_with_two_targets_reaches_both(lab: Lab, domain: str) -> None:
    amy, bob = f"amy@{domain}", f"bob@{domain}"
    a_user(lab, amy, bob)
    lab.postmaster("alias", "set", f"team@{domain}", amy, bob)
    lab.send(f"team@{domain}", "to the team")
    assert len(lab.wait_for(amy, "to the team")) == 1
    assert len(lab.wait_for(bob, "to the team")) == 1


def test_a_forward_that_keeps_a_copy(lab: Lab, domain: str, outside: Sink) -> None:
    amy = f"amy@{domain}"
    a_user(lab, amy)
    lab.postmaster("forward", "set", amy, "amy@elsewhere.test", "--keep-copy")
    lab.send(amy, "forwarded and kept")
    lab.wait_for(amy, "forwarded and kept")
    assert b"Subject: forwarded and kept" in outside.wait_for("amy@elsewhere.test").content
    assert by_pop3(lab, amy) == ["forwarded and kept"]


def test_a_forward_that_keeps_no_copy(lab: Lab, domain: str, outside: Sink) -> None:
    amy = f"amy@{domain}"
    a_user(lab, amy)
    lab.postmaster("forward", "set", amy, "amy@elsewhere.test", "--no-keep-copy")
    lab.send(amy, "forwarded only")
    outside.wait_for("amy@elsewhere.test")
    assert lab.mailbox(amy) == []


def test_a_tag_reaches_the_user_and_the_targets_here(lab: Lab, domain: str) -> None:
    amy, bob = f"amy@{domain}", f"bob@{domain}"
    a_user(lab, amy, bob)
    with lab.change() as make:
        make.alias(f"team@{domain}", amy)
        make.forward(amy, bob)
    lab.send(f"amy+news@{domain}", "tagged one")
    lab.send(f"team+news@{domain}", "tagged two")
    for subject in ("tagged one", "tagged two"):
        assert len(lab.wait_for(amy, subject)) == 1
        assert len(lab.wait_for(bob, subject)) == 1
    log = lab.log()
    for recipient, first in (("amy", "amy"), ("bob", "amy"), ("amy", "team"), ("bob", "team")):
        orig_to = "" if recipient == first else f" orig_to=<{first}+news@{domain}>,"
        assert f" to=<{recipient}+news@{domain}>,{orig_to} relay=" in log


def test_a_tag_on_a_remote_forward_does_not_leave_the_house(lab: Lab, domain: str, outside: Sink) -> None:
    amy = f"amy@{domain}"
    a_user(lab, amy)
    with lab.change() as make:
        make.forward(amy, "amy@elsewhere.test", keep_copy=False)
        make.alias(f"away@{domain}", "away@elsewhere.test")
    lab.send(f"amy+secret@{domain}", "tag stays")
    lab.send(f"away+secret@{domain}", "tag stays too")
    outside.wait_for("amy@elsewhere.test")
    outside.wait_for("away@elsewhere.test")
    assert not any("+" in one for message in outside.messages for one in message.recipients)


def test_a_catch_all_takes_the_rest_and_swallows_nobody(lab: Lab, domain: str) -> None:
    amy, bob = f"amy@{domain}", f"bob@{domain}"
    a_user(lab, amy, bob)
    lab.postmaster("alias", "set", f"@{domain}", amy)
    lab.send(f"anything@{domain}", "for the rest")
    lab.send(bob, "for bob")
    lab.send(f"bob+tag@{domain}", "for bob tagged")
    lab.wait_for(amy, "for the rest")
    lab.wait_for(bob, "for bob", count=2)
    assert [str(m["Subject"]) for m in lab.mailbox(amy)] == ["for the rest"]


def test_a_catch_all_does_not_take_the_mail_of_who_does_not_receive(lab: Lab, domain: str) -> None:
    amy, bob = f"amy@{domain}", f"bob@{domain}"
    a_user(lab, amy, bob)
    lab.postmaster("alias", "set", f"@{domain}", amy)
    assert lab.rcpt(bob)[0] == 250
    lab.postmaster("user", "set", bob, "--no-receive")
    for recipient in (bob, f"bob+tag@{domain}"):
        code, text = lab.rcpt(recipient)
        assert code == 550
        assert "disabled" in text
    assert lab.rcpt(f"anyone@{domain}")[0] == 250
    lab.postmaster("user", "set", bob, "--receive")
    assert lab.rcpt(bob)[0] == 250


def test_a_catch_all_does_not_take_what_leads_only_to_who_does_not_receive(lab: Lab, domain: str) -> None:
    amy, bob, carl = f"amy@{domain}", f"bob@{domain}", f"carl@{domain}"
    a_user(lab, amy, bob, carl)
    lab.postmaster("alias", "set", f"@{domain}", carl)
    lab.postmaster("forward", "set", bob, amy, "--no-keep-copy")
    lab.postmaster("alias", "set", f"a1@{domain}", bob)
    lab.postmaster("alias", "set", f"a2@{domain}", f"a1@{domain}")
    named = (amy, bob, f"a1@{domain}", f"a2@{domain}", f"a2+tag@{domain}")
    assert [lab.rcpt(one)[0] for one in named] == [250] * 5
    lab.postmaster("user", "set", amy, "--no-receive")
    assert [lab.rcpt(one)[0] for one in named] == [550] * 5
    assert lab.rcpt(f"anyone@{domain}")[0] == 250
    lab.postmaster("setup", "check")


def test_who_does_not_receive_is_refused(lab: Lab, domain: str) -> None:
    amy = f"amy@{domain}"
    a_user(lab, amy)
    with lab.change() as make:
        make.domain(f"alias-{domain}", domain)
    lab.postmaster("user", "set", amy, "--no-receive")
    for recipient in (amy, f"amy+tag@{domain}", f"amy@alias-{domain}", f"amy+tag@alias-{domain}"):
        assert lab.rcpt(recipient)[0] == 550
    assert lab.may_login("imap", amy)


def test_an_internationalised_domain(lab: Lab, domain: str) -> None:
    unicode_name = f"bücher-{domain}"
    lab.postmaster("domain", "add", unicode_name)
    ascii_name = unicode_name.split(".")[0].encode("idna").decode() + ".test"
    a_user(lab, f"amy@{unicode_name}")
    lab.send(f"amy@{ascii_name}", "to an A-label")
    lab.wait_for(f"amy@{ascii_name}", "to an A-label")
    assert by_pop3(lab, f"amy@{ascii_name}") == ["to an A-label"]
    assert lab.rcpt(f"nobody@{ascii_name}")[0] == 550


@pytest.mark.parametrize(
    "local", ["nobody", "nobody+tag", "amy.nobody", "amy'", '"amy b"', "a%b", "postmaster"]
)
def test_an_unknown_address_is_refused(lab: Lab, domain: str, local: str) -> None:
    with lab.change() as make:
        make.user(f"amy@{domain}", password_hash=password_hash())
        make.domain(f"alias-{domain}", domain)
    assert lab.rcpt(f"amy@alias-{domain}")[0] == 250
    assert lab.rcpt(f"{local}@{domain}")[0] in (550, 501, 554)
    assert lab.rcpt(f"{local}@alias-{domain}")[0] in (550, 501, 554)
    code, _ = lab.rcpt(f"nobody@{domain}")
    assert code == 550
    code, _ = lab.rcpt(f"nobody@alias-{domain}")
    assert code == 550


def test_mail_to_an_alias_domain_is_delivered(lab: Lab, domain: str) -> None:
    amy = f"amy@{domain}"
    a_user(lab, amy)
    with lab.change() as make:
        make.domain(f"alias-{domain}", domain)
        make.alias(f"team@{domain}", amy)
    lab.send(f"amy@alias-{domain}", "by the twin")
    lab.send(f"team+tag@alias-{domain}", "by the twin's list")
    lab.wait_for(amy, "by the twin", count=2)


def test_a_stranger_cannot_relay(lab: Lab, domain: str) -> None:
    code, text = lab.rcpt("anybody@elsewhere.test")
    assert code == 554
    assert "Relay access denied" in text


def test_who_is_removed_is_refused_at_the_next_recipient(lab: Lab, domain: str) -> None:
    amy = f"amy@{domain}"
    a_user(lab, amy)
    with lab.smtp() as client:
        client.mail("stranger@outside.test")
        assert client.rcpt(amy)[0] == 250
        lab.postmaster("user", "remove", amy, "--yes")
        assert client.rcpt(amy)[0] == 550


def test_an_address_made_again_starts_with_an_empty_mailbox(lab: Lab, domain: str) -> None:
    amy = f"amy@{domain}"
    a_user(lab, amy)
    lab.send(amy, "of the first amy")
    lab.wait_for(amy, "of the first amy")
    done = lab.postmaster("user", "remove", amy, "--yes")
    a_user(lab, amy)
    assert lab.mailbox(amy) == []
    assert f"undo: postmaster --config {lab.status.settings_file} user restore {amy}" in done.stderr


def test_mail_beyond_the_quota_comes_back(lab: Lab, domain: str) -> None:
    amy, bob = f"amy@{domain}", f"bob@{domain}"
    a_user(lab, amy, bob)
    lab.postmaster("user", "set", bob, "--quota", "20K")
    with lab.submission(amy) as client:
        client.sendmail(
            amy, [bob], f"From: {amy}\r\nTo: {bob}\r\nSubject: too much\r\n\r\n{'x' * 70 + chr(10)}" * 600
        )
    (notice,) = lab.wait_for(amy, "Undelivered")
    assert "Quota exceeded" in notice.as_string() or "full" in notice.as_string()
    assert lab.mailbox(bob) == []
