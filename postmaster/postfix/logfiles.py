"""Where the mail log is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from postmaster.errors import ProcessError
from postmaster.postfix import postconf
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


def named_or_usual(named: Iterable[Path | None]) -> list[Path]:
    """These files, each once; where none is named, the usual one that is there, else Debian's."""
    files = list(dict.fromkeys(path for path in named if path is not None))
    return files or [next((path for path in USUAL if path.exists()), USUAL[0])]
