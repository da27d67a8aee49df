"""A report as a mail: text and HTML side by side, a subject that says it all, threads of the same problem.

What a problem is told in again (worse, better, over) refers to the same Message-ID, made from the host, the
problem and when it began, so that mail programs show it as one thread; no message has that ID itself
(RFC 5322 section 3.6.4 lets `References` name what is not there). Automatic answers are told to keep away
(RFC 3834).

The HTML is for mail programs: tables, styles at each element, and a block of styles for the dark that may be
dropped. No SVG, which many of them show as nothing.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator, Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from postmaster.health.changes import Event
from postmaster.health.finding import Finding, Severity
from postmaster.health.report import Report, words
from postmaster.health.report.colours import DARK, LIGHT
from postmaster.health.report.text import MOST, text
from postmaster.render.escape import printable
from postmaster.render.output import moment
from postmaster.render.page import command, safe

STATUS_HEADER = "X-Postmaster-Status"  # ok, warning, critical, unknown
FLOW_HEADER = "X-Postmaster-Mail"  # whether mail flows: `flows` or BROKEN
BROKEN = "broken"

SUBJECT_LIMIT = 120  # characters
THREADS = 10  # problems that a message refers to

_NOTE = "<!-- note -->"  # where `note` puts its line
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")


def message(report: Report, sender: str = "", recipients: Sequence[str] = ()) -> EmailMessage:
    """The mail. Without sender and recipients it has none yet: `send` puts them in."""
    made = EmailMessage()
    made["Subject"] = subject(report)
    if sender:
        made["From"] = from_address(sender)
    if recipients:
        made["To"] = ", ".join(recipients)
    made["Date"] = format_datetime(moment(int(report.time)))
    domain = _domain(report.host)
    made["Message-ID"] = f"<health.{int(report.time)}.{secrets.token_hex(8)}@{domain}>"
    if threads := _threads(report, domain):
        made["In-Reply-To"] = threads[0]
        made["References"] = " ".join(threads)
    made["Auto-Submitted"] = "auto-generated"
    made[STATUS_HEADER] = report.status.name
    made[FLOW_HEADER] = BROKEN if words.is_broken(report) else "flows"
    # Quoted-printable: seven bits, and lines of a length that every server takes.
    made.set_content(text(report), cte="quoted-printable")
    made.add_alternative("".join(_html(report)), subtype="html", cte="quoted-printable")
    return made


def from_address(sender: str) -> Address:
    return Address("postmaster", addr_spec=sender)


def note(made: EmailMessage, line: str) -> None:
    """Put a line at the top of a message's text and HTML."""
    shown = printable(line)
    for kind, before in (("plain", f"{shown}\n\n"), ("html", "")):
        part = made.get_body((kind,))
        if part is None:
            continue
        content = part.get_content()
        if kind == "html":
            content = content.replace(_NOTE, _paragraph(shown, "soft"), 1)
        part.set_content(before + content, subtype=kind, cte="quoted-printable")


def subject(report: Report) -> str:
    """`mail.example.org: critical: certificate expired, imaps (+2)`."""
    return _one_line(f"{report.host}: {_daily(report)}{_news(report)}")


def _daily(report: Report) -> str:
    return "" if report.statistics is None else "daily: "


def _news(report: Report) -> str:
    changed = words.events(report)
    if report.statistics is None and report.events is not None:
        if changed:
            return _named(changed[0].finding, _state(changed[0]), len(changed) - 1)
        return "a run was missed" if report.missed is not None else words.headline(report)
    problems = [one.finding for one in words.problems(report) if one.open]
    if problems:
        return _named(problems[0], problems[0].severity.name, len(problems) - 1)
    figures = None if report.statistics is None else report.statistics.figures
    delivered = "" if figures is None else f", {figures.delivered:,} delivered"
    return f"{words.headline(report)}{delivered}"


def _state(event: Event) -> str:
    return "over" if words.is_over(event) else event.finding.severity.name


