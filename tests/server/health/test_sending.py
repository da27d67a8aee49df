"""A report reaches someone: by real servers, and by a second way where the first is really broken."""

from __future__ import annotations

import email
import email.policy
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from postmaster import process
from postmaster.errors import ServerError
from postmaster.health.finding import Finding, Severity
from postmaster.health.report import Report, Reported
from postmaster.health.report.mail import message
from postmaster.health.report.send import Sent, send
from postmaster.lab.layout import Layout
from postmaster.postfix import control, queue
from postmaster.settings import Settings
from tests.tools.mail import PASSWORD, Lab, password_hash
from tests.tools.sink import Sink, listening
from tests.tools.webhook import Hook, answering

SECRET = "s3cret/T0ken-with-path"


def report(check: str = "certificates", severity: Severity = Severity.warning) -> Report:
    found = Finding(check, "smtp", "something-wrong", severity, "it is not as it should be", "mend it")
    return Report(time.time(), "mail.lab.test", 0.5, (Reported(found, time.time() - 60),))


CALM, BROKEN = report(), report("services", Severity.critical)


@pytest.fixture
def postmaster(sick: Lab) -> str:
    """Somebody with a mailbox, of this test's own."""
    address = f"postmaster@r{time.monotonic_ns()}.test"
    with sick.change() as make:
        make.domain(address.partition("@")[2])
        make.user(address, password_hash=password_hash())
    return address


@pytest.fixture
def elsewhere() -> Iterator[Sink]:
    """A mail server that is not this one."""
    with listening() as sink:
        yield sink


@pytest.fixture
def hook(sick: Lab) -> Iterator[Hook]:
    layout = Layout(sick.root)
    with answering(layout.certificate, layout.key) as answered:
        yield answered


@pytest.fixture
def secret(tmp_path: Path) -> str:
    return secret_file(tmp_path, SECRET)


def secret_file(folder: Path, text: str, mode: int = 0o600) -> str:
    file = folder / "secret"
    file.write_text(text + "\n")
    file.chmod(mode)
    return str(file)


def settings_of(lab: Lab, **health: Any) -> Settings:
    return replace(lab.settings, health=replace(lab.settings.health, **health))


@contextmanager
def stopped(lab: Lab) -> Iterator[None]:
    control.stop(lab.settings.postfix.config_directory)
    try:
        yield
    finally:
        control.start(lab.settings.postfix.config_directory)


def parsed(content: bytes) -> EmailMessage:
    return email.message_from_bytes(content, policy=email.policy.default)


def text_of(made: EmailMessage, kind: str = "plain") -> str:
    body = made.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def test_the_local_sendmail_brings_it_to_the_postmaster(sick: Lab, postmaster: str) -> None:
    made = message(CALM)
    assert send(settings_of(sick, report_to=postmaster), made) == [
        Sent("the local sendmail", (postmaster,)),
    ]
    (got,) = sick.wait_for(postmaster, "something wrong, smtp")
    assert got["Message-ID"] == made["Message-ID"]
    assert got["To"] == postmaster
    assert postmaster in got["From"]
    assert got["Auto-Submitted"] == "auto-generated"
    assert [part.get_content_type() for part in got.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]


def test_without_report_to_it_goes_to_the_settings_postmaster(sick: Lab, postmaster: str) -> None:
    settings = settings_of(sick)
    settings = replace(settings, mail=replace(settings.mail, postmaster=postmaster))
    assert send(settings, message(CALM))[0].recipients == (postmaster,)
    assert sick.wait_for(postmaster, "something wrong")
    nobody = replace(settings, mail=replace(settings.mail, postmaster=""))
    with pytest.raises(ServerError, match="nobody is named to send reports to") as refused:
        send(nobody, message(CALM))
    assert refused.value.hint == "set health.report_to or mail.postmaster"


def test_while_mail_flows_the_second_way_is_left_alone(sick: Lab, postmaster: str, elsewhere: Sink) -> None:
    settings = settings_of(sick, report_to=postmaster, fallback=f"smtp://127.0.0.1:{elsewhere.port}")
    assert len(send(settings, message(CALM))) == 1
    assert sick.wait_for(postmaster, "something wrong")
    assert not elsewhere.messages


def test_with_postfix_stopped_the_report_takes_both_ways(sick: Lab, postmaster: str, elsewhere: Sink) -> None:
    settings = settings_of(
        sick,
        report_to=postmaster,
        fallback=f"smtp://127.0.0.1:{elsewhere.port}",
        fallback_to="amy@else.test, b@else.test",
    )
    with stopped(sick):
        # It takes the message all the same, which is why success alone says nothing.
        outcomes = send(settings, message(BROKEN))
        (got,) = elsewhere.messages
        waiting = queue.entries(settings.postfix.config_directory, queue.Listing())
        assert [one["queue_name"] for one in waiting if one["sender"] == postmaster] == ["maildrop"]
    assert [one.error for one in outcomes] == [None, None]
    assert outcomes[1].way == f"SMTP to 127.0.0.1 port {elsewhere.port}"
    assert got.recipients == ("amy@else.test", "b@else.test")
    assert parsed(got.content)["To"] == "amy@else.test, b@else.test"
    assert sick.wait_for(postmaster, "something wrong")  # when it runs again


