"""`postmaster log report`: forms of output, a period, filters, what is not understood or cannot be read."""

from __future__ import annotations

import csv
import gzip
import io
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.tools.documented import json_keys, key_paths
from tests.tools.forms import FORMS
from tests.tools.maillog import Traffic

from .conftest import Cli
from .test_main import HEAVY, loaded


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "mail.log"
    Traffic(6000, seed=5).write(path)
    return path


def test_the_json_is_what_the_page_of_conventions_says(bare: Cli, log: Path) -> None:
    with log.open("a") as file:
        file.write("2026-05-11T00:20:00Z mail postfix/smtpd[1]: warning: something is odd\n")
    made = bare(
        "log", "report", "--log", str(log), "--since", "2026-05-11T00:02Z", "--compare", "-o", "json"
    ).json
    assert key_paths(made) == json_keys("log report")
    assert made["totals"]["received"] > 100
    assert made["compared"]["totals"]["received"] > 0


def test_the_parts_of_a_period_add_up(bare: Cli, log: Path) -> None:
    def totals(*words: str) -> dict[str, int]:
        found: dict[str, int] = bare("log", "report", "--log", str(log), *words, "-o", "json").json["totals"]
        return found

    middle = "2026-05-11T00:03:00Z"
    whole, first, second = totals(), totals("--until", middle), totals("--since", middle)
    for key in ("received", "delivered", "deferrals", "bounced", "rejected"):
        assert whole[key] == first[key] + second[key]
        assert first[key] > 0


@pytest.mark.parametrize("form", FORMS)
def test_a_log_of_any_form_counts_the_same(bare: Cli, log: Path, form: str) -> None:
    lines = log.read_text().splitlines()[:800]
    log.write_text("".join(f"{line}\n" for line in lines))
    middle = lines[len(lines) // 2].partition(" ")[0]
    other, given = log.with_name("other.log"), "".join(f"{FORMS[form](line)}\n" for line in lines)
    other.write_bytes(given.encode())
    for words in ([], ["--since", middle]):
        expected = bare("log", "report", "--log", str(log), *words, "-o", "json").json
        assert expected["totals"]["received"] > 0
        assert bare("log", "report", "--log", str(other), *words, "-o", "json").json == expected
        assert bare("log", "report", "--log", "-", *words, "-o", "json", stdin=given).json == expected


def test_filters_leave_what_fits(bare: Cli, log: Path) -> None:
    lines = log.read_text().splitlines()

    def totals(*words: str) -> dict[str, int]:
        found: dict[str, int] = bare("log", "report", "--log", str(log), *words, "-o", "json").json["totals"]
        return found

    sent = [line for line in lines if "status=sent" in line]
    assert totals("--to", "d3.example")["delivered"] == sum("@d3.example>, relay" in line for line in sent)
    assert totals("--status", "deferred")["delivered"] == 0
    assert totals("--status", "deferred")["deferrals"] == sum("status=deferred" in line for line in lines)
    assert totals("--dsn", "5")["bounced"] == sum("dsn=5." in line for line in lines)
    logins = [line for line in lines if "client=" in line and line.endswith("@d3.example")]
    assert totals("--sasl", "*@d3.example")["received"] == len(logins)
    guesses = totals("--client", "unknown")
    assert guesses["received"] == sum(": client=unknown[" in line for line in lines)
    assert guesses["rejected"] == sum("reject: RCPT from unknown[" in line for line in lines)
    everything, whole = totals("--from", "*"), totals()
    for key in ("delivered", "bounced", "bytes_received", "rejected"):
        assert everything[key] == whole[key]
    # The sender of a message that has just begun is not known yet.
    named = {line.split(": ")[1] for line in lines if "from=<" in line and "NOQUEUE" not in line}
    begun = [line.split(": ")[1] for line in lines if ": client=" in line or ": uid=" in line]
    assert everything["received"] == sum(queue_id in named for queue_id in begun)


def test_csv_has_each_number_with_its_name(bare: Cli, log: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(bare("log", "report", "--log", str(log), "-o", "csv").out)))
    made = bare("log", "report", "--log", str(log), "-o", "json").json
    totals = {row["measure"]: int(row["value"]) for row in rows if row["section"] == "totals"}
    assert totals == made["totals"]
    senders = {
        row["name"]: int(row["value"])
        for row in rows
        if row["section"] == "senders" and row["measure"] == "messages"
    }
    assert senders == {row["name"]: row["messages"] for row in made["senders"]}


