"""A report as page, text and mail: hostile texts stay texts, a mail's parser gets back what went in."""

from __future__ import annotations

import email
import email.policy
import re
from dataclasses import replace
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings

from postmaster.health.changes import Change, Event
from postmaster.health.finding import NO_ANSWER, OK, Finding, Severity
from postmaster.health.report import Report, Reported, words
from postmaster.health.report.colours import DARK, LIGHT
from postmaster.health.report.html import CHARTS, page
from postmaster.health.report.mail import FLOW_HEADER, STATUS_HEADER, message, note, subject
from postmaster.health.report.send import send  # noqa: F401 (all ways load without anything else)
from postmaster.health.report.text import MOST, WIDTH, text
from postmaster.health.statistics import Statistics
from postmaster.render.escape import printable
from tests.tools.reports import NOW, all_well, any_report, everything, series

VOID = {"meta", "br", "path"}
RULES = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


class Structure(HTMLParser):
    """What a page is made of: every element opened and closed, none that could run or load anything."""

    def __init__(self, made: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.feed(made)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            assert name not in ("src", "href", "srcset", "action", "data", "background")
            assert "url(" not in (value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def content(made: EmailMessage, kind: str) -> str:
    body = made.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def reparsed(made: EmailMessage) -> EmailMessage:
    return email.message_from_bytes(made.as_bytes(policy=email.policy.SMTP), policy=email.policy.default)


@given(any_report())
def test_whatever_stands_in_a_report_the_page_is_whole_and_runs_nothing(report: Report) -> None:
    structure = Structure(page(report))
    assert structure.open == []
    assert structure.tags <= {
        *("html", "meta", "title", "style", "header", "h1", "h2", "h3", "p", "span", "small", "article", "b"),
        *("ul", "li", "div", "figure", "figcaption", "svg", "path", "strong"),
    }
    assert not RULES.search("".join(structure.words))


@given(any_report())
@settings(max_examples=60)
def test_whatever_stands_in_a_report_a_mail_parser_gets_it_back(report: Report) -> None:
    made = message(report, "postmaster@example.org", ["amy@example.org", "bob@example.org"])
    wire = made.as_bytes(policy=email.policy.SMTP)
    assert wire.isascii()
    assert all(len(line) <= 998 for line in wire.split(b"\r\n"))  # RFC 5322 section 2.1.1
    assert b"\n" not in wire.replace(b"\r\n", b"")
    got = reparsed(made)
    assert not [part for part in got.walk() if part.defects]
    # Python before 3.12.5 loses spaces between encoded words (its issue 92081).
    assert "".join(got["Subject"].split()) == "".join(subject(report).split())
    assert got["Subject"] == subject(report) or not subject(report).isascii()
    assert got["To"] == "amy@example.org, bob@example.org"
    assert [part.get_content_type() for part in got.iter_parts()] == ["text/plain", "text/html"]
    assert content(got, "plain") == text(report)
    assert Structure(content(got, "html")).open == []
    assert (got["Auto-Submitted"], got[STATUS_HEADER]) == ("auto-generated", report.status.name)
    for name in ("Date", "Message-ID"):
        assert got[name]


@given(any_report())
def test_the_text_is_safe_to_show(report: Report) -> None:
    assert not RULES.search(text(report))
    assert all(line == printable(line) for line in text(report).splitlines())


def test_the_text_alone_tells_everything() -> None:
    report = everything()
    told = text(report)
    assert told.startswith("mail.example.org: 2 critical problems, 1 warning, 1 unknown, 1 acknowledged\n")
    for one in report.problems:
        assert words.name(one.finding) in " ".join(told.split())
        if one.finding.remedy and one.open:
            assert f"-> {one.finding.remedy}" in told  # on one line, to be copied
    assert "CRITICAL services smtp: port 25 does not answer" in told
    assert "OVER directory dovecot.db" in told
    assert "over after 15m" in told
    assert "acknowledged by root until 29 Nov" in told
    assert "The machine was started" not in told
    assert "the machine was started at 24 Nov" in " ".join(told.split())
    assert re.search(r"rejected +5,310 +\+166 %", told)
    assert "4,010  newsletter@example.org" in told
    assert all(len(line) <= WIDTH for line in told.splitlines() if "->" not in line)


def test_a_quiet_day_is_a_short_mail() -> None:
    quiet = replace(all_well(), events=(), statistics=everything().statistics)
    told = text(quiet)
    assert len(told.splitlines()) < 18
    assert "newsletter" not in told
    assert "Looked at" not in told
    assert subject(quiet) == "mail.example.org: daily: all is well, 11,800 delivered"
    assert len(message(quiet).as_bytes()) < 13_000


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "daily: critical: service down, smtp (+3)"),
        ({"statistics": None}, "critical: service down, smtp (+2)"),
        ({"statistics": None, "events": None}, "critical: service down, smtp (+3)"),
        ({"statistics": None, "events": ()}, "a run was missed"),
    ],
)
def test_the_subject_says_it_all(changed: dict[str, Any], expected: str) -> None:
    assert subject(replace(everything(), **changed)) == f"mail.example.org: {expected}"


