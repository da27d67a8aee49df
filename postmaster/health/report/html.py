"""A report as one HTML page: problems first, then each check, with history drawn as inline SVG.

It stands alone (no script, nothing is loaded), reads well on a phone and in the dark, and stays light: text
is cut at `LONGEST` characters, and at most `CHARTS` charts are drawn, those of problems first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import timedelta

from postmaster.health.finding import Finding, Measure, Severity
from postmaster.health.report import Report, Reported, Series, words
from postmaster.health.report.colours import DARK, LIGHT, variables
from postmaster.health.statistics import Statistics
from postmaster.render.page import command, document, safe
from postmaster.render.svg import columns, curve

LONGEST = 500  # characters of a message or a remedy
CHARTS = 30
DAYS = 28  # of the columns of a digest

_STYLE = (
    f"""\
:root {{ color-scheme: light dark; {variables(LIGHT)}
}}
@media (prefers-color-scheme: dark) {{ :root {{ {variables(DARK)} }} }}
"""
    + """\
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 54rem; padding: 1.25rem 1rem 3rem; background: var(--ground);
 color: var(--text); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
 overflow-wrap: anywhere; -webkit-text-size-adjust: 100%; }
h1, h2, h3, p, ul, figure { margin: 0; padding: 0; } ul { list-style: none; }
h1 { font-size: 1.6rem; line-height: 1.25; letter-spacing: -.01em; }
h2 { font-size: 1.05rem; margin: 2.25rem 0 .6rem; display: flex; flex-wrap: wrap; gap: 0 .6rem;
 align-items: baseline; }
h2 small, .soft { color: var(--soft); font-size: .875rem; font-weight: 400; }
.critical { --own: var(--critical); --tint: var(--critical-tint); }
.warning { --own: var(--warning); --tint: var(--warning-tint); }
.unknown { --own: var(--unknown); --tint: var(--unknown-tint); }
.ok { --own: var(--ok); --tint: var(--ok-tint); }
header { background: var(--tint); border-radius: .9rem; padding: 1.25rem 1.4rem 1.1rem; }
header h1 { color: var(--own); margin: .1rem 0 .35rem; } header .host { font-weight: 600; }
header .soft { color: var(--text); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .75rem;
 padding: .9rem 1.1rem; }
.card + .card { margin-top: .75rem; }
.problem { border-left: .3rem solid var(--own); }
.problem h3 { font-size: 1rem; line-height: 1.4; display: flex; flex-wrap: wrap; gap: .1rem .6rem;
 align-items: baseline; }
.tag { background: var(--tint); color: var(--own); border-radius: .4rem; padding: .05rem .5rem;
 font-size: .8125rem; font-weight: 600; }
.problem .message { margin-top: .3rem; } .problem .soft { margin-top: .35rem; }
.remedy { background: var(--ground); border-radius: .5rem; padding: .4rem .7rem; margin-top: .55rem; }
.known { border-left-style: dashed; }
.rows { padding: .2rem 1.1rem; }
.rows li { display: grid; grid-template-columns: minmax(6rem, 13rem) 1fr; gap: 0 1rem; padding: .45rem 0;
 border-top: 1px solid var(--line); } .rows li:first-child { border-top: 0; }
.rows b { font-weight: 500; } .rows b::before { content: "●"; color: var(--own); font-size: .7em;
 margin-right: .55em; vertical-align: .15em; } .rows span { color: var(--soft); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); gap: .75rem;
 margin-top: .75rem; } .charts .card { margin: 0; }
.problem .charts { grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr));
 gap: .75rem 1.5rem; }
figure { font-size: .8125rem; } figcaption, .scale { display: flex; justify-content: space-between;
 gap: 1rem; } figcaption b { white-space: nowrap; font-variant-numeric: tabular-nums; }