def _named(finding: Finding, state: str, more: int) -> str:
    return f"{state}: {words.code_words(finding)}, {finding.object}" + (f" (+{more})" if more else "")


def _one_line(line: str) -> str:
    shown = " ".join(printable(line).split())
    return shown if len(shown) <= SUBJECT_LIMIT else shown[: SUBJECT_LIMIT - 1].rstrip() + "…"


def _domain(host: str) -> str:
    """The right side of a Message-ID; the host's name where it can stand there."""
    return host if _HOST.fullmatch(host) and ".." not in host else "localhost.invalid"


def _threads(report: Report, domain: str) -> list[str]:
    """The Message-IDs that stand for the problems this message is about, the worst first."""
    if report.statistics is not None:
        return []  # a digest is about the day
    if report.events is not None:
        about = [(event.finding, event.since) for event in words.events(report)]
    else:
        about = [(one.finding, one.since or 0.0) for one in words.problems(report)]
    found = []
    for finding, since in about[:THREADS]:
        key = "\0".join((report.host, *finding.problem, str(int(since))))
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        found.append(f"<problem.{digest}@{domain}>")
    return list(dict.fromkeys(found))


# The HTML. Each element has the style of the day; the block has that of the dark, by class.

_FONT = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;"
_STATES = tuple(severity.name for severity in Severity)


def _html(report: Report) -> Iterator[str]:
    status = words.shown_status(report).name
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="supported-color-schemes" content="light dark">\n'
        f"<title>{safe(subject(report))}</title>\n<style>\n{_dark()}</style>\n</head>\n"
    )
    yield (
        f'<body class="ground" style="margin:0;padding:16px 8px;{_ground("ground")}">\n'
        '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" '
        'style="max-width:640px;margin:0 auto;">\n'
    )
    head = [
        _paragraph(report.host, "strong"),
        f'<h1 class="{status}" style="margin:2px 0 6px;{_FONT}font-size:22px;line-height:28px;'
        f'color:{LIGHT[status]};">{safe(words.capital(words.headline(report)))}</h1>\n',
        _paragraph(words.looked_at(report)),
        *(_paragraph(line) for line in words.notes(report)),
        _NOTE,
    ]
    yield _card(head, f"{status}-tint")
    quiet = words.is_quiet(report)
    if report.events is not None and not quiet:
        yield _title("What changed" if report.events else "Nothing changed")
        for event in words.events(report)[:MOST]:
            shown = "ok" if words.is_over(event) else event.finding.severity.name
            yield from _problem(event.finding, shown, _state(event), [words.changed(event)])
        yield from _more(len(report.events))
    if problems := words.untold(report):
        yield _title("What is wrong" if report.events is None else "Also wrong")
        for one in problems[:MOST]:
            severity = one.finding.severity.name
            yield from _problem(one.finding, severity, severity, words.about(one, report.time))
        yield from _more(len(problems))
    if known := words.known(report):
        yield _title("Acknowledged")
        yield _card([_paragraph(f"{name}: {until}", "soft") for name, until in known[:MOST]])
        yield from _more(len(known))
    if report.statistics is not None:
        yield _title(words.period(report.statistics))
        rows = _rows(words.figures(report.statistics))
        yield _card([rows, _paragraph(words.capital(words.against(report.statistics)), "soft")])
        for title, names in words.lists(report.statistics) if not quiet else ():
            yield _title(title)
            yield _card([_rows(names)])
    if not quiet:
        yield _title("Looked at")
        yield _card([_rows([(check, words.tally(found)) for check, found in words.by_check(report)])])
    yield "</table>\n</body>\n</html>\n"


def _more(count: int) -> Iterator[str]:
    if count > MOST:
        yield _card([_paragraph(f"and {count - MOST:,} more: {words.ALL}")])


