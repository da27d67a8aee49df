"""`postmaster trace` on a log of its own: forms of output, standard input, wrong usage."""

from __future__ import annotations

import csv
import io
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.tools.documented import json_keys, key_paths
from tests.tools.forms import FORMS
from tests.tools.maillog import Traffic

from .conftest import Cli


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "mail.log"
    Traffic(6000, seed=5, traced_messages=4).write(path)
    return path


def test_the_json_is_what_the_page_of_conventions_says(bare: Cli, log: Path) -> None:
    made = bare("trace", "traced@d0.example", "--log", str(log), "-o", "json").json
    assert len(made) == 4
    promised = {key for key in json_keys("trace") if not key.startswith("actions[]")}  # nobody acted on them
    assert all(key_paths(row) == promised for row in made)
    assert {row["outcome"] for row in made} == {"sent"}


def test_a_timeline_ends_with_the_verdict(bare: Cli, log: Path) -> None:
    text = bare("trace", "traced@d0.example", "--log", str(log), "--limit", "1").out
    assert text.count("From ") == 1
    assert text.splitlines()[-1].startswith("  = Delivered to INBOX of traced@d0.example")


def test_lines_are_those_of_the_log_and_nothing_else(bare: Cli, log: Path) -> None:
    shown = bare("trace", "traced@d0.example", "--log", str(log), "--lines").out.splitlines()
    lines = log.read_text().splitlines()
    assert set(shown) <= set(lines)
    assert sum("to=<traced@d0.example>" in line for line in shown) == 4
    assert shown == sorted(shown, key=lines.index)


def test_standard_input_is_searched_as_a_file_is(bare: Cli, log: Path) -> None:
    made = bare("trace", "traced@d0.example", "--log", str(log), "-o", "json").json
    assert bare("trace", "traced@d0.example", "--log", "-", "-o", "json", stdin=log.read_text()).json == made


@pytest.mark.parametrize("form", [form for form in FORMS if form != "journal-long"])
def test_a_log_of_any_form_tells_the_same(bare: Cli, log: Path, form: str) -> None:
    lines = log.read_text().splitlines()
    middle = lines[len(lines) // 3].partition(" ")[0]
    other = log.with_name("other.log")
    other.write_bytes("".join(f"{FORMS[form](line)}\n" for line in lines).encode())
    for words in ([], ["--since", middle]):
        expected = bare("trace", "traced@d0.example", "--log", str(log), *words, "-o", "json").json
        made = bare("trace", "traced@d0.example", "--log", str(other), *words, "-o", "json").json
        assert [row["verdict"] for row in made] == [row["verdict"] for row in expected]
        assert [len(row["lines"]) for row in made] == [len(row["lines"]) for row in expected]


def test_a_message_among_many_is_told_as_it_is_alone(bare: Cli, log: Path) -> None:
    """What is looked for beside a message is looked for near it, however many others are asked for."""
    many = bare("trace", "d0.example", "--log", str(log), "--limit", "0", "-o", "json").json
    assert len(many) > 20
    for row in many[::7]:
        (alone,) = bare("trace", row["queue_ids"][0], "--log", str(log), "-o", "json").json
        assert alone == row


def test_csv_has_a_line_for_each_message(bare: Cli, log: Path) -> None:
    rows = list(
        csv.DictReader(io.StringIO(bare("trace", "traced@d0.example", "--log", str(log), "-o", "csv").out))
    )
    assert [row["outcome"] for row in rows] == ["sent"] * 4
    assert rows[0]["recipients"] == "traced@d0.example"


def test_what_strangers_wrote_is_shown_escaped(bare: Cli, tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(
        b"2026-05-28T10:00:00Z mail postfix/smtpd[1]: NOQUEUE: reject: RCPT from c[192.0.2.1]: "
        b"550 5.1.1 \x1b[31m\xff no; from=<a@b.test> to=<c@d.test> proto=ESMTP helo=<h>\n"
    )
    text = bare("trace", "c@d.test", "--log", str(path)).out
    assert "\\x1b[31m\\xff no" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("words", "message", "status"),
    [
        ((), "nothing to look for", 2),
        (("a", "b"), "one WHAT at a time", 2),
        (("--from", "*"), "nothing to look for", 2),
        (("nobody@d0.example",), "is not in these logs, which start at 2026-05-11T00:00:00Z", 1),
        (("nobody@d0.example", "--follow", "--log", "-"), "cannot be watched", 2),
        (("probe", "no address"), "no address", 2),
    ],
)
def test_what_cannot_be_traced_is_said_in_one_line(
    bare: Cli, log: Path, words: tuple[str, ...], message: str, status: int
) -> None:
    done = bare("trace", *words, *(() if "--log" in words else ("--log", str(log))), expect=status)
    assert message in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        ("", (), "no line with a time stamp that is known"),
        ("28. Mai 20:26:40 mail postfix/qmgr[1]: AAAAA1: removed\n", (), "no line with a time stamp"),
        ("2026-05-28T10:00:00Z mail postfix/qmgr[1]: AAAAA1: removed\n", ("--since", "2026-05-29"),
         "no line of that time"),
    ],
    ids=["empty", "of another language", "outside the period"],
)  # fmt: skip
def test_a_log_that_can_say_nothing_says_why(
    bare: Cli, tmp_path: Path, content: str, words: tuple[str, ...], said: str
) -> None:
    path = tmp_path / "mail.log"
    path.write_text(content)
    assert said in bare("trace", "AAAAA1", "--log", str(path), *words, expect=1).err


