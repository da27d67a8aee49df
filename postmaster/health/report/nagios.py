"""A report as the monitoring plugins' guidelines have it: a line, its performance data, and more lines.

    MAIL CRITICAL - services/imap: port 143 does not answer (+1) | 'queue.size.messages'=3;100;1000;0
    CRITICAL services/imap: port 143 does not answer -> is it running? see the mail log
    WARNING queue/oldest: 7.0 h old -> postmaster queue list shows why

A label is `check.object.measure`, quoted; values and ranges are plain decimals. `|` ends a text, so that
texts have `/` for it. Source: the Monitoring Plugins' development guidelines, "Plugin Output for Nagios"
and "Performance data".
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from postmaster.health.finding import Measure, badness
from postmaster.health.ranges import decimal
from postmaster.health.report import Report, Reported
from postmaster.render.escape import printable
from postmaster.render.output import moment, timestamp

LINE = 400  # characters of the first line's text


def text(report: Report) -> str:
    """The lines, each with its end."""
    problems = sorted(report.problems, key=lambda one: (not one.open, -badness(one.finding.severity)))
    data = " ".join(_performance(report))
    first = f"MAIL {report.status.name.upper()} - {_summary(report, problems)}"
    lines = [f"{first} | {data}" if data else first]
    lines += [_line(one) for one in problems]
    lines += [_safe(note) for note in report.notes]
    return "".join(f"{line}\n" for line in lines)


def _summary(report: Report, problems: list[Reported]) -> str:
    if not report.findings:
        return "nothing was looked at"
    if not problems:
        return f"{len(report.findings)} finding{'s'[: len(report.findings) > 1]}, nothing is wrong"
    worst = problems[0].finding
    more = f" (+{len(problems) - 1})" if len(problems) > 1 else ""
    return _safe(f"{worst.check}/{worst.object}: {worst.message}")[:LINE] + more


def _line(one: Reported) -> str:
    found = one.finding
    remedy = f" -> {found.remedy}" if found.remedy else ""
    known = one.acknowledged
    if known is not None:
        until = timestamp(moment(int(known.until)))
        remedy += f" [acknowledged by {known.who} until {until}: {known.reason}]"
    return _safe(f"{found.severity.name.upper()} {found.check}/{found.object}: {found.message}{remedy}")


def _safe(given: str) -> str:
    return printable(given).replace("|", "/")


def _performance(report: Report) -> Iterator[str]:
    seen = set()
    for one in report.findings:
        for measure in one.finding.measures:
            label = _label(f"{one.finding.check}.{one.finding.object}.{measure.name}")
            if label not in seen:
                seen.add(label)
                yield f"{label}={_value(measure)}"


def _label(name: str) -> str:
    """`=` ends a label and cannot be quoted; a quote is doubled."""
    return "'" + printable(name).replace("=", "_").replace("|", "/").replace("'", "''") + "'"


def _value(measure: Measure) -> str:
    if not math.isfinite(measure.value):
        return "U"
    bounds = [measure.warning, measure.critical]
    fields = [
        decimal(measure.value) + measure.unit,
        *("" if one is None else str(one) for one in bounds),
        *("" if one is None else decimal(one) for one in (measure.minimum, measure.maximum)),
    ]
    return ";".join(fields).rstrip(";")
