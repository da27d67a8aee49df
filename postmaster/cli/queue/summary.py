"""`postmaster queue summary`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.cli.queue.choose import Chosen, choosing, where
from postmaster.cli.state import Output, print_rows, say, state_of
from postmaster.errors import PartialError
from postmaster.postfix.queue import Listing
from postmaster.render.output import Column, Format, duration, moment, size, with_room

if TYPE_CHECKING:
    from postmaster.queue.summary import Group, Key, Summary

app = typer.Typer(rich_markup_mode=None, add_completion=False)

SCREEN_LIMIT = 20  # groups shown on a terminal unless told otherwise
COUNTS_WIDTH = 31  # of the numbers beside a reason, with the gaps
BESIDE = 110  # characters of a terminal from which on an example stands beside its reason, else below it
NARROW = 90  # below it, ages that nothing has are left out

#: What a terminal has room for only from so many characters on.
ROOM = {"size": 76, "retry": 76}
BOTH_COUNTS = 70  # the same for the count that is not the one that is grouped


class By(StrEnum):
    recipient_domain = "recipient-domain"
    sender = "sender"
    sender_domain = "sender-domain"
    reason = "reason"
    client = "client"
    sasl = "sasl"
    queue = "queue"
    instance = "instance"


@app.command(
    epilog="Examples: postmaster queue summary; postmaster queue summary --by reason;"
    " postmaster queue summary 'queue=deferred and age>1h' --by sender --age"
)
@choosing
def summary(
    context: typer.Context,
    chosen: Chosen,
    by: Annotated[By, typer.Option("--by", help="What to count by.")] = By.recipient_domain,
    age: Annotated[
        bool, typer.Option("--age", help="Columns by age in minutes, as qshape shows them.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="At most so many groups; 0 for all. On a terminal 20."),
    ] = None,
    output: Output = Format.table,
) -> None:
    """Count the queue by destination, sender, reason and the like: how much, how old, tried again when.

    By reason, one line is one incident: what differs from message to message is left out.
    """
    import time

    from postmaster.queue import summary as counting
    from postmaster.queue.read import gather

    screen = output is Format.table and sys.stdout.isatty()
    most = limit if limit is not None else SCREEN_LIMIT if screen else 0
    listing = Listing()
    now = int(time.time())

    settings = state_of(context).settings
    found = counting.start(by.value, now)
    for part in gather(
        settings,
        listing,
        lambda messages: counting.parts(by.value, now, messages),
        need=counting.needs(by.value),
        **where(settings, chosen),
    ):
        counting.merge(found, part)
    shown = found.whole(most)
    if output is Format.json:
        _print_json(found, shown)
    elif output is Format.table:
        _print_table(found, shown, age)
        if screen:
            _print_chart(found)
        if most and most < found.count:
            say(f"{found.count - most} more groups; --limit 0 shows all")
    else:
        rows = (_row(key, group, found) for key, group in shown)
        print_rows(output, _COLUMNS, map(_flat, rows) if output is Format.csv else rows)
    if listing.unreadable:
        raise PartialError(
            f"{listing.unreadable} entries of the queue could not be read and are not counted",
            hint="run it again",
        )


def _print_json(found: Summary, shown: Iterable[tuple[Key, Group]]) -> None:
    """One object, its groups a line each as they come: by sender there may be a hundred thousand."""
    from postmaster.render.output import as_json

    write = sys.stdout.write
    write(as_json({"by": found.by, "total": _counts(found.total())})[:-1] + ', "groups": [')
    separator = "\n  "
    for key, group in shown:
        write(separator + as_json(_row(key, group, found)))
        separator = ",\n  "
    write("\n]}\n" if separator.startswith(",") else "]}\n")


def _row(key: Key, group: Group, found: Summary) -> dict[str, Any]:
    dsn, name = key if isinstance(key, tuple) else (None, key)
    return {"by": found.by, "group": name, "dsn": dsn or None, **_counts(group), "example": group.example}


def _counts(group: Group) -> dict[str, Any]:
    from postmaster.queue.summary import AGES

    return {
        "messages": group.messages,
        "recipients": group.recipients,
        "bytes": group.bytes,
        "oldest": None if group.oldest is None else moment(group.oldest),
        "next_retry": None if group.next_retry is None else moment(group.next_retry),
        "ages": dict(zip(AGES, group.ages, strict=True)),
    }


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row as CSV has it: each age in a column of its own."""
    from postmaster.queue.summary import AGES

    ages = row.pop("ages")
    return {**row, **{f"age_{name}": ages[name] for name in AGES}}


