"""`postmaster address`: explain."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.address import parse_address
from postmaster.cli.state import Output, complete, print_record, print_rows, state_of
from postmaster.render.output import Column, Format, write_line

if TYPE_CHECKING:
    from postmaster.routing.hops import Explanation, Hop

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
        typer.Option("--from", metavar="SENDER", help="The envelope sender, where routes depend on it."),
    ] = None,
    output: Output = Format.table,
) -> None:
    """Show the way of mail for an address as Postfix goes it, and which rule decides at each hop.

    Read in the configuration and the tables that Postfix reads; where it runs, it is asked too, and what
    it says differently is shown.
    """
    from postmaster.routing.explain import explain as explain_address

    where = parse_address(address)
    found = explain_address(state_of(context).settings, where, parse_address(sender) if sender else None)
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
    out = sys.stdout
    for tree in (found.tree, *found.copies):
        last: list[bool] = []  # for each depth, whether the hop there is the last of its siblings
        waiting = [(0, True, tree)]
        while waiting:
            depth, is_last, hop = waiting.pop()
            del last[depth:]
            last.append(is_last)
            lead = "".join("   " if end else "│  " for end in last[1:-1])
            lead += ("└─ " if is_last else "├─ ") if depth else ""
            write_line(out, lead + _line(hop))
            below = list(enumerate(hop.hops))
            waiting.extend((depth + 1, at == len(below) - 1, one) for at, one in reversed(below))
    write_line(out, "")
    said = f"{found.verdict.code} {found.verdict.text}".rstrip()
    write_line(out, f"by SMTP     {said} ({found.verdict.rule})")
    for at, one in enumerate(found.recipients or ("none",)):
        write_line(out, f"{'recipients' if not at else '':<10}  {one}")
    for problem in found.problems:
        write_line(out, f"{'problem':<10}  {problem.code}: {problem.address}: {problem.message}")
    for difference in map(_difference, found.differences):
        what = f"{difference['table']} for {difference['key']}" if difference["table"] else difference["key"]
        write_line(
            out,
            f"{'differs':<10}  {what}: read {difference['read'] or 'nothing'}, "
            f"the running server says {difference['live'] or 'nothing'}",
        )
    for note in found.notes:
        write_line(out, f"{'note':<10}  {note}")


def _line(hop: Hop) -> str:
    text = f"{hop.address}: {hop.reason or hop.rule}"
    if hop.extension == "stripped":
        text += "; extension left out"
    if hop.table and hop.rule not in ("dot_forward", "local_alias"):
        text += f" [{hop.table.rpartition('/')[2]}: {hop.key}]"
    return text if hop.problem is None else f"{text} ({hop.problem})"
