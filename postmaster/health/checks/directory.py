"""Whether the published files are there, whole, readable for the servers and up to date."""

from __future__ import annotations

from collections.abc import Iterator

from postmaster.health.finding import OK, Context, Finding, Measure, Severity

MEANING = "what the servers read is there, readable and up to date"
CODES = {
    "lookups-missing": "a look-up file is missing or cannot be read",
    "lookups-side-files": "a file beside the look-ups is gone: the servers' next look-up fails",
    "lookups-rights": "the servers' group may not read a look-up file",
    "lookups-behind": "the look-ups lag behind the directory",
    "directory-unreadable": "the directory itself cannot be read",
}


def run(context: Context) -> Iterator[Finding]:
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
        entry = lookups.published_entry(path)
        group = lookups.group_id(file.group(settings.lookups))
        rebuild, publish = "postmaster publish --rebuild", "postmaster publish"
        if entry is None:
            yield bad(file.name, "lookups-missing", Severity.critical, "missing or not readable", rebuild)
        elif sides:
            message = f"{' and '.join(sides)} is missing: the servers' next look-up fails"
            yield bad(file.name, "lookups-side-files", Severity.critical, message, publish)
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
            message = f"up to date (entry {newest})"
            behind = (Measure("entries_behind", 0, "", minimum=0),)
            yield Finding("directory", file.name, OK, Severity.ok, message, measures=behind)