def test_when_sendmail_fails_the_second_way_says_so(
    sick: Lab, postmaster: str, elsewhere: Sink, tmp_path: Path
) -> None:
    settings = settings_of(sick, report_to=postmaster, fallback=f"smtp://127.0.0.1:{elsewhere.port}")
    gone = replace(settings, postfix=replace(settings.postfix, config_directory=tmp_path / "gone"))
    first, second = send(gone, message(CALM))
    assert first.error is not None
    assert "the local sendmail did not take it" in first.error
    assert second.error is None
    got = parsed(elsewhere.messages[0].content)
    assert text_of(got).startswith("The usual way failed: the local sendmail did not take it")
    assert "The usual way failed: the local sendmail" in text_of(got, "html")
    alone = replace(gone, health=replace(gone.health, fallback=""))
    with pytest.raises(ServerError, match="the report reached nobody: the local sendmail"):
        send(alone, message(CALM))


@pytest.mark.parametrize(
    ("called", "expected"), [("mail.example.org", "mail.example.org"), ("mail", "[127.0.0.1]")]
)
def test_this_host_calls_itself_by_a_whole_name_or_by_its_address(
    sick: Lab, elsewhere: Sink, called: str, expected: str
) -> None:
    settings = settings_of(sick, report_to="amy@else.test", report_way=f"smtp://127.0.0.1:{elsewhere.port}")
    send(replace(settings, server=replace(settings.server, hostname=called)), message(CALM))
    assert elsewhere.messages[0].client == expected


@pytest.mark.parametrize("local", ["refused", "later", "busy"])
def test_a_recipient_that_is_refused_is_no_success(sick: Lab, elsewhere: Sink, local: str) -> None:
    settings = settings_of(
        sick, report_to=f"{local}@else.test", report_way=f"smtp://127.0.0.1:{elsewhere.port}"
    )
    with pytest.raises(ServerError, match=f"{local}@else.test: (550 5.1.1|451 4.2.0|421 4.7.0)"):
        send(settings, message(CALM))
    both = replace(settings, health=replace(settings.health, report_to=f"amy@else.test,{local}@else.test"))
    with pytest.raises(ServerError, match=rf"(refused|did not take it:) {local}@else.test: \d+"):
        send(both, message(CALM))


def test_a_server_that_says_nothing_costs_its_time_and_not_the_report(sick: Lab, elsewhere: Sink) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = settings_of(
            sick,
            report_to="amy@else.test",
            report_way=f"smtp://127.0.0.1:{silent.getsockname()[1]}",
            fallback=f"smtp://127.0.0.1:{elsewhere.port}",
        )
        first, second = send(settings, message(CALM), timeout=0.5)
    assert first.error is not None
    assert second.error is None
    assert len(elsewhere.messages) == 1


def test_a_login_goes_out_under_tls_that_was_checked_and_never_otherwise(
    sick: Lab,
    postmaster: str,
    elsewhere: Sink,
    tmp_path: Path,
) -> None:
    good = secret_file(tmp_path, PASSWORD)
    submission = f"smtp://{postmaster}@127.0.0.1:{sick.port('submission')}"
    settings = settings_of(sick, report_to=postmaster, report_way=submission, report_secret=good)
    stranger = replace(settings, health=replace(settings.health, ca_file=""))
    with pytest.raises(ServerError, match="its certificate is not trusted"):
        send(stranger, message(CALM))
    plain = replace(
        settings, health=replace(settings.health, report_way=f"smtp://u@127.0.0.1:{elsewhere.port}")
    )
    with pytest.raises(ServerError, match="STARTTLS"):
        send(plain, message(CALM))
    assert not elsewhere.messages
    for way in (submission, f"smtps://{postmaster}@127.0.0.1:{sick.port('submissions')}"):
        assert (
            send(replace(settings, health=replace(settings.health, report_way=way)), message(CALM))[0].error
            is None
        )
    assert len(sick.wait_for(postmaster, "something wrong", count=2)) == 2
    wrong = replace(settings, health=replace(settings.health, report_secret=secret_file(tmp_path, "not it")))
    with pytest.raises(ServerError, match="535: the user or the password is wrong") as refused:
        send(wrong, message(CALM))
    assert "not it" not in str(refused.value)


