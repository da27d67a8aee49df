"""Where the mail log is."""

from __future__ import annotations

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
    if own:
        return [Path(own)]
    return [next((path for path in USUAL if path.exists()), USUAL[0])]