def test_the_page_stands_alone_and_escapes_what_strangers_sent(bare: Cli, log: Path) -> None:
    with log.open("a") as file:
        file.write(
            "2026-05-11T00:20:00Z mail postfix/smtpd[1]: NOQUEUE: reject: RCPT from <b>x</b>[192.0.2.1]: "
            "550 5.1.1 no <script>alert(1)</script> \x1b[31m; from=<a@b>\n"
        )
    page = bare("log", "report", "--log", str(log), "-o", "html").out
    tags: list[tuple[str, dict[str, str | None]]] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append((tag, dict(attrs)))

    Tags().feed(page)
    assert {"html", "style", "table", "tr", "td"} <= {tag for tag, _ in tags}
    assert "alert(1)" in page
    assert "script" not in {tag for tag, _ in tags}
    assert "b" not in {tag for tag, _ in tags}
    assert not any(name in attributes for _, attributes in tags for name in ("src", "href", "onclick"))
    assert "url(" not in page
    assert "\x1b" not in page


def test_the_table_draws_bars_and_names_the_largest(bare: Cli, log: Path) -> None:
    text = bare("log", "report", "--log", str(log), "--top", "2").out
    assert "█" in text
    assert "postmaster@d0.example" in text
    assert text.count("@d0.example") < 10


def test_lines_that_are_not_understood_are_counted_and_shown(bare: Cli, log: Path) -> None:
    odd = "2026-05-11T00:20:00Z mail postfix/smtpd[1]: a line of a later version"
    with log.open("a") as file:
        file.write(odd + "\n2026-05-11T00:20:00Z mail cron[1]: not ours\n")
    done = bare("log", "report", "--log", str(log))
    assert "1 lines were not understood" in done.err
    assert bare("log", "report", "--log", str(log), "--unparsed").out == odd + "\n"


def test_a_file_that_is_no_mail_log_is_told_so(bare: Cli, tmp_path: Path, log: Path) -> None:
    path = tmp_path / "syslog"
    path.write_text("2026-05-11T00:20:00Z mail cron[1]: not ours\n28. Mai 20:26:40 mail postfix/qmgr[1]: x\n")
    assert "is it a mail log?" in bare("log", "report", "--log", str(path)).err
    path.write_text(path.read_text() + "2026-05-11T00:20:00Z mail postfix/qmgr[1]: AAAAA1: removed\n")
    for readable in (path, log):
        assert "is it a mail log?" not in bare("log", "report", "--log", str(readable)).err


def test_what_cannot_be_read_to_its_end_is_said(bare: Cli, tmp_path: Path, log: Path) -> None:
    packed = tmp_path / "x.gz"
    packed.write_bytes(gzip.compress(log.read_bytes())[:-3000])
    done = bare("log", "report", "--log", str(packed), "-o", "json", expect=3)
    assert done.json["totals"]["received"] > 0
    assert "gzip" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--since", "soon"), "is no time"),
        (("--since", "today", "--until", "yesterday"), "not before"),
        (("--compare",), "--compare needs --since"),
        (("--log", "/nonexistent/mail.log"), "cannot be read"),
        (("--compare", "--since", "today", "--log", "-"), "once only"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(bare: Cli, words: tuple[str, ...], message: str) -> None:
    done = bare("log", "report", *words, expect=None)
    assert done.status in (1, 2)
    assert message in done.err
    assert done.err.count("\n") == 1


def test_suspicious_logins_have_their_evidence_and_the_command_that_follows(
    bare: Cli, tmp_path: Path
) -> None:
    path = tmp_path / "mail.log"
    path.write_text(
        "2026-05-28T10:00:00Z mail postfix/smtpd[1]: warning: c[192.0.2.1]: SASL X authentication failed: x\n"
        * 7
        + "2026-05-28T10:01:00Z mail postfix/smtpd[1]: ABCDEF: client=c[192.0.2.1], sasl_method=LOGIN,"
        " sasl_username=amy's@x.test\n"
    )
    (row,) = bare("log", "suspicious", "--log", str(path), "-o", "json", expect=4).json
    assert key_paths(row) == json_keys("log suspicious")
    assert (row["kind"], row["count"]) == ("guessed", 7)
    assert row["command"] == r"postmaster user set 'amy'\''s@x.test' --no-login --no-send"
    assert "amy's@x.test" in bare("log", "suspicious", "--log", str(path), expect=4).out
    assert bare("log", "suspicious", "--log", str(path), "--guesses", "8").out == "nothing suspicious\n"


@pytest.mark.parametrize(
    "words", [("log", "report"), ("log", "suspicious"), ("trace", "nobody@x.test")], ids=" ".join
)
def test_reading_logs_loads_no_database_and_draws_without_rich(
    bare: Cli, log: Path, words: tuple[str, ...]
) -> None:
    _, modules = loaded("--config", str(bare.file), *words, "--log", str(log))
    assert "postmaster.trace.lines" in modules
    assert modules & HEAVY == set()