def test_the_subject_of_what_is_over_or_well() -> None:
    report = replace(all_well(), events=everything().events[2:])  # type: ignore[index]
    assert subject(report) == "mail.example.org: over: lookups behind, dovecot.db"
    assert subject(all_well()) == "mail.example.org: all is well"
    nothing = Report(NOW, "x", 0.1, ())
    assert subject(nothing) == "x: nothing was looked at"


@given(any_report())
def test_a_subject_is_one_line_and_no_longer_than_one(report: Report) -> None:
    assert len(subject(report)) <= 120
    assert subject(report) == printable(subject(report)).strip()


def test_what_is_told_of_a_problem_is_one_thread() -> None:
    """From its beginning to its end, by whatever mail; another problem, and the next outage, are others."""
    finding = Finding("services", "smtp", "service-down", Severity.critical, "it is down")

    def threads(change: Change, since: float, found: Finding = finding) -> list[str]:
        events = (Event(NOW, change, found, Severity.ok, since),)
        made = message(replace(all_well(), events=events))
        assert made["In-Reply-To"] == made["References"].split()[0]
        return str(made["References"]).split()

    began = threads(Change.began, NOW - 60.7)
    assert (
        threads(Change.ended, NOW - 60.7, replace(finding, message="gone", severity=Severity.warning))
        == began
    )
    assert threads(Change.began, NOW) != began
    assert threads(Change.began, NOW - 60.7, replace(finding, object="imap")) != began
    full = message(replace(all_well(), findings=(Reported(finding, NOW - 60.7),)))
    assert str(full["References"]).split() == began
    assert full["Message-ID"] not in began
    assert full["Message-ID"] != message(all_well())["Message-ID"]
    assert message(all_well())["References"] is None
    assert message(everything())["References"] is None  # a digest is about the day
    many = [replace(finding, object=str(number)) for number in range(100)]
    crowd = message(replace(all_well(), findings=tuple(Reported(one, NOW) for one in many)))
    assert len(str(crowd["References"]).split()) == 10


def test_the_message_says_of_itself_whether_mail_flows() -> None:
    assert message(all_well())[FLOW_HEADER] == "flows"
    assert message(everything())[FLOW_HEADER] == "broken"
    for check, code, severity, expected in (
        ("webmail", "code", Severity.critical, "flows"),
        ("services", "code", Severity.warning, "flows"),
        ("services", "code", Severity.unknown, "flows"),
        ("services", NO_ANSWER, Severity.unknown, "broken"),
        ("round-trip", "code", Severity.critical, "broken"),
    ):
        one = Reported(Finding(check, "x", code, severity, "m"), NOW)
        assert message(replace(all_well(), findings=(one,)))[FLOW_HEADER] == expected


def test_a_note_stands_at_the_top_of_text_and_html() -> None:
    made = message(everything())
    note(made, "The usual way failed: <nobody> listens\n\x1b[31m")
    got = reparsed(made)
    top = "The usual way failed: <nobody> listens\\n\\x1b[31m"
    assert content(got, "plain").startswith(f"{top}\n\nmail.example")
    assert "The usual way failed: &lt;nobody&gt; listens\\n\\x1b[31m</p>" in content(got, "html")


def test_many_problems_are_counted_in_a_mail_and_listed_on_the_page() -> None:
    found = [
        Reported(Finding("dns", f"d{at}.example", "mx-missing", Severity.warning, "no MX", "set one"), NOW)
        for at in range(MOST + 7)
    ]
    report = replace(all_well(), findings=tuple(found))
    for told in (text(report), content(message(report), "html")):
        assert "and 7 more: postmaster health check" in told
        assert f"d{MOST - 1}.example" in told
        assert f"d{MOST}.example" not in told
    assert all(page(report).count(f">d{at}.example<") == 1 for at in range(MOST + 7))