_COLUMNS = [
    Column(key, key)
    for key in ("by", "group", "dsn", "messages", "recipients", "bytes", "oldest", "next_retry")
]


def label(key: Key, by: str) -> str:
    """How a group is called in a table; what it has is shown as it is, what it lacks in parentheses."""
    if isinstance(key, tuple):
        dsn, words = key
        said = words.removeprefix("host HOST said: ")
        return said if dsn in said else f"{dsn} {said}"
    if key is None:
        return {"reason": "(no reason yet)", "sasl": "(no login)", "client": "(no client)"}.get(by, "(none)")
    if not key:
        return {"sender": "<> (bounces)", "sender-domain": "<> (bounces)"}.get(by, "(no domain)")
    return key


def _print_table(found: Summary, shown: Iterable[tuple[Key, Group]], age: bool) -> None:
    import shutil

    from postmaster.queue.summary import AGES

    total = found.total()
    if not total.messages:
        say("no messages")
        return
    rows = chain([("TOTAL", total)], ((label(key, found.by), group) for key, group in shown))
    heading = found.by.replace("-", " ").upper()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    is_narrow = width is not None and width < NARROW
    if age:
        columns = [Column("count", "RECIPIENTS" if found.counts_recipients else "MESSAGES", right=True)]
        columns += [
            Column(name, name, right=True)
            for name, number in zip(AGES, total.ages, strict=True)
            if number or not is_narrow
        ]
        made: Iterable[dict[str, Any]] = (
            {
                "group": name,
                "count": group.recipients if found.counts_recipients else group.messages,
                **dict(zip(AGES, group.ages, strict=True)),
            }
            for name, group in rows
        )
    else:
        columns = [
            Column("messages", "MESSAGES", right=True),
            Column("recipients", "RECIPIENTS", right=True),
            Column("size", "SIZE", right=True),
            Column("oldest", "OLDEST", right=True),
            Column("retry", "NEXT RETRY", right=True),
        ]
        made = (
            {"group": name, **_for_people(group, found.now), "example": group.example} for name, group in rows
        )
    columns.append(Column("group", heading))
    if found.by == "reason" and not age:
        columns = [one for one in columns if one.key not in ("size", "retry")]
        if width is None or width >= BESIDE:
            columns.append(Column("example", "EXAMPLE"))
        if width is not None:
            made = _cut(made, width)
    other = "messages" if found.counts_recipients else "recipients"
    columns = with_room(columns, {**ROOM, other: BOTH_COUNTS}, sys.stdout)
    print_rows(Format.table, columns, made)


def _cut(rows: Iterable[dict[str, Any]], width: int) -> Iterable[dict[str, Any]]:
    """On a terminal an incident is one line: the reason and its example share what is left of it.

    On a narrow one they stand one below the other, in two lines each at most.
    """
    import textwrap

    from postmaster.render.chart import fit

    room = width - COUNTS_WIDTH
    if width >= BESIDE:
        each = (room - 2) // 2
        for row in rows:
            yield {**row, "group": fit(row["group"], each), "example": fit(row["example"] or "", each)}
        return
    if width < BOTH_COUNTS:
        room += len("MESSAGES") + 2
    room = max(15, room)
    for row in rows:
        reason, example = (
            [fit(line, width) for line in textwrap.wrap(text, width, max_lines=2, placeholder=" …")]
            for text, width in ((row["group"], room), (row["example"] or "", room - 2))
        )
        yield {**row, "group": reason[0]}
        for line in (*reason[1:], *(f"  {line}" for line in example)):
            yield {**dict.fromkeys(row, " "), "group": line}


def _for_people(group: Group, now: int) -> dict[str, Any]:
    return {
        "messages": group.messages,
        "recipients": group.recipients,
        "size": size(group.bytes),
        "oldest": None if group.oldest is None else duration(now - group.oldest),
        "retry": None
        if group.next_retry is None
        else f"in {duration(group.next_retry - now)}"
        if group.next_retry > now
        else "due",
    }


def _print_chart(found: Summary) -> None:
    """The ages of all, as a picture."""
    import shutil

    from postmaster.queue.summary import AGES
    from postmaster.render.chart import bars

    total = found.total()
    if not total.messages:
        return
    what = "recipients" if found.counts_recipients else "messages"
    print(f"\n{what} by age, in minutes")
    labels = [name if name.endswith("+") else f"<{name}" for name in AGES]
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    width = min(100, shutil.get_terminal_size().columns)
    for line in bars(list(zip(labels, total.ages, strict=True)), width, unicode=unicode):
        print(line)
