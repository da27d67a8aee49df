"""One HTML page that stands alone: no script, nothing loaded from elsewhere, all text escaped.

`page` is the whole of a report of tables; `document`, `table` and `safe` are the parts for pages that look
otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from postmaster.render.escape import printable
from postmaster.render.output import Column, Row, cell

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """\
:root { color-scheme: light dark; --line: #8884; --bar: #3b82c4; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; }
th, td { text-align: left; padding: .2rem .7rem .2rem 0; border-bottom: 1px solid var(--line);
 vertical-align: top; }
td { overflow-wrap: anywhere; } .right { text-align: right; font-variant-numeric: tabular-nums; }
.bar { width: 30%; } .bar span { display: block; height: .8rem; background: var(--bar); min-width: 1px; }
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and a table. `bar` names a key whose numbers are drawn beside each row."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    bar: str = ""


def page(title: str, subtitle: str, sections: Iterable[Section]) -> str:
    """The whole page."""
    return document(title, _STYLE, _body(title, subtitle, sections))


def document(title: str, style: str, body: Iterable[str]) -> str:
    """A page with this in its body. The browser is told to load and run nothing, whatever is in it."""
    head = (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{safe(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n<style>\n{style}</style>\n'
    )
    return "".join((head, *body, "</html>\n"))


def _body(title: str, subtitle: str, sections: Iterable[Section]) -> Iterator[str]:
    yield f"<h1>{safe(title)}</h1>\n<p>{safe(subtitle)}</p>\n"
    for section in sections:
        yield f"<h2>{safe(section.title)}</h2>\n"
        yield from table(section)


def table(section: Section) -> Iterator[str]:
    """The section's rows, in pieces."""
    if not section.rows:
        yield "<p>none</p>\n"
        return
    largest = max((float(row[section.bar] or 0) for row in section.rows), default=0.0) if section.bar else 0.0
    yield "<table>\n<tr>" + "".join(
        f"<th{_right(column)} scope=col>{safe(column.heading.capitalize())}</th>"
        for column in section.columns
    )
    yield ("<th></th>" if section.bar else "") + "</tr>\n"
    for row in section.rows:
        yield "<tr>" + "".join(
            f"<td{_right(column)}>{safe(cell(row.get(column.key)))}</td>" for column in section.columns
        )
        if section.bar:
            share = 100 * float(row[section.bar] or 0) / largest if largest else 0.0
            yield f'<td class=bar><span style="width: {share:.1f}%"></span></td>' if share else "<td></td>"
        yield "</tr>\n"
    yield "</table>\n"


def _right(column: Column) -> str:
    return " class=right" if column.right else ""


def safe(text: str) -> str:
    """Text from outside as HTML has it, safe to show."""
    return escape(printable(text))


_OPTION = re.compile(r"(?<=\s)-\S{1,40}")


def command(text: str) -> str:
    """As `safe`; the options of a command in it are not broken at their hyphens."""
    return _OPTION.sub(r'<span style="white-space:nowrap">\g<0></span>', safe(text))