def test_a_webhook_gets_what_the_report_says(sick: Lab, hook: Hook, secret: str) -> None:
    settings = settings_of(
        sick, report_way=f"https://127.0.0.1:{hook.port}/hooks/{{secret}}", report_secret=secret
    )
    made = message(BROKEN)
    (one,) = send(settings, made)
    assert one == Sent("the webhook at 127.0.0.1", ())
    (got,) = hook.posts
    assert got.path == f"/hooks/{SECRET}"
    assert "Authorization" not in got.headers
    assert got.content["subject"] == "mail.lab.test: critical: something wrong, smtp"
    assert (got.content["status"], got.content["mail_flows"]) == ("critical", False)
    assert got.content["message_id"] == made["Message-ID"]
    assert got.content["text"].startswith(
        "mail.lab.test: critical: something wrong, smtp\n\nmail.lab.test: 1 critical"
    )
    send(settings_of(sick, report_way=f"https://localhost:{hook.port}", report_secret=secret), made)
    assert hook.posts[1].headers["Authorization"] == f"Bearer {SECRET}"


def test_what_a_webhook_refuses_is_told_without_its_secret(
    sick: Lab, hook: Hook, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(process, "observers", [lambda argv, what: seen.append(argv + what)])
    for path, words in (("refused", "403: you said"), ("moved", "redirection"), ("slow", "within 0.5 s")):
        for tail in ("/{secret}", ""):
            way = f"https://127.0.0.1:{hook.port}/{path}{tail}"
            settings = settings_of(sick, report_way=way, report_secret=secret)
            with pytest.raises(ServerError, match=words) as refused:
                send(settings, message(CALM), timeout=0.5)
            assert SECRET not in f"{refused.value} {refused.value.hint} {seen}"
    assert not any(one.path == "/elsewhere" for one in hook.posts)


def test_a_webhook_whose_certificate_nobody_trusts_gets_nothing(sick: Lab, hook: Hook, secret: str) -> None:
    way = f"https://127.0.0.1:{hook.port}/{{secret}}"
    settings = settings_of(sick, report_way=way, report_secret=secret, ca_file="")
    with pytest.raises(ServerError, match="its certificate is not trusted"):
        send(settings, message(CALM))
    assert not hook.posts


def test_the_command_reaches_someone_while_postfix_is_stopped(
    sick: Lab, postmaster: str, elsewhere: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the timer runs it: told once when it begins, once when it is over, each as one thread."""
    for key, value in (
        ("REPORT_TO", postmaster),
        ("FALLBACK", f"smtp://127.0.0.1:{elsewhere.port}"),
        ("FALLBACK_TO", "amy@else.test"),
        ("FLAP", "1"),
    ):
        monkeypatch.setenv(f"POSTMASTER_HEALTH_{key}", value)
    run = ("health", "check", "services", "--changes", "-o", "mail", "--send")
    sick.postmaster(*run)
    elsewhere.messages.clear()
    with stopped(sick):
        sick.postmaster(*run)
        (told,) = (parsed(one.content) for one in elsewhere.messages)
        assert told["Subject"].startswith("mail.lab.test: critical: ")
        assert told["X-Postmaster-Mail"] == "broken"
        assert "services smtp" in text_of(told)
        sick.postmaster(*run)
        assert len(elsewhere.messages) == 1  # nothing new
    sick.postmaster(*run)
    (over,) = sick.wait_for(postmaster, "mail.lab.test: over: ")
    assert over["In-Reply-To"] in str(told["References"])
    assert len(elsewhere.messages) == 1  # mail flows again


def test_a_digest_counts_what_the_servers_did(
    sick: Lab, postmaster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted by hand: two messages in, one refused, one password guessed."""
    monkeypatch.setenv("POSTMASTER_HEALTH_ROUND_TRIP", "false")  # its message is one more
    time.sleep(1.1)  # what came in the second before is others' mail
    since = time.strftime("%Y-%m-%dT%H:%M:%S")
    for number in (1, 2):
        sick.send(postmaster, f"digest {number}")
    sick.wait_for(postmaster, "digest", count=2)
    assert sick.rcpt(f"nobody.{postmaster}")[0] == 550
    assert not sick.may_login("submission", postmaster, "a guess")
    ends = time.monotonic() + 10
    while True:
        told = sick.postmaster("health", "digest", "--since", since, "-o", "json")
        made = json.loads(told.stdout)["statistics"]
        counted = made["figures"]
        if counted["refused"] or time.monotonic() > ends:
            break
    assert (counted["received"], counted["delivered"], counted["rejected"], counted["refused"]) == (
        2,
        2,
        1,
        1,
    )
    assert counted["senders"] == [{"name": "stranger@outside.test", "count": 2}]
    assert counted["failed_logins"] == [{"name": postmaster, "count": 1}]
    assert counted["delay_median"] is not None
    assert made["before"] is None
