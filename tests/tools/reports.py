"""Health reports for the tests of how they look: one with everything in it, and any that could be."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache

from hypothesis import strategies as st

from postmaster.health.changes import Acknowledgement, Change, Event
from postmaster.health.finding import OK, Finding, Measure, Severity
from postmaster.health.ranges import at_least, at_most
from postmaster.health.report import Missed, Point, Report, Reported, Series
from postmaster.health.statistics import Statistics
from postmaster.trace.figures import Figures, Named

NOW = datetime(2026, 11, 24, 7, 0, tzinfo=UTC).timestamp()
DAY = 86_400.0
SERVICES = ("submission", "submissions", "imap", "imaps", "pop3", "pop3s", "sieve")
FIGURES = Figures(
    since=NOW - 31 * 3600, until=NOW - 7 * 3600, lines=410_233, received=12_043, bytes_received=1_900_000_000,
    delivered=11_800, bytes_delivered=1_700_000_000, forwarded=20, deferred=310, deferrals=900, bounced=42,
    rejected=5_310, refused=412, held=0, discarded=0, expired=3, delay_median=0.8, delay_p95=34.0,
    senders=(Named("newsletter@example.org", 4_010), Named("amy@xn--bcher-kva.example", 311), Named("", 200)),
    failed_logins=(Named("admin@example.org", 301), Named("root", 99)), failed_clients=(), problems=(),
)  # fmt: skip


@cache
def everything() -> Report:
    """Problems of every kind, one of them acknowledged, things that are well, changes, charts, figures."""
    smtp = Finding(
        *(
            "services",
            "smtp",
            "service-down",
            Severity.critical,
            "port 25 does not answer: Connection refused",
        ),
        "start Postfix: systemctl start postfix; then see why it stopped: journalctl -u postfix -n 50",
    )
    queue = Finding(
        *("queue", "deferred", "queue-long", Severity.critical),
        "1,204 messages wait, most of them because: connect to mx1.example.net[203.0.113.25]:25: timed out",
        "see whom it concerns: postmaster queue summary --by domain; when it is over: "
        "postmaster queue flush 'domain=example.net'",
        (Measure("messages", 1204, "", at_most(100), at_most(1000), 0),),
    )
    certificate = Finding(
        *("certificates", "imaps 993", "certificate-expiring", Severity.warning, "expires in 12 days"),
        "renew it: certbot renew",
        (Measure("days_left", 12, "", at_least(21), at_least(7)),),
    )
    given = Acknowledgement(
        *(
            *certificate.problem,
            Severity.warning,
            NOW + 5 * DAY,
            "the new one comes on <Monday>",
            "root",
            NOW,
        ),
    )
    name = Finding(
        *("dns", "a-very-long-name-of-a-domain-that-nobody-would-choose.example.org", "dkim-unknown"),
        *(
            Severity.unknown,
            "the name server 2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff did not answer within 2 s",
        ),
        "ask it by hand: dig @2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff default._domainkey.example.org TXT",
    )
    memory = Finding(
        *("machine", "memory", "memory-low", Severity.warning, "6 % of the memory is free"),
        "see what uses it: ps --sort=-rss",
        (Measure("free", 6, "%", at_least(10), at_least(3), 0, 100),),
    )
    fine = [
        Finding(
            *(
                "services",
                one,
                OK,
                Severity.ok,
                "greets after 0.004 s, TLS 1.3, 4 mechanisms under TLS",
                None,
            ),
            (Measure("time", 0.004, "s", at_most(1), at_most(5)),),
        )
        for one in SERVICES
    ]
    fine += [
        Finding(
            *("machine", one, OK, Severity.ok, f"/var/spool/{one}: 62 % of the space is free", None),
            (Measure("space_free", 62, "%", at_least(15), at_least(5), 0, 100),),
        )
        for one in ("queue", "mail", "state")
    ]
    over = Finding(
        *("directory", "dovecot.db", "lookups-behind", Severity.warning, "at entry 4700 of 4711"),
        "postmaster publish",
    )
    return Report(
        NOW,
        "mail.example.org",
        1.24,
        (
            Reported(smtp, NOW - 700),
            *(Reported(one) for one in fine),
            Reported(queue, NOW - 8_000),
            Reported(certificate, NOW - 9 * DAY, given),
            Reported(name, NOW - 300),
            Reported(memory, NOW - 90_000),
        ),
        (
            Event(NOW, Change.began, smtp, Severity.ok, NOW - 700),
            Event(NOW, Change.worse, queue, Severity.warning, NOW - 8_000),
            Event(NOW, Change.ended, over, Severity.warning, NOW - 900),
        ),
        Missed(NOW - 4_000, NOW - 2_200, 300, NOW - 2_300),
        ("This run is not kept: the disk is full",),
        tuple(series()),
        Statistics(NOW - 31 * 3600, NOW - 7 * 3600, FIGURES, replace(FIGURES, rejected=2_000), dict(days())),
    )


def series() -> list[Series]:
    chance = random.Random(4)

    def made(check: str, item: str, name: str, unit: str, values: list[float]) -> Series:
        step = 14 * DAY / (len(values) - 1)
        points = (
            Point(NOW - 14 * DAY + at * step, value, 0.9 * value, 1.1 * value)
            for at, value in enumerate(values)
        )
        return Series(check, item, name, unit, tuple(points))

    wave = [40 + 20 * math.sin(at / 5) + 9 * chance.random() for at in range(400)]
    return [
        made("queue", "deferred", "messages", "", [*wave, *(100.0 * at for at in range(1, 12))]),
        made("machine", "memory", "free", "%", [30 - at / 18 for at in range(400)]),
        made("certificates", "imaps 993", "days_left", "", [26 - at / 30 for at in range(400)]),
        *(
            made("machine", one, "space_free", "%", [80 - at / 25 for at in range(400)])
            for one in ("queue", "mail", "state")
        ),
        *(
            made("services", one, "time", "s", [0.004 + 0.003 * chance.random() for _ in range(400)])
            for one in SERVICES
        ),
    ]


def days() -> list[tuple[date, Figures]]:
    chance, last = random.Random(5), date(2026, 11, 23)
    return [
        (
            last - timedelta(days=back),
            replace(FIGURES, received=chance.randint(8_000, 13_000), delivered=chance.randint(3_000, 13_000)),
        )
        for back in range(30)
        if back != 12  # of that day nothing was kept
    ]


@cache
def all_well() -> Report:
    full = everything()
    fine = tuple(one for one in full.findings if one.finding.severity is Severity.ok)
    return Report(NOW, full.host, full.took, fine)


# Anything that could be

_texts = st.text(max_size=200)
_names = st.text(min_size=1, max_size=60)
_moments = st.floats(NOW - 400 * DAY, NOW)
_numbers = st.floats(-1e12, 1e12)
_units = st.sampled_from(("", "s", "%", "B", "c"))
_severities = st.sampled_from(Severity)
_ranges = st.none() | st.builds(at_most, _numbers) | st.builds(at_least, _numbers)
_measures = st.builds(Measure, _names, _numbers, _units, _ranges, _ranges)
_findings = st.builds(
    *(Finding, _names, _names, _names, _severities, _texts, st.none() | _texts),
    st.lists(_measures, max_size=3).map(tuple),
)
_given = st.builds(
    *(Acknowledgement, _names, _names, _names, _severities, st.floats(NOW, NOW + 400 * DAY), _texts),
    *(_names, _moments),
)
_reported = st.builds(Reported, _findings, st.none() | _moments, st.none() | _given)
_events = st.builds(Event, _moments, st.sampled_from(Change), _findings, _severities, _moments)
_missed = st.builds(Missed, _moments, _moments, st.floats(1, 1e6), st.none() | _moments)
_points = st.builds(Point, _moments, _numbers, _numbers, _numbers)
_named = st.lists(st.builds(Named, _texts, st.integers(0, 10**9)), max_size=3).map(tuple)


@st.composite
def any_figures(draw: st.DrawFn) -> Figures:
    count = st.integers(0, 10**12)
    counts = {
        key: draw(count)
        for key in (
            "lines", "received", "bytes_received", "delivered", "bytes_delivered", "forwarded", "deferred",
            "deferrals", "bounced", "rejected", "refused", "held", "discarded", "expired",
        )
    }  # fmt: skip
    delays = st.none() | st.floats(0, 1e7)
    return Figures(
        NOW - 2 * DAY,
        NOW - DAY,
        **counts,
        delay_median=draw(delays),
        delay_p95=draw(delays),
        senders=draw(_named),
        failed_logins=draw(_named),
        failed_clients=draw(_named),
        problems=tuple(draw(st.lists(_texts, max_size=2))),
    )


@st.composite
def any_report(draw: st.DrawFn) -> Report:
    """A report in which every text is as hostile as can be; charts belong to measures that are there."""
    reported = draw(st.lists(_reported, max_size=5))
    charts = [
        Series(one.finding.check, one.finding.object, measure.name, measure.unit, tuple(points))
        for one in reported
        for measure in one.finding.measures
        if (points := draw(st.lists(_points, max_size=4)))
    ]
    figures = st.none() | any_figures()
    statistics = None
    if draw(st.booleans()):
        kept = draw(
            st.dictionaries(st.dates(date(2025, 1, 1), date(2026, 11, 23)), any_figures(), max_size=3)
        )
        statistics = Statistics(NOW - 2 * DAY, NOW - DAY, draw(figures), draw(figures), kept)
    return Report(
        NOW,
        draw(_names),
        draw(st.floats(0, 100)),
        tuple(reported),
        draw(st.none() | st.lists(_events, max_size=3).map(tuple)),
        draw(st.none() | _missed),
        tuple(draw(st.lists(_texts, max_size=2))),
        tuple(charts),
        statistics,
    )
