"""`postmaster directory diff | apply`: a directory that is described in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.cli.directory.formats import As, Kind
from postmaster.cli.directory.plans import COLUMNS, KEYS, problems, rows, say_problems, without_password
from postmaster.cli.directory.wanted import (
    count_in_clear,
    hash_clear_text,
    look_at_clear_text,
    read_file,
    say_clear_text,
)
from postmaster.cli.state import (
    DryRun,
    Output,
    Reason,
    Yes,
    bar,
    confirm,
    print_record,
    print_rows,
    progress,
    say,
    say_undo,
    state_of,
)
from postmaster.errors import ConfirmationError, ConflictError, PartialError, PostmasterError, RuleError
from postmaster.render.output import Format
from postmaster.shell import word

if TYPE_CHECKING:
    from postmaster.directory.merge import Plan

app = typer.Typer(rich_markup_mode=None, add_completion=False)

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="The description: YAML, TOML or JSON; - is standard input.")
]


@app.command(
    epilog="Examples: postmaster directory diff directory.yaml; "
    "postmaster directory diff directory.toml -o json"
)
def diff(context: typer.Context, file: File, form: As = None, output: Output = Format.table) -> None:
    """Show what apply would create, change and delete. Exit status 4 where there is something.

    docs/directory.md says what a file manages, and so what of the rest is deleted.
    """
    from postmaster.directory import merge

    wanted = read_file(file, form, but=Kind.csv)
    with state_of(context).directory("directory diff") as directory:
        look_at_clear_text(directory, wanted)
        with directory.read() as connection:
            plan = merge.plan(connection, wanted, update=True, progress=progress())
    _refuse(plan, output)
    print_rows(output, COLUMNS, rows(plan.differences, table=output is Format.table), KEYS)
    if output is Format.table:
        say(_summary(plan))
    if plan.differences:
        raise typer.Exit(4)


@app.command(
    epilog="Examples: postmaster directory apply directory.yaml --dry-run; "
    "postmaster directory apply directory.yaml --max-deletes 50 --yes"
)
def apply(
    context: typer.Context,
    file: File,
    form: As = None,
    max_deletes: Annotated[
        int, typer.Option(min=0, metavar="NUMBER", help="Refuse to delete more than so many entries.")
    ] = 10,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Make the directory what a file says: exactly what diff shows, in one transaction.

    Mail of users who are deleted goes to the trash. A new user without a hash in the file has no password
    until one is given.
    """
    from postmaster.directory import clear_text, merge
    from postmaster.directory.entries import UserEntry
    from postmaster.lifecycle import removal
    from postmaster.lifecycle.rename import end_sessions

    wanted = read_file(file, form, but=Kind.csv)
    in_clear = count_in_clear(wanted)
    entry, failed, hashes = None, list[str](), dict[str, str]()
    with state_of(context).directory(f"directory apply {file.name}", reason=reason) as directory:
        texts = look_at_clear_text(directory, wanted)
        with directory.read() as connection:
            plan = merge.plan(connection, wanted, update=True, progress=progress())
        _refuse(plan, output)
        deletes = plan.count("delete")
        if output is Format.table:
            print_rows(output, COLUMNS, rows(plan.differences, table=True), KEYS)
            say(_summary(plan))
        if deletes > max_deletes and not dry_run:
            raise ConfirmationError(
                f"{deletes} entries would be deleted, more than {max_deletes}",
                hint=f"look with: postmaster directory diff {word(file)}; then add"
                f" --max-deletes {word(deletes)}",
            )
        if plan.differences and not dry_run:
            confirm(f"Bring this about: {_summary(plan)}?", yes=yes)
            hashes = hash_clear_text(plan, texts)
            with directory.change() as change:
                # What was agreed to is what is done, whoever wrote meanwhile.
                if merge.plan(change.connection, wanted, update=True).differences != plan.differences:
                    raise ConflictError(
                        "the directory was changed meanwhile", hint="look at the difference again"
                    )
                with bar(len(plan.differences), "apply") as tell:
                    merge.write(change, clear_text.fill(plan.differences, hashes), tell)
            entry = change.number
            gone = [
                one.entry.address.ascii
                for one in plan.differences
                if isinstance(one.entry, UserEntry) and one.after is None
            ]
            try:
                if gone:
                    end_sessions(directory.settings, gone)
                    failed += removal.finish(directory)
            except PostmasterError as error:
                failed.append(error.message)
            if output is Format.table:
                say_undo(entry)
    if output is not Format.table:
        print_record(
            output,
            {
                "file": file,
                "applied": entry is not None,
                "created": plan.count("create"),
                "changed": plan.count("change"),
                "deleted": plan.count("delete"),
                "hashed": len(hashes),
                "entry": entry,
                "without_password": without_password(plan),
                "differences": list(rows(plan.differences, table=False)),
                "notes": plan.notes,
            },
        )
    else:
        say_clear_text(in_clear)
    if output is Format.table and (lacking := without_password(plan)):
        say(f"note: without a password until one is given: {', '.join(lacking)}")
    if failed:
        raise PartialError(
            f"the directory is as the file says, but not everything else could be done: {'; '.join(failed)}",
            hint="mend that, then: postmaster user trash purge --unfinished",
        )


def _refuse(plan: Plan, output: Format) -> None:
    """Say what cannot be. Raises RuleError when there is anything, as a description holds as a whole."""
    if output is Format.table:
        say_problems(plan)
    if plan.problems:
        lines = [
            " ".join(filter(None, (f"{one['place']}:" if one["place"] else "", one["kind"], one["object"])))
            + f": {one['message']}"
            for one in problems(plan)
        ]
        raise RuleError(
            f"{len(plan.problems)} entries of the file cannot be, and nothing is changed",
            hint="mend them in the file",
            detail=None if output is Format.table else "\n".join(lines),
        )


def _summary(plan: Plan) -> str:
    counts: dict[str, Any] = {action: plan.count(action) for action in ("create", "change", "delete")}
    return f"{counts['create']} to create, {counts['change']} to change, {counts['delete']} to delete"
