"""What every form of a report says in the same words: the headline, the order, times, changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime

from postmaster.health.changes import Acknowledgement, Change, Event
from postmaster.health.finding import NO_ANSWER, Finding, Severity, worst
from postmaster.health.report import Missed, Report, Reported
from postmaster.health.statistics import Statistics
from postmaster.render.output import duration, size

#: As a reader wants them: the worst first.
WORST_FIRST = (Severity.critical, Severity.warning, Severity.unknown, Severity.ok)

#: Checks of what a message goes through; where one is critical or hangs, a mail may stay where it is.
FLOW = frozenset({"services", "processes", "round-trip", "queue", "directory", "machine"})

MANY = 100  # times as much, from which a percentage says nothing

#: The command that shows all of it.
ALL = "postmaster health check"

_COUNTED = {
    Severity.critical: ("critical problem", "critical problems"),
    Severity.warning: ("warning", "warnings"),
    Severity.unknown: ("unknown", "unknown"),
}


def is_broken(report: Report) -> bool:
    """Whether mail may not flow, and nobody knows of it yet: a report by mail may reach nobody."""
    return any(
        one.open
        and one.finding.check in FLOW
        and (one.finding.severity is Severity.critical or one.finding.code == NO_ANSWER)
        for one in report.findings
    )


def shown_status(report: Report) -> Severity:
    """How bad the whole is to look at: what is acknowledged does not alarm."""
    alarming = [one.finding for one in report.findings if one.open]
    if alarming or not report.findings:
        return worst(alarming)
    return Severity.ok


def headline(report: Report) -> str:
    """The whole report in a line: `1 critical problem, 2 warnings`."""
    counts = Counter(one.finding.severity for one in report.problems if one.open)
    known = sum(not one.open for one in report.problems)
    words = [
        f"{counts[severity]} {_COUNTED[severity][counts[severity] > 1]}"
        for severity in WORST_FIRST
        if counts[severity]
    ]
    if known:
        words.append(f"{known} acknowledged")
    return ", ".join(words) or ("all is well" if report.findings else "nothing was looked at")


def problems(report: Report) -> list[Reported]:
    """What is wrong: what nobody has acknowledged first, then the worst, then in the order of the checks."""
    return sorted(report.problems, key=lambda one: (not one.open, WORST_FIRST.index(one.finding.severity)))


def by_check(report: Report) -> Iterator[tuple[str, list[Reported]]]:
    """Each check with its findings, in the order of the report."""
    found: dict[str, list[Reported]] = {}
    for one in report.findings:
        found.setdefault(one.finding.check, []).append(one)
    yield from found.items()


def tally(findings: Iterable[Reported]) -> str:
    """`1 critical, 12 ok`."""
    counts = Counter(one.finding.severity for one in findings)
    return ", ".join(f"{counts[severity]} {severity.name}" for severity in WORST_FIRST if counts[severity])


def name(finding: Finding) -> str:
    return f"{finding.check} {finding.object}"


def code_words(finding: Finding) -> str:
    """`certificate-expired` as words."""
    return finding.code.replace("-", " ")


def moment(seconds: float, now: float | None = None) -> str:
    """A time as the reader's clock has it; the year where it is not that of `now`, and its zone without."""
    when = datetime.fromtimestamp(seconds).astimezone()
    if now is None:
        return f"{when:%A} {when.day} {when:%B %Y, %H:%M %Z}"
    year = "" if when.year == datetime.fromtimestamp(now).year else f"{when:%Y}, "
    return f"{when.day} {when:%b}, {year}{when:%H:%M}"


def looked_at(report: Report) -> str:
    things = "1 thing" if len(report.findings) == 1 else f"{len(report.findings)} things"
    return f"{moment(report.time)}, {things} looked at in {report.took:.1f} s"


def notes(report: Report) -> list[str]:
    """What the reader must know of the run itself, each a sentence."""
    found = [*report.notes]
    if report.missed is not None:
        found.insert(0, missed(report.missed, report.time))
    return [f"{capital(note)}." for note in found]


def about(one: Reported, now: float) -> list[str]:
    """How long a problem has lasted, and who knows of it."""
    lines = [] if one.since is None else [lasting(one.since, now)]
    if one.acknowledged is not None:
        lines.append(acknowledged(one.acknowledged, now))
    return lines


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def lasting(since: float, now: float) -> str:
    if since >= now:
        return "seen for the first time"
    return f"since {moment(since, now)} ({duration(max(0.0, now - since))})"


def acknowledged(one: Acknowledgement, now: float) -> str:
    reason = f": {one.reason}" if one.reason else ""
    return f"acknowledged by {one.who} until {moment(one.until, now)}{reason}"


