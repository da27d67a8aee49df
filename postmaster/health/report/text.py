"""A report as plain text, for a mail that is read without HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from postmaster.health.finding import Finding
from postmaster.health.report import Report, words
from postmaster.health.statistics import Statistics
from postmaster.render.escape import printable

WIDTH = 76
MOST = 50  # problems of a kind that are told in full
_INDENT = "  "


def text(report: Report) -> str:
    """The whole, in lines of at most `WIDTH` characters where no word is longer."""
    lines = list(_lines(report))
    pairs = zip(lines, ["x", *lines], strict=False)
    return "\n".join(line for line, before in pairs if line or before) + "\n"  # no two empty ones


def _lines(report: Report) -> Iterator[str]:
    yield from _wrapped(f"{report.host}: {words.headline(report)}")
    yield from _wrapped(words.looked_at(report))
    for note in words.notes(report):
        yield from _wrapped(note)
    quiet = words.is_quiet(report)
    if report.events is not None and not quiet:
        yield from _heading("What changed" if report.events else "Nothing changed")
        for event in words.events(report)[:MOST]:
            yield from _finding(event.finding, [words.changed(event)], over=words.is_over(event))
        yield from _more(len(report.events))
    if problems := words.untold(report):
        yield from _heading("What is wrong" if report.events is None else "Also wrong")
        for one in problems[:MOST]:
            yield from _finding(one.finding, words.about(one, report.time))
        yield from _more(len(problems))
    if known := words.known(report):
        yield from _heading("Acknowledged")
        for name, until in known[:MOST]:
            yield from _wrapped(f"{name}: {until}", _INDENT, _INDENT * 2)
        yield from _more(len(known))
    if report.statistics is not None:
        yield from _heading(words.period(report.statistics))
        yield from _figures(report.statistics, lists=not quiet)
    if not quiet:
        yield from _heading("Looked at")
        for check, found in words.by_check(report):
            yield f"{_INDENT}{printable(check):<14} {words.tally(found)}"


def _more(count: int) -> Iterator[str]:
    if count > MOST:
        yield f"{_INDENT}and {count - MOST:,} more: {words.ALL}"


def _finding(finding: Finding, about: list[str], *, over: bool = False) -> Iterator[str]:
    mark = "OVER" if over else finding.severity.name.upper()
    yield from _wrapped(f"{mark} {words.name(finding)}: {finding.message}", after=_INDENT)
    for line in about:
        yield from _wrapped(line, before=_INDENT, after=_INDENT)
    if finding.remedy and not over:
        # Not broken: somebody will copy the command.
        yield f"{_INDENT}-> {printable(finding.remedy)}"
    yield ""


def _figures(statistics: Statistics, *, lists: bool) -> Iterator[str]:
    rows = words.figures(statistics)
    widths = [max((len(row[at]) for row in rows), default=0) for at in range(2)]
    for label, value, change in rows:
        yield f"{_INDENT}{label:<{widths[0]}}  {value:>{widths[1]}}  {change}".rstrip()
    yield from _wrapped(f"({words.against(statistics)})", _INDENT, _INDENT)
    for title, names in words.lists(statistics) if lists else ():
        yield ""
        yield f"{_INDENT}{title}"
        for name, value in names:
            yield f"{_INDENT * 2}{value:>9}  {printable(name)}"


def _heading(title: str) -> Iterator[str]:
    yield ""
    yield title
    yield "-" * len(title)


def _wrapped(line: str, before: str = "", after: str = "") -> list[str]:
    return textwrap.wrap(
        printable(line),
        WIDTH,
        initial_indent=before,
        subsequent_indent=after,
        break_long_words=False,
        break_on_hyphens=False,
    )