def test_a_page_of_five_hundred_findings_is_light() -> None:
    """Half of them problems, each with a chart that could be drawn."""
    few, charts = everything(), series()
    curve = charts[0].points
    found, drawn = [], []
    for at in range(500):
        bad = at % 2 == 0
        finding = replace(
            few.findings[8].finding if bad else few.findings[1].finding,
            object=f"object-{at}.example.org",
            severity=Severity.critical if bad else Severity.ok,
            code="queue-long" if bad else OK,
        )
        found.append(Reported(finding, NOW - 700 if bad else None))
        mine = (one for one in charts if one.check == finding.check)
        drawn += [replace(one, object=finding.object, points=curve) for one in mine]
    made = page(replace(few, findings=tuple(found), series=tuple(drawn)))
    assert made.count("<svg") == CHARTS + 3  # and the digest's columns
    assert all(f"object-{at}.example.org" in made for at in range(500))
    assert len(made.encode()) < 200 * 1024


def test_a_long_message_is_cut() -> None:
    finding = Finding("a", "b", "c-d", Severity.warning, "x" * 10_000, "y" * 10_000)
    made = page(Report(NOW, "h", 1.0, (Reported(finding),)))
    assert "x" * 499 + "…" in made
    assert len(made) < 10_000


def test_problems_come_first_what_is_acknowledged_last_of_them() -> None:
    made = page(replace(everything(), events=None))
    names = ("services smtp", "queue deferred", "machine memory", "dns a-very", "certificates imaps")
    places = [made.index(name) for name in (*names, "<h2>services")]
    assert sorted(places) == places
    assert "card problem warning known" in made
    assert "Acknowledged by root until 29 Nov" in made


def _luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_have_the_contrast_to_read_them(colours: dict[str, str]) -> None:
    def contrast(one: str, other: str) -> float:
        low, high = sorted((_luminance(colours[one]), _luminance(colours[other])))
        return (high + 0.05) / (low + 0.05)

    for state in ("ok", "warning", "critical", "unknown"):
        for ground in ("card", "ground", f"{state}-tint"):
            assert contrast(state, ground) >= 4.5, (state, ground)
        assert contrast("text", f"{state}-tint") >= 4.5
    for ground in ("card", "ground"):
        assert contrast("text", ground) >= 4.5
        assert contrast("soft", ground) >= 4.5
        assert contrast("curve", ground) >= 3
    assert LIGHT.keys() == DARK.keys()


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.0042, "s", "4 ms"),
        (1.26, "s", "1.3 s"),
        (7200, "s", "2h"),
        (97.4, "%", "97.4 %"),
        (1536, "B", "1.5 KiB"),
        (1204, "", "1,204"),
        (0.123, "", "0.12"),
        (3, "c", "3"),
    ],
)
def test_quantities_as_people_read_them(value: float, unit: str, expected: str) -> None:
    assert words.quantity(value, unit) == expected


@pytest.mark.parametrize(
    ("value", "was", "expected"),
    [
        (110, 100, "+10 %"),
        (5310, 2000, "+166 %"),
        (100, 100, "±0 %"),
        (0, 0, "±0 %"),
        (5, 0, "was 0"),
        (5, None, ""),
        (9, 5e-324, "over 100 times"),
    ],
)
def test_changes_as_people_read_them(value: float, was: float | None, expected: str) -> None:
    assert words.compared(value, was) == expected


def test_without_a_log_a_digest_says_why_there_are_no_figures() -> None:
    statistics = Statistics(
        NOW - 2, NOW, None, problems=("there is no log: /var/log/mail.log does not exist",)
    )
    report = replace(all_well(), statistics=statistics, events=())
    assert "no figures: there is no log" in " ".join(text(report).split())
    assert "no figures: there is no log" in page(report)
    assert subject(report) == "mail.example.org: daily: all is well"


def test_a_chart_is_drawn_of_what_changed() -> None:
    full = everything()
    flat = replace(full.series[0], points=tuple(one._replace(value=7.0) for one in full.series[0].points))
    assert "Messages" in page(full)
    assert "Messages" not in page(replace(full, series=(flat, *full.series[1:])))


@pytest.mark.parametrize(("since", "expected"), [(NOW, "seen for the first time"), (NOW - 60, "(1m)")])
def test_how_long_a_problem_has_lasted(since: float, expected: str) -> None:
    assert expected in words.lasting(since, NOW)
