"""Who may send as what: submission's own answers, before and after each grant, beside what explain says."""

from __future__ import annotations

import json

from postmaster.address import parse_address
from postmaster.process import run
from postmaster.routing.sender import SenderExplanation, explain
from tests.tools.mail import Lab, password_hash

from .conftest import configured


def answers(lab: Lab, login: str, *senders: str) -> list[tuple[int, str]]:
    """What submission says to RCPT, where senders are checked."""
    found = []
    with lab.submission(login) as client:
        for sender in senders:
            client.mail(sender)
            code, text = client.rcpt(login)
            found.append((code, text.decode()))
            client.rset()
    return found


def said(lab: Lab, login: str, sender: str) -> SenderExplanation:
    found = explain(lab.settings, parse_address(login), parse_address(sender) if sender else None)
    assert found.differences == ()
    foreign = sender.endswith("@elsewhere.test")
    assert ["would take over its mail" in note for note in found.notes] == [True] * foreign
    return found


def test_553_before_a_grant_accepted_after_it_and_553_after_its_end(lab: Lab, domain: str) -> None:
    amy, sales = f"amy@{domain}", f"sales@{domain}"
    with lab.change() as make:
        make.user(amy, password_hash=password_hash())
        make.domain(f"twin-{domain}", domain)
    with lab.submission(amy) as client:  # one session: a grant and its end hold in an open one

        def ask(sender: str) -> int:
            client.rset()
            client.mail(sender)
            code, text = client.rcpt(amy)
            found = said(lab, amy, sender)
            assert found.code == code, (sender, text, found)
            return code

        assert [ask(amy), ask(f"amy+tag@{domain}"), ask(f"amy@twin-{domain}"), ask("")] == [250] * 4
        assert [ask(sales), ask(f"sales@twin-{domain}"), ask("x@elsewhere.test")] == [553] * 3
        lab.postmaster("sender", "grant", amy, sales)
        assert [ask(sales), ask(f"sales+x@{domain}"), ask(f"sales@twin-{domain}")] == [250] * 3
        assert ask(f"other@{domain}") == 553
        lab.postmaster("sender", "revoke", amy, f"sales@twin-{domain}", "--yes")
        assert [ask(sales), ask(f"sales@twin-{domain}")] == [553] * 2
        lab.postmaster("sender", "grant", amy, f"@{domain}")
        assert [ask(sales), ask(f"other@{domain}"), ask(f"any+x@twin-{domain}")] == [250] * 3
        lab.postmaster("sender", "revoke", amy, f"@{domain}", "--yes")
        assert [ask(sales), ask(f"other@{domain}")] == [553] * 2


def test_a_grant_takes_nothing_from_the_owner_and_gives_nothing_to_others(lab: Lab, domain: str) -> None:
    amy, bob, carl = (f"{name}@{domain}" for name in ("amy", "bob", "carl"))
    with lab.change() as make:
        for user in (amy, bob, carl):
            make.user(user, password_hash=password_hash())
    lab.postmaster("sender", "grant", amy, bob)
    assert [code for code, _ in answers(lab, amy, amy, bob, carl)] == [250, 250, 553]
    assert [code for code, _ in answers(lab, bob, amy, bob, carl)] == [553, 250, 553]
    (_, text) = answers(lab, carl, bob)[0]
    assert f"not owned by user {carl}" in text
    assert said(lab, amy, bob).rule == "grant"
    assert set(said(lab, amy, bob).owners) == {amy, bob}
    lab.postmaster("sender", "grant", carl, f"@{domain}")
    # Postfix stops at the first key that answers, so who has the domain must be named there too.
    assert [code for code, _ in answers(lab, carl, amy, bob, carl, f"new@{domain}")] == [250] * 4
    assert [code for code, _ in answers(lab, bob, bob)] == [250]