def test_following_ends_when_the_message_has(bare: Cli, log: Path) -> None:
    done = bare("trace", "traced@d0.example", "--log", str(log), "--follow", "-o", "json")
    assert len(done.json) == 4
    told = bare("trace", "traced@d0.example", "--log", str(log), "--follow")
    assert told.err.count("left the queue") == 4


def test_following_survives_a_rotation(bare: Cli, tmp_path: Path) -> None:
    def stamped(second: int, text: str) -> str:
        return f"{datetime.now(UTC).replace(microsecond=second * 1000).isoformat()} mail postfix/{text}\n"

    path = tmp_path / "mail.log"
    bare.file.write_text(bare.file.read_text() + f'\n[log]\nfiles = ["{path}"]\n')
    path.write_text(stamped(1, "pickup[1]: AAAAA1: uid=0 from=<amy@a.test>"))

    def server() -> None:
        time.sleep(1)
        with path.open("a") as file:
            file.write(stamped(2, "qmgr[2]: AAAAA1: from=<amy@a.test>, size=9, nrcpt=1 (queue active)"))
        path.rename(tmp_path / "mail.log.1")
        time.sleep(1.2)
        path.write_text(
            stamped(
                3, "virtual[3]: AAAAA1: to=<bob@a.test>, relay=virtual, delay=2, dsn=2.0.0, status=sent (ok)"
            )
        )
        time.sleep(1.2)
        with path.open("a") as file:
            file.write(stamped(4, "qmgr[2]: AAAAA1: removed"))

    writer = threading.Thread(target=server)
    writer.start()
    done = bare("trace", "AAAAA1", "--follow", "--timeout", "30", "-o", "json")
    writer.join()
    (row,) = done.json
    assert (row["outcome"], row["is_over"], len(row["lines"])) == ("sent", True, 4)


def test_following_a_named_log_survives_that_it_is_moved_away(bare: Cli, tmp_path: Path) -> None:
    def stamped(text: str) -> str:
        return f"{datetime.now(UTC).isoformat()} mail postfix/{text}\n"

    path = tmp_path / "named.log"
    path.write_text(stamped("pickup[1]: AAAAA1: uid=0 from=<amy@a.test>"))

    def server() -> None:
        time.sleep(1.2)
        path.rename(tmp_path / "away")
        time.sleep(1.5)
        path.write_text(stamped("qmgr[2]: AAAAA1: removed"))

    writer = threading.Thread(target=server)
    writer.start()
    done = bare("trace", "AAAAA1", "--follow", "--timeout", "30", "-o", "json", "--log", str(path))
    writer.join()
    (row,) = done.json
    assert (row["is_over"], len(row["lines"])) == (True, 1)
    gone = bare("trace", "AAAAA1", "--follow", "--timeout", "0", "--log", str(tmp_path / "none"), expect=1)
    assert "cannot be read" in gone.err
