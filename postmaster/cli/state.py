"""What every command needs: settings, the output format, questions, progress."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.errors import ConfirmationError, UsageError
from postmaster.render.output import Column, Format, Row, write_record, write_rows
from postmaster.settings import Settings, load_settings
from postmaster.shell import word

if TYPE_CHECKING:
    from postmaster.directory.database import Change, Directory

Output = Annotated[
    Format, typer.Option("-o", "--output", help="How to print: table for people, the others for programs.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept in the history.")]
REASON_CHARACTERS = 1000
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and do nothing.")]


class State:
    """Made once per run; settings are read when the first command asks for them."""

    def __init__(self, config: Path | None, debug: bool) -> None:
        self.debug = debug
        self._config = config
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        if self._settings is None:
            self._settings = load_settings(self._config)
        return self._settings

    @contextmanager
    def directory(
        self, command: str, *, reason: str | None = None, publish: bool = True
    ) -> Iterator[Directory]:
        """The open directory; `command` and `reason` are what the journal will say. Raises UsageError."""
        from postmaster.directory.database import open_directory
        from postmaster.render.escape import printable

        check_reason(reason)
        shown = printable(command)  # the name of a file may have bytes that are no text
        with open_directory(self.settings, command=shown, reason=reason, publish=publish) as opened:
            yield opened


_named: Path | None = None  # the settings file that this run was told to use


def remember_file(config: Path | None) -> None:
    """Note what `--config` named, for the commands that are shown."""
    global _named
    _named = config


def pasted(text: str) -> str:
    """The text with its commands as they must be typed to mean this directory and these servers.

    With `--config` they name the file too: to undo entry 12 of another directory is no way back.
    """
    if _named is None:
        return text
    from postmaster.cli.main import COMMANDS

    given = f"--config {word(_named)}"
    return re.sub(rf"\bpostmaster (?=(?:{'|'.join(COMMANDS)})\b)", lambda found: f"{found[0]}{given} ", text)


def check_reason(reason: str | None) -> None:
    """Raises UsageError."""
    if reason is not None and len(reason) > REASON_CHARACTERS:
        raise UsageError(f"the reason is longer than {REASON_CHARACTERS} characters")
    check_text(reason, "the reason")


def check_text(text: str | None, what: str) -> None:
    """Raises UsageError for bytes of an argument that are no text."""
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise UsageError(f"{what} is not UTF-8") from None


def state_of(context: typer.Context) -> State:
    """The run's state. Completion asks without a callback having run."""
    found = context.find_root().obj
    return found if isinstance(found, State) else State(context.find_root().params.get("config"), False)


def print_rows(
    form: Format, columns: Sequence[Column], rows: Iterable[Row], keys: Sequence[str] = ()
) -> None:
    write_rows(sys.stdout, form, columns, rows, keys)


def print_record(form: Format, record: Row) -> None:
    write_record(sys.stdout, form, record)


def say(text: str) -> None:
    """A line for people beside the data: on standard error, so that a pipe stays clean."""
    from postmaster.render.escape import printable

    print(printable(pasted(text)), file=sys.stderr)


def say_way_back(*words: object) -> None:
    """The command that takes back what was done."""
    say(f"undo: postmaster {' '.join(map(word, words))}")


def say_undo(entry: int | None) -> None:
    """How to take back an entry of the history; nothing where none was made."""
    if entry is not None:
        say_way_back("undo", entry)


def held_of(field: str, value: str) -> str:
    """The filter for messages on hold with this sender, recipient or login, as a word of a command."""
    from postmaster.queue.tree import AllOf, Term

    return word(AllOf((Term("queue", "=", "hold"), Term(field, "=", value))))


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is destroyed. Raises ConfirmationError where nobody can be asked."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfirmationError(
            f"not done without being told: {question}", hint="add --yes, or look first with --dry-run"
        )
    typer.confirm(question, abort=True, err=True)


@contextmanager
def removal(directory: Directory, question: str, *, yes: bool, dry_run: bool) -> Iterator[Change]:
    """A change that takes something away: it is asked about, and told how to undo; a dry run keeps nothing.

    Raises ConfirmationError where nobody can be asked.
    """
    if not dry_run:
        confirm(question, yes=yes)
    with directory.change(keep=not dry_run) as change:
        yield change
    if not dry_run:
        say_undo(change.number)


def progress() -> Callable[[str], None]:
    """A function that tells a person at the terminal what is under way, and nobody else."""
    if not sys.stderr.isatty():
        return lambda _text: None
    return lambda text: say(f"… {text}")


@contextmanager
def bar(total: int, label: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, for work that is long enough to be looked at."""
    if total < 20 or not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)


def complete(kind: Any) -> Callable[[typer.Context, str], list[str]]:
    """Completion from the directory: `kind` is domain, user, alias, forward or address."""

    def names(ctx: typer.Context, incomplete: str) -> list[str]:
        from postmaster.directory.quick import names as find
        from postmaster.errors import PostmasterError

        try:
            return find(state_of(ctx).settings, kind, incomplete)
        except PostmasterError:
            return []

    return names
