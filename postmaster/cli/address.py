"""`postmaster address`: explain."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.address import parse_address
from postmaster.cli.state import Output, complete, print_record, print_rows, state_of
from postmaster.render.escape import printable
from postmaster.render.output import Column, Format, write_line

if TYPE_CHECKING:
    from postmaster.routing.hops import Explanation, Hop

NARROWEST = 20  # columns that a hop deep in the tree is wrapped to; with less it is left to the terminal

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Where mail for an address goes, hop by hop.",
    epilog="Example: postmaster address explain team@example.org",
)


@app.callback()
def address() -> None:
    """Where mail for an address goes, hop by hop."""


@app.command(
    epilog="Examples: postmaster address explain amy+shop@example.org; "
    "postmaster address explain team@example.org --from stranger@example.net -o json"
)
def explain(
    context: typer.Context,
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Any address.", autocompletion=complete("address"))
    ],
    sender: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SENDER",
            help="The envelope sender, where routes depend on it; <> is the null one.",
            autocompletion=complete("address"),
        ),
    ] = None,
    output: Output = Format.table,
) -> None:
    """Show the way of mail for an address as Postfix goes it, and which rule decides at each hop.

    Read in the configuration and the tables that Postfix reads; where it runs, it is asked too, and what
    it says differently is shown.
    """
    from postmaster.routing.explain import explain as explain_address

    where = parse_address(address)
    wanted = None if sender in (None, "", "<>") else parse_address(sender)
    found = explain_address(state_of(context).settings, where, wanted)
    if output is Format.table:
        _print_tree(found)
    elif output is Format.csv:
        print_rows(output, [Column("address", "ADDRESS")], _hops(found))
    else:
        print_record(output, record(found))


def record(found: Explanation) -> dict[str, Any]:
    return {
        "address": found.address,
        "sender": found.sender,
        "smtp": {"code": found.verdict.code, "rule": found.verdict.rule, "text": found.verdict.text},
        "recipients": list(found.recipients),
        "hops": _hops(found),
        "problems": [{"code": p.code, "address": p.address, "message": p.message} for p in found.problems],
        "differences": [_difference(one) for one in found.differences],
        "asked_live": list(found.asked_live),
        "limits": found.limits,
        "notes": list(found.notes),
    }


def _hops(found: Explanation) -> list[dict[str, Any]]:
    """Every hop as a row; `parent` is the number of the hop before it, null where a way begins."""
    rows: list[dict[str, Any]] = []
    for tree in (found.tree, *found.copies):
        above: list[int] = []  # the number of the latest hop at each depth
        for depth, hop in tree.walk():
            number = len(rows) + 1
            del above[depth:]
            rows.append(
                {"number": number, "parent": above[-1] if above else None, "depth": depth, **_row(hop)}
            )
            above.append(number)
    return rows


def _row(hop: Hop) -> dict[str, Any]:
    return {
        "address": hop.address,
        "rule": hop.rule,
        "reason": hop.reason,
        "table": hop.table,
        "key": hop.key,
        "kept_copy": hop.kept_copy,
        "extension": hop.extension,
        "class": hop.domain_class,
        "transport": hop.transport,
        "next_hop": hop.next_hop,
        "sender": hop.sender,
        "problem": hop.problem,
    }


def _difference(one: Any) -> dict[str, Any]:
    return {
        "table": getattr(one, "table", None),
        "key": one.key if hasattr(one, "key") else one.address,
        "read": one.read,
        "live": one.live,
    }


def _print_tree(found: Explanation) -> None:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for tree in (found.tree, *found.copies):
        last: list[bool] = []  # for each depth, whether the hop there is the last of its siblings
        waiting = [(0, True, tree)]
        while waiting:
            depth, is_last, hop = waiting.pop()
            del last[depth:]
            last.append(is_last)
            above = "".join("   " if end else "│  " for end in last[1:-1])
            first, rest = ("", "") if not depth else ("└─ ", "   ") if is_last else ("├─ ", "│  ")
            _write(above + first, _line(hop), width, above + rest + ("│  " if hop.hops else "   "))
            below = list(enumerate(hop.hops))
            waiting.extend((depth + 1, at == len(below) - 1, one) for at, one in reversed(below))
    write_line(sys.stdout, "")
    said = f"{found.verdict.code} {found.verdict.text}".rstrip()
    lines = [("by SMTP", f"{said} ({found.verdict.rule})")]
    lines += [("" if at else "recipients", one) for at, one in enumerate(found.recipients or ("none",))]
    lines += [("problem", f"{one.code}: {one.address}: {one.message}") for one in found.problems]
    for one in map(_difference, found.differences):
        what = f"{one['table']} for {one['key']}" if one["table"] else one["key"]
        live = f"the running server says {one['live'] or 'nothing'}"
        lines.append(("differs", f"{what}: read {one['read'] or 'nothing'}, {live}"))
    lines += [("note", one) for one in found.notes]
    for label, text in lines:
        _write(f"{label:<10}  ", text, width, " " * 12)


def _write(lead: str, text: str, width: int, hanging: str) -> None:
    """A line, on a terminal of that many columns wrapped under its lead; 0 for no terminal."""
    text = printable(text)
    room = width - max(len(lead), len(hanging))
    lines = textwrap.wrap(text, room, break_on_hyphens=False) if width and room >= NARROWEST else [text]
    for at, line in enumerate(lines):
        sys.stdout.write(f"{hanging if at else lead}{line}\n")


def _line(hop: Hop) -> str:
    text = f"{hop.address}: {hop.reason or hop.rule}"
    if hop.extension == "stripped":
        text += "; extension left out"
    if hop.table and hop.rule not in ("dot_forward", "local_alias"):
        key = "" if hop.key == hop.address.lower() else f": {hop.key}"
        text += f" [{hop.table.rpartition('/')[2]}{key}]"
    return text if hop.problem is None else f"{text} ({hop.problem})"
