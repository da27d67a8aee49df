"""Whether what is published of the directory is there, up to date, and readable by the servers.

Files are tried as the servers' users read them; in a PostgreSQL, it is the rights of the servers' roles.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from postmaster.errors import PostmasterError
from postmaster.health.finding import OK, Context, Finding, Measure, Severity

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from postmaster.directory.lookups import LookupFile
    from postmaster.settings import Settings

CODES = {
    "lookups-missing": "a look-up file, or a schema that servers query, is missing or cannot be read",
    "lookups-side-files": "a file beside the look-ups is gone: the servers' next look-up fails",
    "lookups-rights": "a server's user cannot read its look-up file, or its role its views",
    "lookups-behind": "the look-ups lag behind the directory",
}


def published(context: Context) -> Iterator[Finding]:
    """One finding for each file, or for each schema that servers query."""
    return (_schemas if context.settings.lookups.in_database else _files)(context)


def _files(context: Context) -> Iterator[Finding]:
    from postmaster.directory import lookups
    from postmaster.directory.quick import newest_entry

    settings = context.settings
    newest = newest_entry(settings)

    def bad(name: str, code: str, severity: Severity, message: str, remedy: str) -> Finding:
        return Finding("directory", name, code, severity, message, remedy)

    for file in lookups.FILES:
        path = file.path(settings.lookups)
        # First: for root, to look at the file makes them again.
        sides = [side.name for side in lookups.side_files(path) if not side.exists()]
        refused = None if sides or not path.exists() else _refused(context, file, path)
        entry = lookups.published_entry(path)
        group = lookups.group_id(file.group(settings.lookups))
        rebuild, publish = "postmaster publish --rebuild", "postmaster publish"
        if sides and path.exists():
            message = f"{' and '.join(sides)} is missing: the servers' next look-up fails"
            yield bad(file.name, "lookups-side-files", Severity.critical, message, publish)
        elif entry is None:
            yield bad(file.name, "lookups-missing", Severity.critical, "missing or not readable", rebuild)
        elif refused is not None:
            yield bad(file.name, "lookups-rights", Severity.critical, refused, f"namei -l {path}; {rebuild}")
        elif group is not None and path.stat().st_gid != group:
            message = f"group {file.group(settings.lookups)} may not read it"
            yield bad(file.name, "lookups-rights", Severity.critical, message, rebuild)
        elif newest is None:
            yield bad(
                *(file.name, "directory-unreadable", Severity.unknown),
                *("the directory cannot be read", "run it as root"),
            )
        elif entry[0] != newest:
            message = f"at entry {entry[0]}, the directory is at {newest}"
            yield bad(file.name, "lookups-behind", Severity.warning, message, publish)
        else:
            yield _current(file.name, newest)


def _refused(context: Context, file: LookupFile, path: Path) -> str | None:
    """Why a server's user cannot read its file; None where it can, or where that cannot be tried."""
    from postmaster.directory import lookups
    from postmaster.health import readers
    from postmaster.postfix import postconf

    if os.geteuid() != 0:
        return None
    settings = context.settings
    try:
        user = file.group(settings.lookups)
        if file is lookups.POSTFIX:
            user = postconf.value(settings.postfix.config_directory, "mail_owner")
        why = readers.trouble(user, path, context.left(0.5))
    except PostmasterError:
        return None  # no server is installed: nobody reads it
    return None if why is None else f"{user} cannot read it: {why}"


def _schemas(context: Context) -> Iterator[Finding]:
    """What servers query in the PostgreSQL that holds the directory, where lookups.source says so."""
    from postmaster.directory.engines import make_engine, plain_errors

    settings = context.settings
    try:
        engine = make_engine(settings)
        try:
            with plain_errors(settings):
                yield from _schemas_of(settings, engine)
        finally:
            engine.dispose()
    except PostmasterError as error:
        yield Finding(
            *("directory", "lookups", "lookups-missing", Severity.critical),
            *(f"servers cannot query the directory: {error.message}", error.hint or "postmaster init"),
        )


def _schemas_of(settings: Settings, engine: Engine) -> Iterator[Finding]:
    from postmaster.directory import lookups
    from postmaster.directory.places import places, unreadable
    from postmaster.directory.quick import newest_entry
    from postmaster.served import database

    newest = newest_entry(settings)
    urls = {lookups.POSTFIX: settings.lookups.postfix_url, lookups.DOVECOT: settings.lookups.dovecot_url}
    for place in places(settings.lookups, engine):
        schema = place.file.schema_name
        role = database(urls[place.file], schema, settings.directory.url).user
        entry = place.entry()
        refused = () if entry is None else unreadable(engine, place.file, role)
        if entry is None or newest is None:
            message = "missing, or of another version"
            code, severity, remedy = "lookups-missing", Severity.critical, "postmaster init"
        elif refused:
            message = f"role {role} cannot read {', '.join(refused)}"
            code, severity, remedy = "lookups-rights", Severity.critical, "make the role; postmaster init"
        elif entry[0] != newest:
            message = f"at entry {entry[0]}, the directory is at {newest}"
            code, severity, remedy = "lookups-behind", Severity.warning, "postmaster publish"
        else:
            yield _current(str(place.name), newest)
            continue
        yield Finding("directory", str(place.name), code, severity, message, remedy)


def _current(name: str, entry: int) -> Finding:
    behind = (Measure("entries_behind", 0, "", minimum=0),)
    return Finding("directory", name, OK, Severity.ok, f"up to date (entry {entry})", measures=behind)
