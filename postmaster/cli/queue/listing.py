"""`postmaster queue list`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.cli.queue.choose import Chosen, choosing, where
from postmaster.cli.queue.rows import (
    COLUMNS,
    DEFAULT_COLUMNS,
    ROOM,
    column,
    fitted,
    json_line,
    needs,
    picked_row,
    row,
    sort_key,
    table_columns,
    table_row,
)
from postmaster.cli.state import Output, print_rows, say, state_of
from postmaster.errors import PartialError, UsageError
from postmaster.postfix.queue import Listing
from postmaster.render.output import Column, Format

if TYPE_CHECKING:
    from postmaster.queue.message import Message
    from postmaster.settings import Settings

app = typer.Typer(rich_markup_mode=None, add_completion=False)

SCREEN_LIMIT = 50  # messages shown on a terminal unless told otherwise
SORT_LIMIT = 100_000  # messages that are sorted without --limit; each takes half a kilobyte

#: What stands before, between and after rows of JSON, and instead of none.
SEPARATORS = {Format.jsonl: ("", "\n", "\n", ""), Format.json: ("[\n  ", ",\n  ", "\n]\n", "[]\n")}


def complete_columns(incomplete: str) -> list[str]:
    """The names of columns, after those that stand there already."""
    before, comma, begun = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in COLUMNS if name.startswith(begun)]


@app.command(
    "list",
    epilog="Examples: postmaster queue list; postmaster queue list --sort age --limit 20; "
    "postmaster queue list 'sender=*@shop.example and age>2h' -o jsonl",
)
@choosing
def list_(
    context: typer.Context,
    chosen: Chosen,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="FIELD",
            help="Sort by a column: age (oldest first), size, recipients (most first), retry, expires, "
            "sender …; -FIELD turns it round.",
            autocompletion=complete_columns,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="At most so many; 0 for all. On a terminal 50.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="A,B,…",
            help="Show these columns: the keys of the JSON, age, reason, dsn.",
            autocompletion=complete_columns,
        ),
    ] = None,
    output: Output = Format.table,
) -> None:
    """List the messages in the queue, as they come."""
    keys = [column(one, "--columns") for one in columns.split(",")] if columns is not None else None
    settings = state_of(context).settings
    show_list(View(settings, output, keys, limit, sort, **where(settings, chosen)))


@dataclass(slots=True)
class View:
    """Which messages are listed, and how. `test` is the filter, which looks at the fields `test_need`."""

    settings: Settings
    output: Format
    keys: list[str] | None = None  # columns; None: all for programs, the usual ones for people
    limit: int | None = None
    sort: str | None = None
    test: Callable[[Message], object] | None = None
    test_need: frozenset[str] = frozenset()
    source: str | None = None
    instances: tuple[str, ...] = ()
    listing: Listing = field(default_factory=Listing)

    @property
    def is_table(self) -> bool:
        return self.output is Format.table

    @property
    def is_whole_json(self) -> bool:
        """Whether every key is printed as JSON, which has a quick way."""
        return self.keys is None and self.output in SEPARATORS

    @property
    def shown(self) -> Sequence[str]:
        """The columns of a table."""
        if self.keys is not None:
            return self.keys
        width = self.width
        return [key for key in DEFAULT_COLUMNS if width is None or width >= ROOM.get(key, 0)]

    @property
    def width(self) -> int | None:
        """Characters of the terminal; None where it is none."""
        if not sys.stdout.isatty():
            return None
        import shutil

        return shutil.get_terminal_size().columns

    @property
    def most(self) -> int | None:
        """How many are shown; None for all."""
        if self.limit is None:
            return SCREEN_LIMIT if self.is_table and sys.stdout.isatty() else None
        return self.limit or None

    @property
    def need(self) -> frozenset[str]:
        from postmaster.queue.message import ALL

        if self.keys is None and not self.is_table:
            return ALL
        return needs(self.shown) | {"damage"} if self.is_table else needs(self.shown)

    @property
    def where(self) -> dict[str, Any]:
        return {"source": self.source, "instances": self.instances}

    @property
    def chosen(self) -> dict[str, Any]:
        return {"test": self.test, "test_need": self.test_need, **self.where}


def show_list(view: View) -> None:
    """Print the list, then what is missing in it. Raises PartialError where entries could not be read."""
    more = Counted()
    if view.sort is not None:
        _print(view, _sorted(view, more))
    elif view.most is not None:
        _print(view, _first(view, view.most, more))
    elif view.is_whole_json:
        from postmaster.queue.read import blocks

        make, separator = json_line, SEPARATORS[view.output][1]
        _write_json(view, blocks(view.settings, view.listing, make, separator, need=view.need, **view.chosen))
    else:
        from postmaster.queue.read import select

        _print(view, select(view.settings, view.listing, need=view.need, **view.chosen))
    if more.count:
        say(f"{more.count} more; --limit 0 shows all")
    if view.listing.unreadable:
        raise PartialError(
            f"{view.listing.unreadable} entries of the queue could not be read", hint="run it again, as root"
        )


@dataclass(slots=True)
class Counted:
    count: int = 0


def _first(view: View, most: int, more: Counted) -> Iterator[Message]:
    """The first messages without a walk through the whole queue; how many more there are, after them."""
    from postmaster.queue.read import count_files, messages, select

    if view.test is not None:
        found = select(view.settings, view.listing, need=view.need, **view.chosen)
    else:
        found = messages(view.settings, view.listing, need=view.need, **view.where)
    shown = 0
    for message in islice(found, most):
        shown += 1
        yield message
    if shown < most:
        return
    files = count_files(view.settings, **view.where) if view.test is None else None
    more.count = sum(1 for _ in found) if files is None else max(0, files - shown)


def _sorted(view: View, more: Counted) -> Iterator[Message]:
    """The messages in order. They are kept packed, so that a hundred thousand stay below 100 MiB."""
    import heapq

    from postmaster.queue.packed import pack, unpack
    from postmaster.queue.read import transform

    assert view.sort is not None
    reverse = view.sort.startswith("-")
    name = column(view.sort.removeprefix("-"), "--sort")
    key = sort_key(name, reverse=reverse)
    need = view.need | needs([name])
    packed = transform(
        view.settings,
        view.listing,
        lambda message: (key(message), message.queue_id, pack(message)),
        need=need,
        **view.chosen,
    )
    seen = Counted()

    def counted() -> Iterator[tuple[Any, str, bytes]]:
        for one in packed:
            seen.count += 1
            if view.most is None and seen.count > SORT_LIMIT:
                raise UsageError(
                    f"sorting more than {SORT_LIMIT} messages needs --limit",
                    hint=f"for example: --sort {view.sort} --limit 1000",
                )
            yield one

    if view.most is None:
        ordered = sorted(counted(), reverse=reverse)
    else:
        pick = heapq.nlargest if reverse else heapq.nsmallest
        ordered = pick(view.most, counted())
    more.count = seen.count - len(ordered)
    for _, _, content in ordered:
        yield unpack(content)


def _print(view: View, found: Iterable[Message]) -> None:
    if view.is_whole_json:
        _write_json(view, map(json_line, found))
        return
    if not view.is_table:
        keys = view.keys
        rows = map(row, found) if keys is None else (picked_row(one, keys) for one in found)
        print_rows(view.output, [Column(key, key) for key in keys or row_keys()], rows)
        return
    shown, waiting = view.shown, iter(found)
    if (first := next(waiting, None)) is None:
        say("no messages")
        return
    cells: Iterator[dict[str, str]] = (table_row(one, shown) for one in chain((first,), waiting))
    if view.width is not None:
        cells = fitted(cells, shown, view.width)
    print_rows(view.output, table_columns(shown), cells)


def _write_json(view: View, blocks: Iterable[str]) -> None:
    """Lines of JSON, or an array of them, a row a line."""
    lead, separator, end, empty = SEPARATORS[view.output]
    for block in blocks:
        sys.stdout.write(lead)
        sys.stdout.write(block)
        lead = separator
    sys.stdout.write(end if lead is separator else empty)


def row_keys() -> list[str]:
    """The keys of the JSON contract."""
    return [key for key in COLUMNS if key not in ("age", "reason", "dsn")]
