"""Where the mail log is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from postmaster.errors import ProcessError
from postmaster.postfix import journal, postconf
from postmaster.postfix.forms import plain
from postmaster.process import run
from postmaster.settings import LogSettings, PostfixSettings

USUAL = (Path("/var/log/mail.log"), Path("/var/log/maillog"))  # Debian's, Red Hat's


def log_files(log: LogSettings, postfix: PostfixSettings) -> list[Path]:
    """The files that the servers log to: the settings' word, Postfix's own `maillog_file`, else the usual.

    The list names a file that need not exist: a server that logs to the journal alone has none.
    """
    if log.files:
        return list(log.files)
    try:
        own = postconf.value(postfix.config_directory, "maillog_file")
    except ProcessError:  # logs can be read where no Postfix is
        own = ""
    return named_or_usual([Path(own)] if own else [])


def latest_lines(log: LogSettings, postfix: PostfixSettings, limit: int) -> Iterator[str]:
    """The end of each log, at most so many bytes; of the journal, in the usual form, where no file is there.

    Raises OSError, ProcessError for what cannot be read.
    """
    files = log_files(log, postfix)
    for path in filter(Path.is_file, files):
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - limit))
            yield file.read(limit).decode("utf-8", "replace")
    if journal.stands_in_for(files):
        entries = run(journal.command(f"--lines={limit >> 10}")).stdout  # each takes a KiB and more
        yield plain(entries.encode("utf-8", "replace")).decode("utf-8", "replace")


def named_or_usual(named: Iterable[Path | None]) -> list[Path]:
    """These files, each once; where none is named, the usual one that is there, else Debian's."""
    files = list(dict.fromkeys(path for path in named if path is not None))
    return files or [next((path for path in USUAL if path.exists()), USUAL[0])]
