"""`postmaster directory export | import`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.address import parse_domain
from postmaster.cli.directory.formats import As, System
from postmaster.cli.directory.plans import problems, say_problems, without_password
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
    bar,
    complete,
    print_record,
    progress,
    say,
    say_undo,
    state_of,
)
from postmaster.errors import ExistsError, PartialError, RuleError, UsageError
from postmaster.files import remedy
from postmaster.render.output import Format

if TYPE_CHECKING:
    from postmaster.bulk.foreign.gathering import Move
    from postmaster.directory.merge import Wanted

app = typer.Typer(rich_markup_mode=None, add_completion=False)

WITHOUT_PASSWORD = 20  # of users without one, named to people


@app.command(
    epilog="Examples: postmaster directory export directory.csv; "
    "postmaster directory export --as yaml > directory.yaml; "
    "postmaster directory export --with-hashes whole.json"
)
def export(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Where it goes; without one, standard output.")
    ] = None,
    form: As = None,
    with_hashes: Annotated[
        bool, typer.Option("--with-hashes", help="With the hashes of passwords, and app passwords.")
    ] = False,
    domain: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this domain.", autocompletion=complete("domain")),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write all domains, users, aliases, forwards and grants as CSV, JSON, YAML or TOML.

    A file is readable to its owner alone. The format follows its name, or --as; else it is JSON.
    """
    from postmaster.bulk import reading, writing
    from postmaster.directory.domains import require
    from postmaster.directory.inventory import take

    names = {parse_domain(name).ascii for name in domain} if domain else None
    given = writing.As(form.value) if form is not None else None
    if file is None:
        chosen = given or writing.As.json
    else:
        chosen = reading.form_of(file, given)
        if file.exists() and not force:
            raise ExistsError(f"{file} is there already", hint="name another file, or add --force")
    with state_of(context).directory("directory export") as directory, directory.read() as connection:
        for name in domain or ():
            require(connection, parse_domain(name))
        entries = take(connection, domains=names, hashes=with_hashes)
        if file is None:
            writing.write(sys.stdout, chosen, entries, hashes=with_hashes)
            return
        new = file.with_name(f".{file.name}.{os.getpid()}.new")
        try:
            descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                count = writing.write(opened, chosen, entries, hashes=with_hashes)
                opened.flush()
                os.fsync(opened.fileno())
            new.replace(file)
        except OSError as error:
            raise UsageError(f"{file} cannot be written: {error.strerror}", hint=remedy(error)) from None
        finally:
            new.unlink(missing_ok=True)
    say(f"{count} entries in {file}")


@app.command(
    "import",
    epilog="Examples: postmaster directory import users.csv --dry-run; "
    "postmaster directory import whole.json; "
    "postmaster directory import --from postfixadmin dump.sql --dry-run; "
    "postmaster directory import --from aliases /etc/aliases --domain example.org",
)
def import_(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="What directory export writes, or a table of users; - is standard input."
        ),
    ],
    form: As = None,
    system: Annotated[
        System | None,
        typer.Option("--from", help="FILE is another system's: a database URL, a dump, or its own files."),
    ] = None,
    old_root: Annotated[
        Path | None,
        typer.Option(
            "--mail-root", metavar="FOLDER", help="Where the other system keeps mail, if elsewhere."
        ),
    ] = None,
    domain: Annotated[
        str | None, typer.Option(metavar="NAME", help="The domain of the names in an alias(5) file.")
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Give what is there already the values of the file.")
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Leave out rows that cannot be, and take the rest.")
    ] = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Take domains, users, aliases, forwards and grants from a file, all of it or nothing.

    Nothing is removed, and what is there already with other values is refused without --update. A password
    in clear text, as {PLAIN}password, is hashed. A user without either has no password until one is given
    (user chpasswd, user password).
    """
    if system is None:
        if old_root is not None or domain is not None:
            raise UsageError("--mail-root and --domain are for --from alone")
        wanted, moves = read_file(Path(source), form), None
        wanted.manages = frozenset()  # an import takes nothing away
    else:
        from postmaster.bulk.foreign import systems

        if form is not None:
            raise UsageError("--as and --from do not go together")
        progress()(f"reading {system.value}")
        settings = state_of(context).settings
        found = systems.gather(system.value, source, settings.mail, old_root=old_root, domain=domain)
        wanted, moves = found.wanted, found.moves
    _bring_in(context, wanted, source, update, keep_going, dry_run, reason, output, moves)


def _bring_in(
    context: typer.Context,
    wanted: Wanted,
    source: str,
    update: bool,
    keep_going: bool,
    dry_run: bool,
    reason: str | None,
    output: Format,
    moves: list[Move] | None,
) -> None:
    from postmaster.directory import clear_text, merge

    state = state_of(context)
    entry = None
    in_clear = count_in_clear(wanted)
    name = "env" if source.startswith("env:") else Path(source.partition("?")[0]).name
    with state.directory(f"directory import {name}", reason=reason) as directory:
        hashes: dict[str, str] = {}
        texts = look_at_clear_text(directory, wanted) if in_clear else {}
        if texts and not dry_run:
            with directory.read() as connection:
                plan = merge.plan(connection, wanted, update=update)
            if keep_going or not plan.problems:
                hashes = hash_clear_text(plan, texts)
        with directory.change(keep=not dry_run) as change:
            plan = merge.plan(change.connection, wanted, update=update, progress=progress())
            refused = bool(plan.problems) and not keep_going
            if not refused and not dry_run:
                differences = clear_text.fill(plan.differences, hashes)
                with bar(len(differences), "import") as tell:
                    merge.write(change, differences, tell)
                entry = change.number
                progress()("publishing")
    lacking = without_password(plan)
    if output is Format.table:
        say_problems(plan)
        say_clear_text(in_clear if moves is None else 0)  # another system's are in its notes, each by name
        if lacking and not refused:
            named = ", ".join(lacking[:WITHOUT_PASSWORD])
            named += f" and {len(lacking) - WITHOUT_PASSWORD} more" if len(lacking) > WITHOUT_PASSWORD else ""
            say(f"note: without a password until one is given (postmaster user chpasswd): {named}")
        if moves and not refused:
            say("mail that is not found where it is yet, and what makes it so:")
            for one in moves:
                say(f"  {one.command}")
        say_undo(entry)
    if output is not Format.table or not refused:
        shown: dict[str, Any] = {
            "source": source,
            "imported": entry is not None,
            "created": 0 if refused else plan.count("create"),
            "changed": 0 if refused else plan.count("change"),
            "unchanged": plan.unchanged,
            "refused": len(plan.problems),
            "hashed": len(hashes),
            "entry": entry,
        }
        if output is not Format.table:
            shown["without_password"] = lacking
            shown["problems"] = problems(plan)
            shown["notes"] = plan.notes
            shown["moves"] = [
                {"address": one.address, "folder": one.folder, "command": one.command} for one in moves or ()
            ]
        print_record(output, shown)
    if plan.problems and keep_going:
        raise PartialError(f"{len(plan.problems)} entries are left out", hint="see above")
    if refused:
        raise RuleError(
            f"{len(plan.problems)} entries cannot be imported, and nothing is changed",
            hint="mend them, or take the rest with --keep-going",
        )
