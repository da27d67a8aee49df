"""Showing what would become of the directory: its differences, what cannot be, and what was done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from postmaster.cli.state import say
from postmaster.render.output import Column, cell, plain

if TYPE_CHECKING:
    from postmaster.directory.entries import Difference
    from postmaster.directory.merge import Plan

COLUMNS = [
    Column("action", "ACTION"),
    Column("kind", "KIND"),
    Column("object", "OBJECT"),
    Column("change", "WHAT"),
]
KEYS = ("action", "kind", "object", "values")
SHOWN_PROBLEMS = 1000  # as lines for people; JSON has them all
_SECRETS = frozenset({"password", "sha256"})


def rows(differences: Iterable[Difference], *, table: bool) -> Iterator[dict[str, Any]]:
    """A row for each difference; never a hash, its scheme alone."""
    for one in differences:
        values = {
            name: {"before": _value(name, before), "after": _value(name, after)}
            for name, (before, after) in one.values.items()
        }
        found: dict[str, Any] = {"action": one.action, "kind": one.entry.kind, "object": one.entry.title}
        if table:
            found["change"] = (
                ", ".join(
                    f"{name} {cell(pair['before'])} → {cell(pair['after'])}" for name, pair in values.items()
                )
                if one.action == "change"
                else ""
            )
        else:
            found["values"] = values
        yield found


def _value(name: str, value: Any) -> Any:
    if name in _SECRETS and isinstance(value, str) and value:
        return value.partition("}")[0] + "}…" if value.startswith("{") else "…"
    if isinstance(value, tuple):
        return [_value(name, item) for item in value]
    return plain(value)


def say_problems(plan: Plan) -> None:
    """Each entry that cannot be, with its place and the reason, and notes."""
    for one in plan.problems[:SHOWN_PROBLEMS]:
        place = f"{one.place}: " if one.place else ""
        title = f" {one.title}" if one.title else ""
        say(f"{place}{one.kind or 'row'}{title}: {one.message}")
    if len(plan.problems) > SHOWN_PROBLEMS:
        say(f"and {len(plan.problems) - SHOWN_PROBLEMS} more; -o json has them all")
    for note in plan.notes:
        say(f"note: {note}")


def problems(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "place": one.place or None,
            "kind": one.kind or None,
            "object": one.title or None,
            "message": one.message,
        }
        for one in plan.problems
    ]


def without_password(plan: Plan) -> list[str]:
    """New users who cannot log in, as nothing says what their password is."""
    from postmaster.directory.entries import UserEntry

    return [
        one.entry.title
        for one in plan.differences
        if isinstance(one.after, UserEntry) and not one.after.password and one.before is None
    ]
