"""Real messages of every kind of story, traced while others come and go.

What is expected is written down from what was sent and what the servers answered: queue IDs from replies
and from the Received headers of what arrived, and the log's lines that have these IDs, the client's own
address or the Message-ID.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import smtplib
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postmaster.lab import lifecycle
from postmaster.lab.layout import pick_ports
from postmaster.postfix import postconf
from postmaster.process import current_actor, run
from tests.tools.mail import password_hash
from tests.tools.sink import listening
from tests.tools.stories import Place, Sent, addresses, notice_id, others_sending, reload

from .conftest import start_lab


@pytest.fixture(scope="module")
def place(place: Callable[[], Path]) -> Iterator[Place]:
    """A lab with three users, and the world outside, while fifty others send."""
    lab = start_lab(place())
    domain = "story.test"
    with lab.change() as make:
        make.domain(domain)
        for name in ("amy", "bob", "noise"):
            make.user(f"{name}@{domain}", password_hash=password_hash())
        make.alias(f"team@{domain}", f"amy@{domain}", f"bob@{domain}")
    postconf.set_values(lab.settings.postfix.config_directory, {"smtpd_tls_loglevel": "1"})
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


def test_an_alias_is_followed_into_mailboxes(place: Place) -> None:
    sent = place.send(f"team@{place.domain}")
    found = place.settled(sent, "sent", is_over=True)
    assert {(one["recipient"], one["orig_recipient"], one["mailbox"]) for one in found["recipients"]} == {
        (place.amy, f"team@{place.domain}", "INBOX"),
        (f"bob@{place.domain}", f"team@{place.domain}", "INBOX"),
    }
    assert found["client"] == f"unknown[{sent.client}]"
    assert (found["sender"], found["message_id"]) == ("stranger@outside.test", sent.message_id)
    assert found["queue_ids"] == [sent.queue_id]
    assert "Delivered to INBOX of amy@story.test" in found["verdict"]
    assert set(found["lines"]) == place.lines(sent)
    assert [step["kind"] for step in found["steps"] if step["queue_id"]] == [
        "received", "queued", "sent", "sent", "removed"]  # fmt: skip


def test_it_is_found_by_every_name_it_has(place: Place) -> None:
    sent = place.send(f"team@{place.domain}", sender="Special.Name@outside.test")
    whole = place.settled(sent, "sent", is_over=True)
    for what in ("special.name@outside.test", sent.message_id, sent.message_id.strip("<>"), sent.client):
        assert [one["queue_ids"] for one in place.trace(what)] == [[sent.queue_id]], what
    by_alias = [one["queue_ids"] for one in place.trace(f"team@{place.domain}")]
    assert [sent.queue_id] in by_alias
    assert place.trace("", "--from", "special.name@*", "--to", "bob@story.test") == [whole]
    shown = place.lab.postmaster("trace", sent.queue_id, "--lines").stdout
    assert shown.splitlines() == whole["lines"]


def test_a_submission_names_its_login_and_its_encryption(place: Place) -> None:
    with place.lab.submission(place.amy) as client:
        client.mail(place.amy)
        client.rcpt("kept@elsewhere.test")
        _, text = client.data(f"From: {place.amy}\r\nSubject: out\r\n\r\nHello.\r\n")
    sent = Sent("none", text.decode().rpartition("queued as ")[2], "", time.time())
    found = place.settled(sent, "sent", is_over=True)
    assert found["login"] == place.amy
    assert found["tls"].startswith("TLSv1")
    assert found["recipients"][0]["relay"].startswith("127.0.0.1[127.0.0.1]")
    assert sent.queue_id in {one["queue_ids"][0] for one in place.trace("", "--sasl", place.amy)}


def test_a_bounce_and_the_notice_that_tells_the_sender(place: Place) -> None:
    with place.lab.change() as make:
        make.alias(f"gone@{place.domain}", "refused@elsewhere.test")
    sent = place.send(f"gone@{place.domain}", sender=place.amy)
    found = place.settled(sent, "bounced", is_over=True)
    place.lab.wait_for(place.amy, "Undelivered")
    notice = notice_id(place, place.amy, sent)
    assert found["queue_ids"] == [sent.queue_id, notice]
    (one,) = found["recipients"]
    assert (one["recipient"], one["orig_recipient"], one["dsn"]) == (
        "refused@elsewhere.test", f"gone@{place.domain}", "5.1.1")  # fmt: skip
    assert "550 5.1.1 no such user" in found["verdict"]
    assert found["told"] is not None
    assert "The sender was told at" in found["verdict"]
    expected = place.lines(sent, notice)
    # The notice has a Message-ID of its own, by which Dovecot names it.
    own = re.search(rf"{notice}: message-id=(\S+)", "\n".join(expected))
    assert own is not None
    dovecot = (place.lab.root / "log" / "dovecot.log").read_text().splitlines()
    assert set(found["lines"]) == expected | {line for line in dovecot if f"msgid={own[1]}: " in line}


def test_a_refusal_has_no_queue_id_and_says_why(place: Place) -> None:
    client = next(addresses)
    with place.lab.smtp(source=client) as session:
        session.mail("stranger@outside.test")
        code, text = session.rcpt(f"nobody-{client}@{place.domain}")
    assert code == 550
    (found,) = place.trace(client)
    assert (found["outcome"], found["queue_ids"]) == ("rejected", [])
    assert found["recipients"][0]["recipient"] == f"nobody-{client}@{place.domain}"
    assert text.decode() in found["recipients"][0]["text"]
    log = place.lab.log().splitlines()
    assert found["lines"] == [line for line in log if "NOQUEUE" in line and f"[{client}]" in line]


@contextmanager
def stopped_outside(place: Place) -> Iterator[None]:
    """Nobody listens outside: what goes there waits."""
    directory = place.lab.settings.postfix.config_directory
    before = postconf.value(directory, "relayhost")
    (port,) = pick_ports(("none",)).values()
    postconf.set_values(directory, {"relayhost": f"[127.0.0.1]:{port}"})
    reload(place)
    try:
        yield
    finally:
        postconf.set_values(directory, {"relayhost": before})
        reload(place)


def test_a_deferral_waits_and_the_queue_is_asked_then_it_is_requeued_and_arrives(place: Place) -> None:
    with place.lab.change() as make:
        make.alias(f"later@{place.domain}", "kept-afterwards@elsewhere.test")
    with stopped_outside(place):
        sent = place.send(f"later@{place.domain}")
        found = place.settled(sent, "deferred")
        assert not found["is_over"]
        assert "Connection refused" in found["verdict"]
        assert f"queue show {sent.queue_id}" in found["remedy"]
        assert found["recipients"][0]["attempts"] == 1
    run(["postsuper", "-c", place.spool, "-r", sent.queue_id])
    reload(place)  # so that nobody need wait for pickup's minute
    received = place.sink.wait_for("kept-afterwards@elsewhere.test", 75)
    heads = re.findall(rb"\(Postfix\)[^;]*? id ([0-9A-Za-z]+)", received.content)
    assert heads == [sent.queue_id.encode()]  # a requeue adds none
    found = place.settled(sent, "sent", is_over=True)
    assert found["queue_ids"][0] == sent.queue_id
    assert len(found["queue_ids"]) == 2
    log = place.lab.log()
    (new,) = re.findall(rf"pickup\[\d+\]: ([0-9A-Za-z]+): uid=.* orig_id={sent.queue_id}", log)
    assert found["queue_ids"][1] == new
    assert set(found["lines"]) == place.lines(sent, new)


def test_held_then_deleted_by_postsuper(place: Place) -> None:
    with place.lab.change() as make:
        make.alias(f"kept@{place.domain}", "kept-away@elsewhere.test")
    with stopped_outside(place):
        sent = place.send(f"kept@{place.domain}")
        place.settled(sent, "deferred")
        run(["postsuper", "-c", place.spool, "-h", sent.queue_id])
        found = place.settled(sent, "held")
        assert "On hold" in found["verdict"]
        run(["postsuper", "-c", place.spool, "-d", sent.queue_id])
        found = place.settled(sent, "deleted", is_over=True)
    assert "Deleted from the queue by postsuper" in found["verdict"]
    assert [step["kind"] for step in found["steps"]][-2:] == ["held", "deleted"]
    assert set(found["lines"]) == place.lines(sent)


def test_the_commands_of_the_queue_are_told_with_who_why_and_the_way_back(place: Place) -> None:
    with place.lab.change() as make:
        make.alias(f"acted@{place.domain}", "kept-acted@elsewhere.test")
    who = current_actor()
    with stopped_outside(place):
        sent = place.send(f"acted@{place.domain}", subject="acted on")
        place.settled(sent, "deferred")
        place.lab.postmaster("queue", "hold", sent.queue_id, "--why", "to look at it", "--yes")
        assert f"by {who} since" in place.settled(sent, "held")["verdict"]
        place.lab.postmaster("queue", "delete", sent.queue_id, "--why", "spam", "--yes")
        found = place.settled(sent, "deleted", is_over=True)
        assert f"Deleted from the queue by {who} at" in found["verdict"]
        assert "): spam. A copy is in the trash until" in found["verdict"]
        assert [one["verb"] for one in found["actions"]] == ["hold", "delete"]
        assert [step["kind"] for step in found["steps"]][-2:] == ["held", "deleted"]
        assert set(found["lines"]) == place.lines(sent)
        way_back = found["remedy"].partition("postmaster ")[2].split()
        back = json.loads(place.lab.postmaster(*way_back, "-o", "json").stdout)["restored"][0]["new_id"]
        assert place.settled(sent, "deleted")["actions"][1]["restored_as"] == back
        again = Sent(sent.client, back, sent.message_id, sent.began)
        found = place.settled(again, "deferred", sender="stranger@outside.test")
        assert found["steps"][0]["kind"] == "restored"
        (shown,) = [json.loads(place.lab.postmaster("queue", "show", back, "-o", "json").stdout)]
        assert [(one["verb"], one["restored_as"]) for one in shown["actions"]] == [("delete", back)]
        place.lab.postmaster("queue", "redirect", back, place.amy, "--yes")
        found = place.settled(again, "redirected", is_over=True)
        assert found["recipients"][0]["sent_on"] == [place.amy]
        assert f"Sent on to {place.amy} instead of kept-acted@elsewhere.test by {who}" in found["verdict"]
    place.lab.wait_for(place.amy, "acted on")
    there = shlex.split(found["remedy"].partition("postmaster ")[2])
    row = json.loads(place.lab.postmaster(*there, "-o", "json").stdout)[-1]
    assert row["message_id"] == sent.message_id
    assert row["recipients"][0]["recipient"] == place.amy


def test_given_up_as_told(place: Place) -> None:
    with place.lab.change() as make:
        make.alias(f"old@{place.domain}", "kept-old@elsewhere.test")
    with stopped_outside(place):
        sent = place.send(f"old@{place.domain}", sender=place.amy)
        place.settled(sent, "deferred")
        run(["postsuper", "-c", place.spool, "-e", sent.queue_id])
        run(["postqueue", "-c", place.spool, "-i", sent.queue_id])
        found = place.settled(sent, "expired", is_over=True)
    place.lab.wait_for(place.amy, "Undelivered")
    assert "Given up for kept-old@elsewhere.test" in found["verdict"]
    assert "The sender was told" in place.settled(sent, "expired", is_over=True)["verdict"]


def test_a_sieve_redirect_is_followed(place: Place) -> None:
    bob = f"bob@{place.domain}"
    place.settled(place.send(bob), "sent", is_over=True)  # which makes the mailbox
    conf = str(place.lab.settings.dovecot.config)
    home = Path(run(["doveadm", "-c", conf, "user", "-f", "home", bob]).stdout.strip())
    folder = home.stat()
    script = home / ".dovecot.sieve"
    script.write_text(
        'require ["fileinto", "mailbox"];\n'
        'if address :contains "from" "redirected" { redirect "kept-by-sieve@elsewhere.test"; }\n'
        'elsif address :contains "from" "filed" { fileinto :create "Lists"; }\n'
    )
    os.chown(script, folder.st_uid, folder.st_gid)
    script.chmod(0o644)
    try:
        sent = place.send(bob, sender="redirected@outside.test")
        received = place.sink.wait_for("kept-by-sieve@elsewhere.test")
        new = re.findall(rb"\bid ([0-9A-Za-z]+)", received.content)[0].decode()
        found = place.settled(sent, "sent", is_over=True, queue_ids=[sent.queue_id, new])
        by_name = {one["recipient"]: one for one in found["recipients"]}
        assert by_name[bob]["sent_on"] == ["kept-by-sieve@elsewhere.test"]
        assert by_name[bob]["mailbox"] is None
        assert by_name["kept-by-sieve@elsewhere.test"]["status"] == "sent"
        filed = place.send(bob, sender="filed@outside.test")
        found = place.settled(filed, "sent", is_over=True)
        assert found["recipients"][0]["mailbox"] == "Lists"
        assert set(found["lines"]) == place.lines(filed)
    finally:
        script.unlink()


def test_what_is_in_no_log_is_said(place: Place) -> None:
    done = place.lab.postmaster("trace", "nobody@nowhere.test", "-o", "json", expect=1)
    error = json.loads(done.stderr)["error"]
    assert error["code"] == "not_found"
    assert "which start at 20" in error["message"]


def test_a_probe_is_sent_and_followed_to_its_end(place: Place) -> None:
    done = place.lab.postmaster("trace", "probe", place.amy, "-o", "json", "--timeout", "30")
    (found,) = json.loads(done.stdout)
    assert (found["outcome"], found["is_over"]) == ("sent", True)
    assert found["recipients"][0]["mailbox"] == "INBOX"
    place.lab.wait_for(place.amy, "postmaster probe")
    done = place.lab.postmaster(
        "trace", "probe", "refused@elsewhere.test", "-o", "json", "--timeout", "30", expect=4
    )
    (found,) = json.loads(done.stdout)
    assert found["outcome"] == "bounced"


class _Filter(socketserver.StreamRequestHandler):
    """A content filter: takes a message and gives it back by SMTP; answers what it was answered."""

    back: int
    given_back: dict[bytes, str]  # content: the address that it came back from, each one's own

    def handle(self) -> None:
        sender, recipients = "", list[str]()
        self.wfile.write(b"220 filter\r\n")
        while line := self.rfile.readline(1024):
            word, rest = line[:4].upper(), line.decode()
            if word == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            if word == b"MAIL":
                sender = rest.partition("<")[2].partition(">")[0]
            elif word == b"RCPT":
                recipients.append(rest.partition("<")[2].partition(">")[0])
            elif word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                content = b"".join(iter(self.rfile.readline, b".\r\n"))
                source = next(addresses)
                self.given_back[content] = source
                with smtplib.SMTP("127.0.0.1", self.back, "filter.test", 30, (source, 0)) as client:
                    client.ehlo()
                    client.mail(sender)
                    for recipient in recipients:
                        client.rcpt(recipient)
                    code, text = client.data(content)
                self.wfile.write(b"%d %s\r\n" % (code, text))
                sender, recipients = "", []
                continue
            self.wfile.write(b"250 ok\r\n")


def test_the_hop_through_a_content_filter_is_folded(place: Place) -> None:
    ports = pick_ports(("filter", "back"))
    smtp = f"{place.lab.port('smtp')}/inet"
    run(["postconf", "-c", place.spool, "-P", f"{smtp}/content_filter=scan:[127.0.0.1]:{ports['filter']}"])
    run(["postconf", "-c", place.spool, "-M", "scan/unix=scan unix - - n - - smtp"])
    back = f"127.0.0.1:{ports['back']}"
    entry = f"{back}/inet={back} inet n - n - - smtpd -o content_filter= -o mynetworks=127.0.0.0/8"
    entry += " -o smtpd_recipient_restrictions=permit_mynetworks,reject"
    run(["postconf", "-c", place.spool, "-M", entry])
    reload(place)
    handler = type("Handler", (_Filter,), {"back": ports["back"], "given_back": (came := dict[bytes, str]())})
    try:
        with socketserver.ThreadingTCPServer(("127.0.0.1", ports["filter"]), handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                for _ in range(10):  # until no smtpd of before the reload is left
                    sent = place.send(place.amy)
                    found = place.settled(sent, "sent", is_over=True)
                    if any(sent.message_id.encode() in content for content in came):
                        break
            finally:
                server.shutdown()
                thread.join()
    finally:
        run(["postconf", "-c", place.spool, "-X", "-P", f"{smtp}/content_filter"], expect=None)
        run(["postconf", "-c", place.spool, "-MX", "scan/unix", f"{back}/inet"])
        reload(place)
    message = next(m for m in place.lab.mailbox(place.amy) if m["Message-ID"] == sent.message_id)
    # Of the hops, the first is the first reply's, the second what the filter gave back; Dovecot's is last.
    heads = re.findall(r"\(Postfix\)\s+with E?SMTP\s+id ([0-9A-Za-z]+)", message.as_string())
    assert len(heads) == 2
    assert heads[1] == sent.queue_id
    new = heads[0]
    assert found["queue_ids"] == [sent.queue_id, new]
    assert [(one["recipient"], one["mailbox"]) for one in found["recipients"]] == [(place.amy, "INBOX")]
    (source,) = (source for content, source in came.items() if sent.message_id.encode() in content)
    log = place.lab.log().splitlines()
    assert set(found["lines"]) == place.lines(sent, new) | {line for line in log if f"[{source}]" in line}
    assert "Delivered to INBOX of amy@story.test" in found["verdict"]