def changed(event: Event) -> str:
    """What happened to a problem, in a few words: `new`, `worse, was warning`, `over after 15m`."""
    match event.change:
        case Change.began:
            return "new"
        case Change.ended:
            return f"over after {duration(max(0.0, event.at - event.since))}"
        case _:
            return f"{event.change.value}, was {event.before.name}"


def events(report: Report) -> list[Event]:
    """What changed, the worst news first, good news last."""
    bad = (Change.began, Change.worse)
    return sorted(
        report.events or (),
        key=lambda one: (
            one.change not in bad,
            one.change is Change.ended,
            WORST_FIRST.index(one.finding.severity),
        ),
    )


def is_over(event: Event) -> bool:
    return event.change is Change.ended


def untold(report: Report) -> list[Reported]:
    """The problems that nobody has acknowledged and that are not among what changed."""
    told = {event.finding.problem for event in report.events or () if not is_over(event)}
    return [one for one in problems(report) if one.open and one.finding.problem not in told]


def known(report: Report) -> list[tuple[str, str]]:
    """The problems that are acknowledged, each with by whom and until when."""
    return [
        (name(one.finding), acknowledged(one.acknowledged, report.time))
        for one in problems(report)
        if one.acknowledged is not None
    ]


def is_quiet(report: Report) -> bool:
    """Whether nothing is wrong, nothing changed and there is nothing to note."""
    return not (report.events or report.notes or report.missed or any(one.open for one in report.problems))


def missed(one: Missed, now: float) -> str:
    gap = f"no run from {moment(one.since, now)} to {moment(one.until, now)}"
    due = f"one is due every {duration(one.every)}"
    started = "" if one.booted is None else f"; the machine was started at {moment(one.booted, now)}"
    return f"{gap}, and {due}{started}"


def quantity(value: float, unit: str) -> str:
    """A measured value for people: `3 ms`, `1.5 GiB`, `97 %`, `1,204`."""
    if unit == "B":
        return size(round(value))
    if unit == "s":
        return seconds(value)
    if abs(value) >= 100 or value == round(value):
        number = f"{value:,.0f}"
    else:
        number = f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"
    return f"{number} %" if unit == "%" else number


def seconds(value: float) -> str:
    if abs(value) >= 120:
        return duration(value)
    return f"{value:.1f} s" if abs(value) >= 1 else f"{value * 1000:.0f} ms"


def period(one: Statistics) -> str:
    """`Mail of Monday 23 November 2026`, or from when to when."""
    begin, end = (datetime.fromtimestamp(when) for when in (one.since, one.until))
    if begin.time() == end.time() == datetime.min.time() and (end.date() - begin.date()).days == 1:
        return f"Mail of {begin:%A} {begin.day} {begin:%B %Y}"
    return f"Mail from {moment(one.since, one.until)} to {moment(one.until, one.until)}"


def against(one: Statistics) -> str:
    """What the changes of a digest are against."""
    if one.figures is None:
        return "no figures: " + "; ".join(one.problems)
    against = "nothing is known of the week before"
    if one.before is not None and one.before.since is not None:
        against = f"against {moment(one.before.since, one.until).rpartition(', ')[0]}"
    return "; ".join((against, *(f"too small: {problem}" for problem in one.problems)))


def day(one: date) -> str:
    return f"{one.day} {one:%b}"


def figures(statistics: Statistics) -> list[tuple[str, str, str]]:
    """What is counted, how much, and how it compares: `("delivered", "1,204", "+12 %")`."""
    rows = []
    for label, key, shown in _FIGURES:
        value = getattr(statistics.figures, key, None)
        was = getattr(statistics.before, key, None)
        if value is not None:
            rows.append((label, shown(value), compared(value, was)))
    return rows


def compared(value: float, was: float | None) -> str:
    """The change against another time, empty where nothing is known of that."""
    if was is None:
        return ""
    if not was:
        return "was 0" if value else "±0 %"
    if value > MANY * was:
        return f"over {MANY} times"
    change = round(100 * (value - was) / was)
    return f"{change:+,} %" if change else "±0 %"


def lists(statistics: Statistics) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Lists of names with how often each was counted; those that are not empty."""
    one = statistics.figures
    if one is None:
        return
    for title, names in (("Most mail from", one.senders), ("Passwords refused to", one.failed_logins)):
        if names:
            yield title, [(named.name or "<>", f"{named.count:,}") for named in names]


_FIGURES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("received", "received", "{:,}".format),
    ("volume in", "bytes_received", lambda value: size(round(value))),
    ("delivered", "delivered", "{:,}".format),
    ("volume out", "bytes_delivered", lambda value: size(round(value))),
    ("deferred", "deferred", "{:,}".format),
    ("bounced", "bounced", "{:,}".format),
    ("rejected", "rejected", "{:,}".format),
    ("logins refused", "refused", "{:,}".format),
    ("half delivered within", "delay_median", seconds),
    ("95 % delivered within", "delay_p95", seconds),
)