.scale { color: var(--soft); } svg { display: block; width: 100%; height: 3.25rem; margin: .35rem 0 .2rem; }
path { vector-effect: non-scaling-stroke; fill: none; } .area, .band { fill: var(--curve); opacity: .15; }
.line { stroke: var(--curve); stroke-width: 1.75; stroke-linejoin: round; }
.now { stroke: var(--curve); stroke-width: 6; stroke-linecap: round; } .column { fill: var(--curve); }
path.critical, path.warning { stroke: var(--own); stroke-width: 1; stroke-dasharray: 4 4; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.25rem, 1fr)); gap: .6rem; }
.tiles .card { margin: 0; padding: .6rem .8rem; } .tiles strong { display: block; font-size: 1.25rem;
 line-height: 1.35; font-weight: 600; font-variant-numeric: tabular-nums; } .tiles .soft { display: block; }
.wide li { grid-template-columns: 1fr auto; } .wide .name { color: var(--text); }
@media (max-width: 32rem) { body { padding: .75rem .75rem 2rem; }
 .rows:not(.wide) li { grid-template-columns: 1fr; }
 h1 { font-size: 1.35rem; } .card { padding: .8rem .9rem; } .rows { padding: .2rem .9rem; } }
"""
)


def page(report: Report) -> str:
    """The whole page."""
    return document(f"{report.host}: {words.headline(report)}", _STYLE, _body(report))


def _body(report: Report) -> Iterator[str]:
    charts = _Charts(report.series)
    yield from _header(report)
    yield from _changes(report)
    problems = words.problems(report)
    if problems:
        yield "<h2>What is wrong</h2>\n"
    # Drawn in this order, so that the charts of problems come first.
    for one in problems:
        yield from _problem(one, report.time, charts)
    if report.statistics is not None:
        yield from _statistics(report.statistics)
    yield from _checks(report, charts)


def _header(report: Report) -> Iterator[str]:
    status = words.shown_status(report)
    yield f'<header class="{status.name}">\n<p class=host>{safe(report.host)}</p>\n'
    yield f"<h1>{safe(words.capital(words.headline(report)))}</h1>\n"
    yield f"<p class=soft>{safe(words.looked_at(report))}</p>\n"
    for note in words.notes(report):
        yield f"<p class=soft>{safe(_cut(note))}</p>\n"
    yield "</header>\n"


def _changes(report: Report) -> Iterator[str]:
    if report.events is None:
        return
    yield "<h2>What changed</h2>\n<ul class='card rows'>\n" if report.events else ""
    for event in words.events(report):
        severity = Severity.ok if words.is_over(event) else event.finding.severity
        news = f"{words.capital(words.changed(event))}: {event.finding.message}"
        yield _row(severity, words.name(event.finding), news)
    yield "</ul>\n" if report.events else "<h2>Nothing changed</h2>\n"


def _problem(one: Reported, now: float, charts: _Charts) -> Iterator[str]:
    finding = one.finding
    known = " known" if one.acknowledged is not None else ""
    yield f'<article class="card problem {finding.severity.name}{known}">\n'
    yield f"<h3><span class=tag>{finding.severity.name}</span><span>{safe(words.name(finding))}</span></h3>\n"
    yield f"<p class=message>{safe(_cut(finding.message))}</p>\n"
    if finding.remedy:
        yield f"<p class=remedy>{command(_cut(finding.remedy))}</p>\n"
    about = [words.code_words(finding), *words.about(one, now)]
    for line in (", ".join(about[:2]), *about[2:]):
        yield f"<p class=soft>{safe(_cut(words.capital(line)))}</p>\n"
    yield from _grid(charts.of(finding, now))
    yield "</article>\n"


def _statistics(statistics: Statistics) -> Iterator[str]:
    period, against = words.period(statistics), words.against(statistics)
    yield f"<h2>{safe(period)} <small>{safe(against)}</small></h2>\n<ul class=tiles>\n"
    for label, value, change in words.figures(statistics):
        yield (
            f"<li class=card><span class=soft>{safe(label)}</span><strong>{safe(value)}</strong>"
            f"<span class=soft>{safe(change)}</span></li>\n"
        )
    yield "</ul>\n"
    yield from _grid(
        [drawn for label in ("received", "delivered", "rejected") for drawn in _days(statistics, label)]
    )
    for title, names in words.lists(statistics):
        yield f"<h2>{safe(title)}</h2>\n<ul class='card rows wide'>\n"
        for name, value in names:
            yield f"<li><span class=name>{safe(_cut(name))}</span><span>{safe(value)}</span></li>\n"
        yield "</ul>\n"


def _days(statistics: Statistics, label: str) -> str:
    """A column for each of the last days, those of which nothing was kept too."""
    kept = statistics.days
    if len(kept) < 2:
        return ""
    last = max(kept)
    days = [last - timedelta(days=back) for back in reversed(range(min(DAYS, (last - min(kept)).days + 1)))]
    values = [None if day not in kept else float(getattr(kept[day], label)) for day in days]
    title = words.capital(f"{label} each day")
    drawn = columns(values, f"{title} since {words.day(days[0])}")
    if not drawn:
        return ""
    most = max(value for value in values if value is not None)
    return (
        f"<figure class=card><figcaption><span>{safe(title)}</span></figcaption>{drawn}<p class=scale>"
        f"<span>{safe(words.day(days[0]))}</span><span>at most {most:,.0f}</span></p></figure>\n"
    )


def _checks(report: Report, charts: _Charts) -> Iterator[str]:
    for check, found in words.by_check(report):
        yield f"<h2>{safe(check)} <small>{words.tally(found)}</small></h2>\n<ul class='card rows'>\n"
        for one in found:
            finding, text = one.finding, one.finding.message
            if finding.severity is not Severity.ok:  # it stands above in full
                text = f"{finding.severity.name}: {words.code_words(finding)}"
            yield _row(finding.severity, finding.object, text)
        yield "</ul>\n"
        fine = [one.finding for one in found if one.finding.severity is Severity.ok]
        yield from _grid([drawn for finding in fine for drawn in charts.of(finding, report.time, named=True)])


def _row(severity: Severity, name: str, text: str) -> str:
    return f'<li class="{severity.name}"><b>{safe(name)}</b><span>{safe(_cut(text))}</span></li>\n'


def _grid(figures: Sequence[str]) -> Iterator[str]:
    if figures:
        yield "<div class=charts>\n"
        yield from figures
        yield "</div>\n"


class _Charts:
    """Draws charts as long as there may be more."""

    def __init__(self, series: Sequence[Series]) -> None:
        self._left = CHARTS
        self._series: dict[tuple[str, str], list[Series]] = {}
        for one in series:
            self._series.setdefault((one.check, one.object), []).append(one)

    def of(self, finding: Finding, now: float, *, named: bool = False) -> list[str]:
        """The charts of a finding's measures; `named`: with the object, as they stand apart from it.

        A measure that never changed has none: there is nothing to see.
        """
        measures = {measure.name: measure for measure in finding.measures}
        drawn = []
        for one in self._series.get((finding.check, finding.object), ()):
            measure = measures.get(one.name)
            changes = {point.value for point in one.points}
            if measure is None or not self._left or len(changes) < 2:
                continue
            called = measure.name.replace("_", " ")
            called = words.capital(f"{finding.object} {called}" if named else called)
            if curved := curve(
                one.points, f"{called} since {words.moment(one.points[0].at, now)}", _limits(measure)
            ):
                self._left -= 1
                drawn.append(_figure(called, curved, one, measure, now, named))
        return drawn


def _figure(called: str, curved: str, one: Series, measure: Measure, now: float, own_card: bool) -> str:
    most = max(point.highest for point in one.points)
    return (
        f"<figure{' class=card' * own_card}><figcaption><span>{safe(called)}</span>"
        f"<b>{safe(words.quantity(measure.value, measure.unit))}</b></figcaption>{curved}"
        f"<p class=scale><span>{safe(words.moment(min(point.at for point in one.points), now))}</span>"
        f"<span>at most {safe(words.quantity(most, measure.unit))}</span></p></figure>\n"
    )


def _limits(measure: Measure) -> list[tuple[float, str]]:
    """Where the measure becomes a warning or critical, as lines of a chart."""
    return [
        (value, name)
        for name, range_ in (("warning", measure.warning), ("critical", measure.critical))
        if range_ is not None
        for value in (range_.start, range_.end)
        if value and math.isfinite(value)
    ]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