def test_it_says_which_rule_decides_and_what_would_change_it(lab: Lab, domain: str) -> None:
    amy = f"amy@{domain}"
    with lab.change() as make:
        make.user(amy, password_hash=password_hash())
        make.user(f"bob@{domain}")
    refused = said(lab, amy, f"bob@{domain}")
    assert (refused.code, refused.rule) == (553, "not_owned")
    rules = []
    for command in refused.changes:
        lab.postmaster(*command.removeprefix("postmaster ").split())
        allowed = said(lab, amy, f"bob@{domain}")
        rules.append((allowed.code, allowed.rule))
        assert len(allowed.owners) == len(set(allowed.owners))
        lab.postmaster(*allowed.changes[0].removeprefix("postmaster ").split(), "--yes")
        assert said(lab, amy, f"bob@{domain}").code == 553
    assert rules == [(250, "grant"), (250, "domain_grant")]
    lab.postmaster(*said(lab, amy, amy).changes[0].removeprefix("postmaster ").split())
    stopped = said(lab, amy, amy)
    assert (stopped.code, stopped.rule) == (554, "may_not_send")
    assert "switched off" in stopped.reason
    lab.postmaster(*stopped.changes[0].removeprefix("postmaster ").split())
    assert said(lab, amy, amy).code == 250
    unknown = said(lab, f"ghost@{domain}", "")
    assert (unknown.code, unknown.changes) == (554, (f"postmaster user add ghost@{domain}",))
    elsewhere = said(lab, f"bob@{domain}", "x@elsewhere.test")
    assert (elsewhere.rule, elsewhere.changes) == ("unknown_sender", ())
    assert "elsewhere.test is not hosted here" in elsewhere.notes[0]


def test_wrong_grants_are_refused_and_change_nothing(lab: Lab, domain: str) -> None:
    amy = f"amy@{domain}"
    with lab.change() as make:
        make.user(amy)
    lab.postmaster("sender", "grant", amy, f"sales@{domain}")
    for words, status, text in (
        (("grant", amy, f"sales@{domain}"), 1, "already"),
        (("grant", amy, amy), 1, "its own address"),
        (("grant", f"nobody@{domain}", f"x@{domain}"), 1, "there is no user"),
        (("grant", amy, "x@elsewhere.test"), 1, "is not hosted here"),
        (("revoke", amy, f"other@{domain}", "--yes"), 1, "has no grant"),
        (("revoke", amy, f"sales@{domain}"), 2, "not done without being told"),
    ):
        done = lab.postmaster("sender", *words, expect=status)
        assert text in done.stderr
    rows = json.loads(lab.postmaster("sender", "list", "--user", amy, "-o", "json").stdout)
    assert [(row["user"], row["address"], row["whole_domain"]) for row in rows] == [
        (amy, f"sales@{domain}", False)
    ]
    kept = lab.postmaster("sender", "revoke", amy, f"sales@{domain}", "--dry-run", "-o", "json")
    assert json.loads(kept.stdout)["removed"] is False
    assert said(lab, amy, f"sales@{domain}").rule == "grant"
    listed = json.loads(lab.postmaster("sender", "list", "--domain", domain, "-o", "json").stdout)
    assert listed == rows


def test_only_the_envelope_is_checked(lab: Lab, domain: str) -> None:
    """As the page says; who wants the header checked needs a milter."""
    amy = f"amy@{domain}"
    with lab.change() as make:
        make.user(amy, password_hash=password_hash())
    with lab.submission(amy) as client:
        client.sendmail(amy, [amy], f"From: boss@{domain}\r\nSubject: in another name\r\n\r\nHello.\r\n")
    (message,) = lab.wait_for(amy, "in another name")
    assert message["From"] == f"boss@{domain}"


def test_listeners_that_do_not_check_senders_or_by_another_table_are_named(pliable: Lab) -> None:
    directory = pliable.settings.postfix.config_directory
    before = (directory / "master.cf").read_bytes()
    smtp, submission = (f"{pliable.port(name)}/inet" for name in ("smtp", "submission"))

    def notes() -> list[str]:
        return list(explain(pliable.settings, parse_address("a@b.test"), None).notes)

    assert notes() == []
    with configured(pliable, reload=False, smtpd_sasl_auth_enable="yes"):  # for every listener
        (note,) = notes()
        assert note.startswith(f"the listener {smtp} takes logins and does not check senders")
    try:
        change = ["postconf", "-c", str(directory), "-P"]
        run([*change, f"{submission}/smtpd_sender_login_maps=hash:/other"])
        assert notes() == [f"the listener {submission} has owners of its own: hash:/other"]
        # Where the check stands does not matter: all lists are gone through for each recipient.
        run([*change, f"{submission}/smtpd_sender_restrictions="])
        assert "does not check senders" in notes()[0]
        run([*change, f"{submission}/smtpd_recipient_restrictions=reject_sender_login_mismatch"])
        assert notes() == [f"the listener {submission} has owners of its own: hash:/other"]
    finally:
        (directory / "master.cf").write_bytes(before)
