"""A report for people: problems first, each with what to do; what is well in one line, or each with `--all`.

Into a pipe or a file it is the same without colour and without line breaks inside a message, and rich is not
loaded.
"""

from __future__ import annotations

import shutil
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

from postmaster.health.finding import Severity
from postmaster.health.report import Report, Reported, words
from postmaster.render.escape import printable

COLOURS = {
    Severity.ok: "green",
    Severity.warning: "yellow",
    Severity.critical: "bold red",
    Severity.unknown: "magenta",
}
NARROWEST = 40  # columns that are left for a message
WHERE = 32  # columns that check and object have at most


@dataclass(frozen=True, slots=True)
class Line:
    """A line, of which the beginning may have the colour of a state, or be dim as a whole."""

    text: str
    coloured: int = 0  # characters
    state: Severity | None = None
    dim: bool = False


def show(output: TextIO, report: Report, *, every: bool = False) -> None:
    if not output.isatty():
        output.writelines(f"{line.text}\n" for line in lines(report, None, every=every))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=output, highlight=False)
    for line in lines(report, shutil.get_terminal_size().columns, every=every):
        drawn = Text(line.text, style="dim" if line.dim else "")  # Text: no markup is read
        if line.state is not None:
            drawn.stylize(COLOURS[line.state], 0, line.coloured)
        console.print(drawn, soft_wrap=True)


def lines(report: Report, width: int | None, *, every: bool = False) -> Iterator[Line]:
    """The lines; messages are broken at `width`, commands never: somebody will copy them."""
    headline = printable(f"{report.host}: {words.headline(report)}")
    yield Line(headline, len(headline), words.shown_status(report))
    problems = words.problems(report)
    fine = [one for one in report.findings if one.finding.severity is Severity.ok]
    shown = problems + (fine if every else [])
    column = min(WHERE, max((len(printable(words.name(one.finding))) for one in shown), default=0))
    if shown:
        yield Line("")
    for one in shown:
        yield from _finding(one, report.time, column, width)
    if fine and not every:
        counts = Counter(one.finding.check for one in fine)
        yield Line("")
        text = "ok        " + ", ".join(f"{printable(check)} {count}" for check, count in counts.items())
        yield Line(text, 2, Severity.ok)
    yield Line("")
    yield Line(f"mail is {report.status.name}")


def _finding(one: Reported, now: float, column: int, width: int | None) -> Iterator[Line]:
    finding = one.finding
    state, where = finding.severity.name, printable(words.name(finding))
    first, indent = f"{state:<8}  {where:<{column}}  ", " " * (12 + column)
    message = printable(finding.message)
    room = None if width is None else max(NARROWEST, width - len(indent))
    parts = [message] if room is None else textwrap.wrap(message, room, break_on_hyphens=False) or [""]
    if len(where) > column:  # a long name has a line of its own
        yield Line(first.rstrip(), len(state), finding.severity)
    else:
        yield Line(first + parts.pop(0), len(state), finding.severity)
    for part in parts:
        yield Line(indent + part)
    if finding.severity is Severity.ok:
        return
    if finding.remedy:
        yield Line(f"{indent}-> {printable(finding.remedy)}")
    for about in words.about(one, now):
        yield Line(indent + printable(about), dim=True)