def _problem(finding: Finding, shown: str, tag: str, about: Sequence[str]) -> Iterator[str]:
    content = [
        f'<p style="margin:0;{_FONT}font-size:15px;line-height:22px;"><span class="{shown} {shown}-tint" '
        f'style="padding:1px 7px;border-radius:5px;font-size:13px;font-weight:600;color:{LIGHT[shown]};'
        f'background-color:{LIGHT[shown + "-tint"]};">{safe(tag)}</span>&nbsp; '
        f'<strong class="text" style="color:{LIGHT["text"]};">{safe(words.name(finding))}</strong></p>\n',
        _paragraph(finding.message, "text"),
    ]
    if finding.remedy and tag != "over":
        content.append(
            f'<p class="ground" style="margin:8px 0 0;padding:6px 10px;border-radius:6px;{_ground("ground")}'
            f'{_FONT}font-size:14px;line-height:20px;">{command(finding.remedy)}</p>\n'
        )
    content += [_paragraph(words.capital(line), "soft") for line in about]
    yield _card(content, edge=shown)


def _card(content: Sequence[str], ground: str = "card", edge: str = "") -> str:
    border = f"border:1px solid {LIGHT['line']};"
    if edge:
        border += f"border-left:5px solid {LIGHT[edge]};"
    classes = f"{ground} line{f' edge-{edge}' if edge else ''}"
    return (
        f'<tr><td class="{classes}" style="padding:12px 16px;border-radius:10px;{border}{_ground(ground)}'
        f'word-break:break-word;">\n{"".join(content)}</td></tr>\n'
        '<tr><td height="10" style="height:10px;line-height:10px;font-size:1px;">&nbsp;</td></tr>\n'
    )


def _title(title: str) -> str:
    return (
        f'<tr><td style="padding:14px 4px 8px;"><h2 class="text" style="margin:0;{_FONT}font-size:16px;'
        f'line-height:22px;color:{LIGHT["text"]};">{safe(title)}</h2></td></tr>\n'
    )


def _paragraph(line: str, kind: str = "text") -> str:
    colour = LIGHT["soft" if kind == "soft" else "text"]
    size = "14px;line-height:20px" if kind == "soft" else "15px;line-height:22px"
    weight = "font-weight:600;" if kind == "strong" else ""
    return (
        f'<p class="{"soft" if kind == "soft" else "text"}" style="margin:4px 0 0;{_FONT}font-size:{size};'
        f'{weight}color:{colour};">{safe(line)}</p>\n'
    )


def _rows(rows: Sequence[Sequence[str]]) -> str:
    """A small table: the first cell is a label, the others stand at the right."""
    style = f"padding:4px 0 4px 12px;{_FONT}font-size:14px;line-height:20px;vertical-align:top;"
    made = ['<table width="100%" cellpadding="0" cellspacing="0" border="0">\n']
    for label, *values in rows:
        cells = "".join(
            f'<td class="{name}" align="right" style="{style}white-space:nowrap;color:{LIGHT[name]};">'
            f"{safe(value)}</td>"
            for value, name in zip(values, ("text", "soft"), strict=False)
        )
        first = f"{style}padding-left:0;color:{LIGHT['text']};word-break:break-word;"
        made.append(f'<tr><td class="text" style="{first}">{safe(label)}</td>{cells}</tr>\n')
    return "".join((*made, "</table>\n"))


def _ground(name: str) -> str:
    return f"background-color:{LIGHT[name]};color:{LIGHT['text']};"


def _dark() -> str:
    grounds = ("ground", "card", *(f"{state}-tint" for state in _STATES))
    rules = [
        f".{name} {{ background-color: {DARK[name]} !important; color: {DARK['text']} !important; }}"
        for name in grounds
    ]
    rules += [f".{name} {{ color: {DARK[name]} !important; }}" for name in ("text", "soft", *_STATES)]
    rules.append(f".line {{ border-color: {DARK['line']} !important; }}")
    rules += [f".edge-{name} {{ border-left-color: {DARK[name]} !important; }}" for name in _STATES]
    return "@media (prefers-color-scheme: dark) {\n" + "\n".join(rules) + "\n}\n"
