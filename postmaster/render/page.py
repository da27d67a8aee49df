"""One HTML page that stands alone: no script, nothing loaded from elsewhere, all text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from postmaster.render.escape import printable
from postmaster.render.output import Column, Row, cell

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
    return "".join(_page(title, subtitle, sections))


def _page(title: str, subtitle: str, sections: Iterable[Section]) -> Iterator[str]:
    yield f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{_safe(title)}</title>\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f"<style>\n{_STYLE}</style>\n<h1>{_safe(title)}</h1>\n<p>{_safe(subtitle)}</p>\n"
    for section in sections:
        yield f"<h2>{_safe(section.title)}</h2>\n"
        if not section.rows:
            yield "<p>none</p>\n"
            continue
        largest = (
            max((float(row[section.bar] or 0) for row in section.rows), default=0.0) if section.bar else 0.0
        )
        yield "<table>\n<tr>" + "".join(
            f"<th{_right(column)} scope=col>{_safe(column.heading.capitalize())}</th>"
            for column in section.columns
        )
        yield ("<th></th>" if section.bar else "") + "</tr>\n"
        for row in section.rows:
            yield "<tr>" + "".join(
                f"<td{_right(column)}>{_safe(cell(row.get(column.key)))}</td>" for column in section.columns
            )
            if section.bar:
                share = 100 * float(row[section.bar] or 0) / largest if largest else 0.0
                yield (
                    f'<td class=bar><span style="width: {share:.1f}%"></span></td>' if share else "<td></td>"
                )
            yield "</tr>\n"
        yield "</table>\n"
    yield "</html>\n"


def _right(column: Column) -> str:
    return " class=right" if column.right else ""


def _safe(text: str) -> str:
    return escape(printable(text))
