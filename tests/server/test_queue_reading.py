"""The queue of a real Postfix, by both sources: they agree with each other and with `postcat`."""

from __future__ import annotations

import json
import os
import re
import signal
import smtplib
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postmaster.errors import NotFoundError, ProcessError, ServerError
from postmaster.lab import base, lifecycle
from postmaster.lab.layout import Layout
from postmaster.postfix import control
from postmaster.postfix.instances import chosen
from postmaster.postfix.printed import external_utf8
from postmaster.postfix.queue import Listing
from postmaster.queue import content, read
from postmaster.queue.message import Message
from postmaster.queue.packed import pack, unpack
from postmaster.settings import PostfixSettings, Settings, load_settings
from tests.tools.mail import Lab
from tests.tools.sink import listening
from tests.tools.spool_generator import Written, fill, make_home, queue_file

from .conftest import start_lab

MANY = 1100  # recipients; showq's duplicate filter holds 1,000
UTF8 = "grüße@bücher.example"


def postfix(lab: Lab, *argv: str, stdin: str = "") -> str:
    config = str(lab.root / "postfix")
    done = subprocess.run(
        [argv[0], "-C" if argv[0] == "sendmail" else "-c", config, *argv[1:]],
        input=stdin,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout + done.stderr


@contextmanager
def client(lab: Lab) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP("127.0.0.1", lab.port("smtp"), local_hostname="client.test", timeout=30) as session:
        session.ehlo()
        session.command_encoding = "utf-8"
        yield session


def send(lab: Lab, sender: str, *recipients: str, subject: str = "test") -> str:
    """Hand a message to the lab as a trusted client; gives back its queue ID."""
    with client(lab) as session:
        is_utf8 = not (sender + "".join(recipients)).isascii()
        assert session.mail(sender, ["SMTPUTF8"] if is_utf8 else [])[0] == 250
        for recipient in recipients:
            assert session.docmd(f"RCPT TO:<{recipient}>")[0] == 250
        code, said = session.data(
            f"Subject: {subject}\r\nFrom: {sender}\r\n\r\nHello {subject}.\r\n".encode()
        )
    assert code == 250
    return said.decode().rpartition(" ")[2]


def wait(what: str, until: Callable[[], object], seconds: float = 30) -> None:
    ends = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < ends, f"{what} did not come"
        time.sleep(0.05)


def queued(lab: Lab, **how: Any) -> dict[str, Message]:
    return {one.queue_id: one for one in read.messages(lab.settings, Listing(), **how)}


def wait_deferred(lab: Lab, *queue_ids: str) -> None:
    def are_deferred() -> bool:
        found = queued(lab)
        return all(one in found and found[one].queue_name == "deferred" for one in queue_ids)

    wait("deferral", are_deferred)


def shared(message: Message) -> dict[str, Any]:
    """What both sources know."""
    return {
        "instance": message.instance,
        "queue_name": message.queue_name,
        "queue_id": message.queue_id,
        "arrival_time": message.arrival_time,
        "message_size": message.message_size,
        "forced_expire": message.forced_expire,
        "sender": message.sender,
        "recipients": [(one.address, one.delay_reason) for one in message.recipients],
    }


def both(settings: Settings) -> tuple[list[Message], list[Message]]:
    from_spool = list(read.messages(settings, Listing(), source="spool"))
    from_postqueue = list(read.messages(settings, Listing(), source="postqueue"))
    return from_spool, from_postqueue


def check_agreement(settings: Settings) -> dict[str, Message]:
    """Both sources tell the same; gives back what the spool tells, by ID."""
    from_spool, from_postqueue = both(settings)
    known = {one.queue_id: shared(one) for one in from_spool if one.damage is None}
    assert {one.queue_id: shared(one) for one in from_postqueue} == known
    assert len(from_postqueue) == len(known)
    return {one.queue_id: one for one in from_spool}


def check_postcat(lab: Lab, message: Message) -> None:
    """The envelope and the content are what Postfix's own tool finds in the file."""
    envelope = postfix(lab, "postcat", "-eq", message.queue_id)
    told: dict[str, list[str]] = {}
    for line in envelope.splitlines():
        name, _, value = line.partition(": ")
        told.setdefault(name, []).append(external_utf8(value.encode()))
    assert told["sender"] == [message.sender]
    todo = told.get("recipient", [])
    assert Counter(one.address for one in message.recipients) == Counter(todo)
    if message.queue_name != "maildrop":
        assert message.recipients_done == len(told.get("done_recipient", []))
    raw = subprocess.run(
        ["postcat", "-c", str(lab.root / "postfix"), "-hbq", message.queue_id],
        capture_output=True,
        check=True,
    ).stdout
    with content.opened(lab.settings, message) as lines:
        assert b"".join(lines) == raw
    with content.opened(lab.settings, replace(message, path=None)) as lines:
        assert b"".join(lines) == raw


@pytest.fixture(scope="module")
def own(place: Callable[[], Path]) -> Iterator[Lab]:
    """A lab whose queue the tests of this file fill, with SMTPUTF8 and as many retries as they wait for."""
    started = start_lab(place())
    postfix(started, "postconf", "-e", "smtputf8_enable = yes", "minimal_backoff_time = 3000s")
    base.settle(Layout(started.root))
    control.reload(started.root / "postfix")
    yield started
    lifecycle.remove(started.root)


@pytest.fixture(scope="module")
def traffic(own: Lab) -> dict[str, str]:
    """Mail of every kind, by what it is, in a Postfix that is stopped then: what is in the queue stays."""
    made = {}
    with listening(own.status.outbound_port) as sink:
        made["some done"] = send(
            own, "amy@example.org", "fine@a.test", "later@a.test", "refused@a.test", "later2@a.test"
        )
        wait_deferred(own, made["some done"])
        sink.wait_for("fine@a.test")
    made["three"] = send(own, "amy@example.org", "x@a.test", "y@b.test", "z@c.test")
    made["null sender"] = send(own, "", "x@a.test")
    made["quoted"] = send(own, '"a b"@example.org', '"c d"@a.test', '"e\\"f"@a.test', '"g@h"@a.test')
    made["smtputf8"] = send(own, UTF8, "я@a.test", UTF8)
    made["held"] = send(own, "bob@example.org", "x@a.test")
    made["expired"] = send(own, "bob@example.org", "y@a.test")
    recipients = [f"r{number}@many.test" for number in range(MANY)]
    postfix(own, "sendmail", "-i", "-f", "list@example.org", *recipients, stdin="Subject: many\n\nHello.\n")

    def many() -> list[Message]:
        return [one for one in queued(own).values() if one.sender == "list@example.org"]

    def are_all_deferred() -> bool:
        return any(sum(r.delay_reason is not None for r in one.recipients) == MANY for one in many())

    wait("the deferral of many recipients", are_all_deferred, 60)
    made["many"] = many()[0].queue_id
    wait_deferred(own, *made.values())
    assert "1 message" in postfix(own, "postsuper", "-h", made["held"])
    assert "1 message" in postfix(own, "postsuper", "-e", made["expired"])
    control.stop(own.root / "postfix")
    postfix(own, "sendmail", "-i", "-f", "cron@example.org", "x@a.test", stdin="Subject: drop\n\nHello.\n")
    postfix(
        own, "sendmail", "-i", "-t", "-f", "cron@example.org", stdin="To: header@a.test\nSubject: t\n\nx\n"
    )
    drops = [one for one in queued(own).values() if one.queue_name == "maildrop"]
    made["maildrop"] = next(one for one in drops if one.recipients[0].address == "x@a.test").queue_id
    made["from header"] = next(one for one in drops if one.recipients[0].address == "header@a.test").queue_id
    # A restarted queue manager would do this to them first.
    folder = own.root / "spool"
    for name, queue in (("three", "active"), ("quoted", "incoming")):
        path = queued(own)[made[name]].path
        assert path is not None
        Path(path).rename(folder / queue / made[name])
    return made


def test_both_sources_agree_on_every_kind_of_mail(own: Lab, traffic: dict[str, str]) -> None:
    found = check_agreement(own.settings)
    queues = {name: found[queue_id].queue_name for name, queue_id in traffic.items()}
    assert queues == {
        "some done": "deferred",
        "three": "active",
        "null sender": "deferred",
        "quoted": "incoming",
        "smtputf8": "deferred",
        "held": "hold",
        "expired": "deferred",
        "many": "deferred",
        "maildrop": "maildrop",
        "from header": "maildrop",
    }
    assert found[traffic["null sender"]].sender == ""
    assert found[traffic["quoted"]].sender == '"a b"@example.org'
    assert [one.address for one in found[traffic["quoted"]].recipients] == [
        *('"c d"@a.test', '"e\\"f"@a.test', '"g@h"@a.test')
    ]
    assert found[traffic["smtputf8"]].sender == UTF8
    assert {one.address for one in found[traffic["smtputf8"]].recipients} == {"я@a.test", UTF8}
    assert [name for name, queue_id in traffic.items() if found[queue_id].forced_expire] == ["expired"]
    assert len(found[traffic["many"]].recipients) == MANY


def test_both_sources_agree_without_smtputf8(own: Lab, traffic: dict[str, str]) -> None:
    """Postfix prints other bytes than ASCII as question marks then, and so do we."""
    postfix(own, "postconf", "-e", "smtputf8_enable = no")
    try:
        found = check_agreement(own.settings)
        assert found[traffic["smtputf8"]].sender.startswith("gr????e@")
    finally:
        postfix(own, "postconf", "-e", "smtputf8_enable = yes")


def test_postcat_tells_the_same(own: Lab, traffic: dict[str, str]) -> None:
    found = queued(own)
    for queue_id in traffic.values():
        check_postcat(own, found[queue_id])


def test_what_only_the_spool_knows(own: Lab, traffic: dict[str, str]) -> None:
    found = queued(own)
    some_done = found[traffic["some done"]]
    assert sorted((one.address, one.dsn) for one in some_done.recipients) == [
        ("later2@a.test", "4.2.0"),
        ("later@a.test", "4.2.0"),
    ]
    assert all("come back later" in (one.delay_reason or "") for one in some_done.recipients)
    assert some_done.recipients_done == 2
    details = content.read_details(some_done)
    assert details is not None
    assert sorted(address for address, _ in details.done) == ["fine@a.test", "refused@a.test"]
    assert details.attributes["helo_name"] == "client.test"
    assert (some_done.client_address, some_done.helo_name) == ("127.0.0.1", "client.test")
    now = time.time()
    assert some_done.next_retry is not None
    assert now < some_done.next_retry < now + 5000
    assert some_done.next_retry == int(Path(some_done.path or "").stat().st_mtime)
    assert some_done.expires is not None
    assert abs(some_done.expires - some_done.arrival_time - 5 * 86400) < 5
    assert found[traffic["held"]].next_retry is None
    assert found[traffic["maildrop"]].expires is None
    postfix(own, "postconf", "-e", "bounce_queue_lifetime = 1h")
    again = queued(own)[traffic["null sender"]]
    assert again.expires is not None
    assert abs(again.expires - again.arrival_time - 3600) < 5
    postfix(own, "postconf", "-X", "bounce_queue_lifetime")
    unknown = next(iter(read.messages(own.settings, Listing(), source="postqueue")))
    assert (unknown.next_retry, unknown.expires, unknown.recipients_done, unknown.path) == (None,) * 4


def test_less_is_read_where_less_is_needed(own: Lab, traffic: dict[str, str]) -> None:
    everything = queued(own)
    for names in (("sender",), ("recipients",), ("reasons",), ("forced_expire",), ("client_name", "expires")):
        for message in read.messages(own.settings, Listing(), need=frozenset(names)):
            whole = everything[message.queue_id]
            for name in ("sender", "arrival_time", "message_size", *names):
                if name != "reasons":
                    continue
                assert shared(message)["recipients"] == shared(whole)["recipients"]
            for name in {"sender", "arrival_time", "message_size", *names} - {"reasons", "recipients"}:
                assert getattr(message, name) == getattr(whole, name), name
            if "recipients" in names:
                assert {r.address for r in message.recipients} == {r.address for r in whole.recipients}


def test_a_message_is_found_by_its_id(own: Lab, traffic: dict[str, str]) -> None:
    everything = queued(own)
    for source in ("spool", "postqueue"):
        wanted = [traffic["some done"], traffic["three"], "ABCDEF0123", "../hold", ""]
        found = list(read.find(own.settings, Listing(), wanted, source=source))
        assert {one.queue_id: shared(one) for one in found} == {
            one: shared(everything[one]) for one in wanted[:2]
        }


def test_a_message_is_found_where_an_old_depth_put_it(place: Callable[[], Path]) -> None:
    home = fill(make_home(place() / "home"), 3)
    path = next(home.spool.glob("deferred/*/*"))
    (path.parent / "F" / "0").mkdir(parents=True)
    path.rename(path.parent / "F" / "0" / path.name)
    settings = load_settings(home.settings_file, {})
    (found,) = read.find(settings, Listing(), [path.name])
    assert (found.queue_id, Path(found.path or "").parent.name) == (path.name, "0")


def test_list_and_show_on_the_command_line(own: Lab, traffic: dict[str, str]) -> None:
    by_source = {}
    for source in ("spool", "postqueue"):
        lines = own.postmaster("queue", "list", "-o", "jsonl", "--source", source).stdout.splitlines()
        rows = {row["queue_id"]: row for row in map(json.loads, lines)}
        assert set(traffic.values()) == set(rows)
        by_source[source] = rows
        assert json.loads(own.postmaster("queue", "list", "-o", "json", "--source", source).stdout) == list(
            rows.values()
        )
    for queue_id, row in by_source["spool"].items():
        other = by_source["postqueue"][queue_id]
        assert set(row) == set(other)
        for key in ("queue_name", "arrival_time", "message_size", "forced_expire", "sender", "instance"):
            assert row[key] == other[key]
        assert [(r["address"], r["delay_reason"]) for r in row["recipients"]] == [
            (r["address"], r["delay_reason"]) for r in other["recipients"]
        ]
        assert other["next_retry"] is other["damage"] is other["helo_name"] is None
    table = own.postmaster("queue", "list").stdout
    assert re.search(rf" r\d+@many\.test \(\+{MANY - 1}\)", table)
    assert len(table.splitlines()) == len(traffic) + 1
    shown = json.loads(own.postmaster("queue", "show", traffic["some done"], "-o", "json").stdout)
    assert [one["address"] for one in shown["recipients_finished"]] == ["fine@a.test", "refused@a.test"]
    assert {"name": "Subject", "value": "test"} in shown["headers"]
    assert shown["parts"][0]["type"] == "text/plain"
    assert {(one["recipient"], one["status"], one["dsn"]) for one in shown["attempts"]} == {
        ("fine@a.test", "sent", "2.0.0"),
        ("refused@a.test", "bounced", "5.1.1"),
        ("later@a.test", "deferred", "4.2.0"),
        ("later2@a.test", "deferred", "4.2.0"),
    }
    assert all(shown["arrival_time"] <= one["time"] for one in shown["attempts"])
    people = own.postmaster("queue", "show", traffic["some done"], traffic["smtputf8"], "--body").stdout
    assert "done fine@a.test" in people
    assert "todo later@a.test: 4.2.0 host 127.0.0.1" in people
    assert "Hello test." in people
    raw = own.postmaster("queue", "show", traffic["three"], "--raw").stdout
    assert raw.endswith("\n\nHello test.\n")
    several = own.postmaster("queue", "show", traffic["three"], "ABCDEF0123", "-o", "jsonl", expect=3)
    assert "ABCDEF0123" in several.stderr
    assert json.loads(several.stdout)["queue_id"] == traffic["three"]


def test_half_written_corrupt_and_foreign_files(own: Lab, traffic: dict[str, str]) -> None:
    folder = own.root / "spool"
    garbage = folder / "corrupt" / "ABCDEF0123"
    garbage.write_bytes(os.urandom(5000))
    garbage.chmod(0o400)
    half = folder / "incoming" / "ABCDEF0124"
    half.write_bytes(queue_file(b"a@b.test", [(b"R", b"c@d.test")])[0][:150])
    half.chmod(0o600)
    odd = folder / "deferred" / "A" / "ABCDEF0125"
    odd.parent.mkdir(exist_ok=True)
    odd.write_bytes(queue_file(b"a@b.test", [(b"R", b"c@d.test")])[0])
    odd.chmod(0o444)
    os.mkfifo(folder / "hold" / "ABCDEF0126")
    try:
        listing = Listing()
        found = {one.queue_id: one for one in read.messages(own.settings, listing)}
        assert found["ABCDEF0123"].damage
        assert "half-written" in (found["ABCDEF0124"].damage or "")
        assert "its mode is 444" in (found["ABCDEF0125"].damage or "")
        assert "ABCDEF0126" not in found
        check_agreement(own.settings)
        assert "damaged" in own.postmaster("queue", "list").stdout
        own.postmaster("queue", "show", "ABCDEF0123", "--headers", "--body")
        own.postmaster("queue", "show", "ABCDEF0123", "--raw", expect=3)
    finally:
        for path in (garbage, half, odd, folder / "hold" / "ABCDEF0126"):
            path.unlink()


def test_live_mail_arriving_and_leaving(place: Callable[[], Path]) -> None:
    """Messages in the middle of their arrival and of their delivery, in a Postfix at work."""
    lab = start_lab(place())
    try:
        with listening(lab.status.outbound_port) as sink:
            active = send(lab, "amy@example.org", "slow@a.test")
            assert sink.stalled.wait(20)
            with client(lab) as arriving:
                arriving.mail("half@example.org")
                arriving.docmd("RCPT TO:<x@a.test>")
                arriving.docmd("DATA")
                assert arriving.sock is not None
                arriving.sock.sendall(b"Subject: never finished\r\n" + b"x" * 70 + b"\r\n")
                wait("the half", lambda: any(m.damage for m in queued(lab).values()))
                found = check_agreement(lab.settings)
                assert found[active].queue_name == "active"
                half = [one for one in found.values() if one.damage]
                assert [one.queue_name for one in half] == ["incoming"]
                assert "half-written" in (half[0].damage or "")
                check_postcat(lab, found[active])
                arriving.close()
            sink.go.set()
            sink.wait_for("slow@a.test")
        wait("an empty queue", lambda: not queued(lab))
        assert list(read.messages(lab.settings, Listing(), source="postqueue")) == []
    finally:
        lifecycle.remove(lab.root)


def test_the_queue_moves_while_it_is_read(place: Callable[[], Path]) -> None:
    """Hundreds of messages come and go; the readers neither fail nor find damage."""
    lab = start_lab(place())
    try:
        with listening(lab.status.outbound_port):
            config = str(lab.root / "postfix")
            feeder = subprocess.Popen(
                [
                    *("smtp-source", "-c", "-m", "400", "-s", "4", "-f", "a@example.org", "-t", "x@a.test"),
                    f"127.0.0.1:{lab.port('smtp')}",
                ],
                stdout=subprocess.DEVNULL,
                env={**os.environ, "MAIL_CONFIG": config},
            )
            seen = set()
            while feeder.poll() is None or queued(lab):
                listing = Listing()
                for source in ("spool", "postqueue"):
                    for message in read.messages(lab.settings, listing, source=source):
                        seen.add(message.queue_id)
                        assert message.damage is None or "half-written" in message.damage
                assert listing.unreadable == 0
            assert feeder.returncode == 0
            assert seen
    finally:
        lifecycle.remove(lab.root)


@pytest.fixture(scope="module")
def large(place: Callable[[], Path]) -> tuple[Written, Settings]:
    """A queue large enough for several processes."""
    home = fill(make_home(place() / "home"), 3000)
    return home, load_settings(home.settings_file, {})


def test_a_generated_spool_is_one_for_postfix_too(large: tuple[Written, Settings]) -> None:
    from tests.bench import queue as bench

    bench.check_agreement(large[0])
    said = subprocess.run(
        ["postsuper", "-c", str(large[0].config_directory), "-s"], capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stderr) == (0, ""), "postsuper has nothing to mend"


def test_all_cores_find_what_one_finds(large: tuple[Written, Settings]) -> None:
    home, settings = large
    one = sorted(read.messages(settings, Listing()), key=lambda m: m.queue_id)
    all_ = sorted(read.select(settings, Listing()), key=lambda m: m.queue_id)
    assert one == all_
    assert len(one) == home.messages
    hits = read.select(
        settings,
        Listing(),
        lambda m: m.sender.startswith("newsletter@"),
        test_need=frozenset({"sender"}),
    )
    expected = [m for m in one if m.sender.startswith("newsletter@")]
    assert sorted(hits, key=lambda m: m.queue_id) == expected
    assert len(expected) == home.rare
    lengths = read.transform(settings, Listing(), lambda m: len(m.recipients))
    assert sum(lengths) == home.recipients

    def work(found: Iterable[Message]) -> Iterator[Counter[str]]:
        yield Counter(r.address.rpartition("@")[2] for m in found for r in m.recipients)

    counted = read.gather(settings, Listing(), work, need=frozenset({"recipients"}))
    assert sum(counted, Counter()) == home.domains
    assert read.count_files(settings) == home.messages
    assert all(unpack(pack(m)) == m for m in one[:50])


def no_children() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return True


def test_a_stream_that_is_left_leaves_no_process(large: tuple[Written, Settings]) -> None:
    stream = read.select(large[1], Listing())
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert no_children()


def test_what_fails_in_another_process_fails_here(large: tuple[Written, Settings]) -> None:
    here = os.getpid()

    def test(message: Message) -> bool:
        if os.getpid() != here:
            raise NotFoundError("a mistake", hint="of the test")
        return True

    with pytest.raises(NotFoundError, match="a mistake"):
        list(read.select(large[1], Listing(), test))
    assert no_children()


def test_a_killed_process_is_told(large: tuple[Written, Settings]) -> None:
    here = os.getpid()

    def test(message: Message) -> bool:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    with pytest.raises(ProcessError, match="ended from outside"):
        list(read.select(large[1], Listing(), test))
    assert no_children()


def test_files_vanish_under_the_reader(place: Callable[[], Path]) -> None:
    home = fill(make_home(place() / "home"), 300)
    settings = load_settings(home.settings_file, {})
    listing = Listing()
    stream = read.messages(settings, listing)
    first = [next(stream) for _ in range(5)]
    gone = 0
    for path in list(home.spool.glob("deferred/*/*")):
        if path.name not in {one.queue_id for one in first}:
            path.unlink()
            gone += 1
    rest = list(stream)
    assert gone + len(first) == 300
    assert len(first) + len(rest) < 300
    assert listing.unreadable == 0
    (home.spool / "deferred" / first[0].queue_id[0] / first[0].queue_id).unlink()
    with pytest.raises(NotFoundError, match="not in deferred any more"):
        content.read_content(settings, first[0])
    import shutil

    stream = read.messages(settings, listing)
    next(stream)
    shutil.rmtree(home.spool / "deferred")
    list(stream)


def test_what_may_not_be_read_is_counted_and_told(large: tuple[Written, Settings], tmp_path: Path) -> None:
    """A user without rights gets postqueue, or a clear refusal."""
    instance = chosen(large[1].postfix.config_directory)[0]
    pid = os.fork()
    if pid == 0:  # this process must stay root
        status = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            assert read.source_of(instance) == "postqueue"
            try:
                read.source_of(instance, "spool")
            except ServerError as error:
                status = 0 if "may not be read" in error.message else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_several_instances(large: tuple[Written, Settings], place: Callable[[], Path]) -> None:
    home, settings = large
    other = fill(make_home(place() / "other"), 5, seed=7)
    with (other.config_directory / "main.cf").open("a") as main:
        main.write("multi_instance_name = postfix-out\n")
    main_cf = home.config_directory / "main.cf"
    before = main_cf.read_text()
    main_cf.write_text(before + f"multi_instance_directories = {other.config_directory}\n")
    try:
        for source in ("spool", "postqueue"):
            count = Counter(m.instance for m in read.messages(settings, Listing(), source=source))
            assert count == {"-": 3000, "postfix-out": 5}
            only = read.messages(settings, Listing(), source=source, instances=["postfix-out"])
            assert {m.instance for m in only} == {"postfix-out"}
        assert sum(1 for _ in read.select(settings, Listing())) == 3005
        assert read.count_files(settings) == 3005
        with pytest.raises(NotFoundError, match="no Postfix instance nobody"):
            list(read.messages(settings, Listing(), instances=["nobody"]))
    finally:
        main_cf.write_text(before)


def test_damaged_files_beside_good_ones(place: Callable[[], Path]) -> None:
    """Bit flips, truncation and garbage in a queue that Postfix reads as well."""
    home = fill(make_home(place() / "home"), 40)
    settings = load_settings(home.settings_file, {})
    paths = sorted(home.spool.glob("deferred/*/*"))
    for number, path in enumerate(paths[:20]):
        data = bytearray(path.read_bytes())
        if number % 2:
            data = data[: 40 * number]
        else:
            data[10 * number + 3] ^= 1 << (number % 8)
        path.write_bytes(data)
    listing = Listing()
    found = list(read.messages(settings, listing))
    assert len(found) == 40
    assert listing.unreadable == 0
    assert sum(one.damage is not None for one in found) >= 10
    for one in found:
        content.read_content(settings, one, body=True)


def test_the_memory_does_not_grow_with_the_queue(large: tuple[Written, Settings]) -> None:
    import tracemalloc

    for read_all in (read.messages, read.select):
        assert sum(1 for _ in read_all(large[1], Listing())) == 3000
        tracemalloc.start()
        for _ in read_all(large[1], Listing()):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 4 << 20, "all 3,000 messages together take more"


def test_the_settings_name_the_instance(own: Lab) -> None:
    with pytest.raises(ProcessError):
        list(read.messages(Settings(postfix=PostfixSettings(own.root / "none")), Listing()))


def test_sorted_limited_and_in_columns(large: tuple[Written, Settings]) -> None:
    import sys

    home, settings = large

    def queue_list(*arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "postmaster", "--config", str(home.settings_file), "queue", "list"),
                *arguments,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expect, done.stderr
        return done

    everything = list(read.messages(settings, Listing()))
    ages = sorted(m.arrival_time for m in everything)
    done = queue_list("--sort", "age", "--limit", "20", "-o", "jsonl", "--columns", "id,arrived,reason,dsn")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [list(row) for row in rows] == [["queue_id", "arrival_time", "reason", "dsn"]] * 20
    from postmaster.render.output import moment, timestamp

    assert [row["arrival_time"] for row in rows] == [timestamp(moment(age)) for age in ages[:20]]
    assert done.stderr == "2980 more; --limit 0 shows all\n"
    done = queue_list("--sort=-size", "-o", "csv", "--columns", "size")
    assert [int(line) for line in done.stdout.splitlines()[1:]] == sorted(m.message_size for m in everything)
    done = queue_list("--limit", "7")
    assert len(done.stdout.splitlines()) == 8
    assert done.stderr == "2993 more; --limit 0 shows all\n"
    assert len(json.loads(queue_list("-o", "json").stdout)) == 3000
    assert re.search("no column nonsense", queue_list("--sort", "nonsense", expect=2).stderr)
    assert re.search("no column nonsense", queue_list("--columns", "id,nonsense", expect=2).stderr)
