"""Messages that rules hold, drop, refuse, filter and forward, that grow too old, and whose notices fail.

The lab's rules are set once, and each message chooses its own by its sender, its recipient or its subject.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postmaster.lab import lifecycle
from postmaster.lab.layout import pick_ports
from postmaster.postfix import postconf
from postmaster.process import run
from tests.tools.mail import password_hash
from tests.tools.sink import listening
from tests.tools.stories import Place, Sent, addresses, others_sending, reload

from .conftest import start_lab

SENDERS = """
{held@outside.test = HOLD kept for a look}
{dropped@outside.test = DISCARD dropped at the door}
{piped@outside.test = FILTER scan:dummy}
{warned@outside.test = WARN seen at the door}
"""
HEADERS = r"""
/^Subject: forbidden/ REJECT 5.7.1 not here
/^Subject: dropped/ DISCARD dropped by its subject
/^Subject: held/ HOLD kept by its subject
"""
FILTER = """
    #!/usr/bin/python3
    import smtplib, sys
    with smtplib.SMTP("127.0.0.1", {port}, "filter.test", 30, ("{source}", 0)) as back:
        back.sendmail(sys.argv[1], sys.argv[2:], sys.stdin.buffer.read())
"""
BACK = next(addresses)  # where the filter gives mail back from


@pytest.fixture(scope="module")
def place(place: Callable[[], Path]) -> Iterator[Place]:
    """A lab whose Postfix has rules, and keeps mail for four seconds."""
    lab = start_lab(place())
    domain, directory = "rules.test", lab.settings.postfix.config_directory
    with lab.change() as make:
        make.domain(domain)
        for name in ("amy", "noise"):
            make.user(f"{name}@{domain}", password_hash=password_hash())
        make.alias(f"gone@{domain}", "refused@elsewhere.test")
        make.alias(f"old@{domain}", "later@elsewhere.test")
        make.alias(f"crew@{domain}", "crew@local.test")
    (port,) = pick_ports(("back",)).values()
    script, headers = lab.root / "filter", lab.root / "headers"
    script.write_text(textwrap.dedent(FILTER).lstrip().format(port=port, source=BACK))
    script.chmod(0o755)
    headers.write_text(HEADERS)
    headers.chmod(0o644)
    aliases = f"{{crew = amy@{domain}, kept-crew@elsewhere.test}}"
    values = {
        "header_checks": f"regexp:{headers}",
        "smtpd_sender_restrictions": f"check_sender_access inline:{{ {' '.join(SENDERS.split())} }}",
        "alias_maps": f"inline:{{ {aliases} }}",
        "mydestination": "local.test",
        "local_recipient_maps": "",
        "maximal_queue_lifetime": "4s",
        "bounce_queue_lifetime": "4s",
        "minimal_backoff_time": "1s",
        "maximal_backoff_time": "1s",
        "queue_run_delay": "1s",
    }
    postconf.set_values(directory, values)
    argv = f"argv={script} ${{sender}} ${{recipient}}"
    run(["postconf", "-c", str(directory), "-M", f"scan/unix=scan unix - n n - - pipe user=nobody {argv}"])
    back = f"127.0.0.1:{port}"
    entry = (
        f"{back}/inet={back} inet n - n - - smtpd -o smtpd_sender_restrictions= -o syslog_name=postfix/back"
    )
    run(["postconf", "-c", str(directory), "-M", entry])
    with listening(lab.status.outbound_port) as sink:
        made = Place(lab, domain, sink)
        reload(made)
        yield made
    lifecycle.remove(lab.root)


@pytest.fixture(autouse=True)
def others(place: Place) -> Iterator[None]:
    """Sessions of others that interleave with each story."""
    with others_sending(place):
        yield


def heads(place: Place, recipient: str, sent: Sent) -> list[str]:
    """The queue IDs in the Received headers of what arrived in a mailbox, the latest first."""
    message = next(m for m in place.lab.mailbox(recipient) if m["Message-ID"] == sent.message_id)
    return re.findall(r"\(Postfix\)[^;]*?\bid ([0-9A-Za-z]+)", message.as_string())


def log_lines(place: Place, text: str) -> list[str]:
    return [line for line in place.lab.log().splitlines() if text in line]


def test_held_by_an_access_map_then_released_and_delivered(place: Place) -> None:
    sent = place.send(place.amy, sender="held@outside.test")
    found = place.settled(sent, "held")
    assert [(one["recipient"], one["status"]) for one in found["recipients"]] == [(place.amy, "held")]
    assert (found["sender"], found["is_over"]) == ("held@outside.test", False)
    assert f"On hold for {place.amy}: " in found["verdict"]
    assert "kept for a look" in found["verdict"]
    assert f"queue release {sent.queue_id}" in found["remedy"]
    assert set(found["lines"]) == place.lines(sent)
    (rule,) = log_lines(place, f"NOQUEUE: hold: RCPT from unknown[{sent.client}]")
    assert rule in found["lines"]
    # The rule's line is not told as a message of its own.
    assert [one["queue_ids"] for one in place.trace(sent.client)] == [[sent.queue_id]]
    assert [sent.queue_id] in [one["queue_ids"] for one in place.trace("held@outside.test")]
    place.lab.postmaster("queue", "release", sent.queue_id, "--yes")
    found = place.settled(sent, "sent", is_over=True)
    assert [step["kind"] for step in found["steps"] if step["kind"] != "saved"] == [
        "held", "received", "released", "queued", "sent", "removed"]  # fmt: skip
    assert found["recipients"][0]["mailbox"] == "INBOX"
    assert heads(place, place.amy, sent) == [sent.queue_id]
    assert set(found["lines"]) == place.lines(sent)


def test_held_by_a_header_check_names_the_header_and_the_sender(place: Place) -> None:
    sent = place.send(place.amy, subject="held, from=<nobody@evil.test>")
    found = place.settled(sent, "held")
    assert found["sender"] == "stranger@outside.test"
    assert "kept by its subject (Subject: held, from=<nobody@evil.test>)" in found["verdict"]
    assert set(found["lines"]) == place.lines(sent)
    run(["postsuper", "-c", place.spool, "-d", sent.queue_id])


@pytest.mark.parametrize(
    ("sender", "subject", "reason"),
    [
        ("dropped@outside.test", "story", "dropped at the door"),
        ("stranger@outside.test", "dropped", "dropped by its subject"),
    ],
)
def test_discarded_though_the_client_was_told_that_it_is_queued(
    place: Place, sender: str, subject: str, reason: str
) -> None:
    sent = place.send(place.amy, sender=sender, subject=subject)
    assert sent.queue_id
    found = place.settled(sent, "discarded", is_over=True)
    assert f"Discarded by a rule for {place.amy}: " in found["verdict"]
    assert reason in found["verdict"]
    assert found["sender"] == sender
    assert set(found["lines"]) == place.lines(sent)
    assert sent.message_id not in [m["Message-ID"] for m in place.lab.mailbox(place.amy)]


def test_refused_by_a_header_check_after_the_content(place: Place) -> None:
    sent = place.send(place.amy, subject="forbidden", reply=550)
    assert not sent.queue_id
    found = place.settled(sent, "rejected", is_over=True)
    assert "Refused here for amy@rules.test: 5.7.1 not here (Subject: forbidden)" in found["verdict"]
    (queue_id,) = re.findall(rf": ([0-9A-Za-z]+): client=unknown\[{sent.client}\]", place.lab.log())
    assert found["queue_ids"] == [queue_id]
    assert set(found["lines"]) == place.lines(sent, queue_id)


def test_a_warning_before_the_queue_changes_nothing_and_belongs_to_the_message(place: Place) -> None:
    sent = place.send(place.amy, sender="warned@outside.test")
    found = place.settled(sent, "sent", is_over=True)
    (warning,) = log_lines(place, f"NOQUEUE: warn: RCPT from unknown[{sent.client}]")
    assert warning in found["lines"]
    assert set(found["lines"]) == place.lines(sent)
    assert "Delivered to INBOX" in found["verdict"]


def test_the_hop_through_a_pipe_filter_is_folded(place: Place) -> None:
    sent = place.send(place.amy, sender="piped@outside.test")
    place.settled(sent, "sent", is_over=True)
    new, old = heads(place, place.amy, sent)
    assert old == sent.queue_id
    found = place.settled(sent, "sent", is_over=True, queue_ids=[old, new])
    assert [(one["recipient"], one["mailbox"], one["queue_id"]) for one in found["recipients"]] == [
        (place.amy, "INBOX", new)
    ]
    assert found["verdict"].count("Delivered to") == 1
    (begun,) = log_lines(place, f": {new}: client=unknown[{BACK}]")
    process = re.escape(begun.partition("back/smtpd")[2].partition(":")[0])
    # Of the filter's sessions, the one that this process had then.
    own = [line for line in log_lines(place, f"[{BACK}]") if re.search(f"back/smtpd{process}: ", line)]
    at = own.index(begun)
    first = max(n for n, line in enumerate(own[:at]) if ": connect from" in line)
    last = min(n for n, line in enumerate(own) if n > at and ": disconnect from" in line)
    assert set(found["lines"]) == place.lines(sent, new) | set(own[first : last + 1])


def test_an_alias_of_local_forwards_it_as_another_message(place: Place) -> None:
    sent = place.send(f"crew@{place.domain}")
    kept = place.sink.wait_for("kept-crew@elsewhere.test")
    first, last = re.findall(rb"\(Postfix\)[^;]*?\bid ([0-9A-Za-z]+)", kept.content)
    assert last.decode() == sent.queue_id
    new = first.decode()
    found = place.settled(sent, "sent", is_over=True, queue_ids=[sent.queue_id, new])
    assert {(one["recipient"], one["orig_recipient"], one["queue_id"]) for one in found["recipients"]} == {
        (place.amy, f"crew@{place.domain}", new),
        ("kept-crew@elsewhere.test", f"crew@{place.domain}", new),
    }
    assert heads(place, place.amy, sent) == [new, sent.queue_id]
    assert set(found["lines"]) == place.lines(sent, new)


def test_too_old_and_the_sender_is_told(place: Place) -> None:
    sent = place.send(f"old@{place.domain}", sender=place.amy)
    place.settled(sent, "deferred")
    place.lab.wait_for(place.amy, "Undelivered")
    found = place.settled(sent, "expired", is_over=True)
    (one,) = found["recipients"]
    tried = log_lines(place, f": {sent.queue_id}: to=<later@elsewhere.test>")
    assert (one["recipient"], one["orig_recipient"], one["attempts"]) == (
        "later@elsewhere.test", f"old@{place.domain}", len(tried))  # fmt: skip
    assert len(tried) > 1
    assert "451 4.2.0 come back later" in found["verdict"]
    assert found["verdict"].startswith(f"Given up for later@elsewhere.test after {len(tried)} attempts")
    assert "The sender was told at" in found["verdict"]
    assert log_lines(place, f": {sent.queue_id}: from=<{place.amy}>, status=expired")[0] in found["lines"]
    (notice,) = re.findall(rf"{sent.queue_id}: sender non-delivery notification: (\S+)", place.lab.log())
    assert found["queue_ids"] == [sent.queue_id, notice]


def test_a_notice_that_bounces_too_goes_to_the_postmaster(place: Place) -> None:
    sent = place.send(f"gone@{place.domain}", sender="refused.sender@elsewhere.test")
    place.settled(sent, "bounced", is_over=True)
    log = place.lab.log()
    (notice,) = re.findall(rf"{sent.queue_id}: sender non-delivery notification: (\S+)", log)
    (double,) = re.findall(rf"{notice}: postmaster non-delivery notification: (\S+)", log)
    found = place.settled(sent, "bounced", is_over=True, queue_ids=[sent.queue_id, notice, double])
    assert found["told"] is None
    assert found["postmaster_told"] is not None
    assert "550 5.1.1 no such user" in found["verdict"]
    assert "The notice to the sender could not be delivered: 550 5.1.1 no such user." in found["verdict"]
    assert "The postmaster was told at" in found["verdict"]
    password = (place.lab.root / "postmaster.password").read_text().strip()
    arrived = [m.as_string() for m in place.lab.mailbox("postmaster@lab.test", password)]
    assert any(double in text and sent.message_id in text for text in arrived)
    expected = place.lines(sent, notice, double)
    own = re.findall(rf"(?:{notice}|{double}): message-id=(\S+)", "\n".join(expected))
    dovecot = (place.lab.root / "log" / "dovecot.log").read_text().splitlines()
    assert set(found["lines"]) == expected | {
        line for line in dovecot if any(f"msgid={one}: " in line for one in own)
    }
