"""What a file wants of the directory, as commands take it: read, and its passwords in clear text hashed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from postmaster.cli.directory.formats import Kind
from postmaster.cli.state import bar, progress, say
from postmaster.errors import UsageError

if TYPE_CHECKING:
    from postmaster.directory.database import Directory
    from postmaster.directory.merge import Plan, Wanted


def read_file(file: Path, form: Kind | None, but: Kind | None = None) -> Wanted:
    """What a file says, `-` standard input. Raises UsageError, for the format `but` as well."""
    from postmaster.bulk import reading, writing

    given = writing.As(form.value) if form is not None else None
    if str(file) == "-" and given is None:
        raise UsageError("standard input does not say which format it is in", hint="add --as")
    chosen = reading.form_of(file, given)
    if but is not None and chosen == but.value:
        raise UsageError(
            "a description is in YAML, TOML or JSON", hint="a CSV is for: postmaster directory import"
        )
    if str(file) != "-":
        progress()(f"reading {file}")
        return reading.read(file, chosen)
    if sys.stdin.isatty():
        raise UsageError("standard input is a terminal", hint="name a file, or send one: … < FILE")
    return reading.read_from(sys.stdin.buffer, chosen, "standard input")


def count_in_clear(wanted: Wanted) -> int:
    """How many passwords stand in clear text in the file."""
    return sum(one.clear_text is not None for one in wanted.listed)


def look_at_clear_text(directory: Directory, wanted: Wanted) -> dict[str, str]:
    """Compare passwords in clear text with the hashes that users have; those that differ, by their marks."""
    from postmaster.directory import clear_text

    with directory.read() as reading, bar(count_in_clear(wanted), "comparing passwords") as tell:
        return clear_text.look(reading, wanted.listed, tell)


def hash_clear_text(plan: Plan, texts: dict[str, str]) -> dict[str, str]:
    """The hashes that a plan needs, by the marks in it."""
    from postmaster.directory import clear_text

    with bar(len(texts), "hashing passwords") as tell:
        return clear_text.hash_those_of(plan.differences, texts, tell)


def say_clear_text(count: int) -> None:
    """Let people know that a file can be read by who must not."""
    if count:
        say(
            f"note: {count} passwords stand in the file in clear text; the directory has hashes of them alone"
        )
