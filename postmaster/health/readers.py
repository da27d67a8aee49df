"""The look-ups tried as the servers' own users would read them: what root can read says nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import quote

from postmaster.errors import ProcessError
from postmaster.process import run

#: Starts as root, as the interpreter may be out of the user's reach, and steps down for good. Postfix opens
#: its tables for writing, which SQLite makes reading where the file may not be written (dict_sqlite.c).
_TRY = """\
import os, sqlite3, sys
name, user, group, uri = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
os.initgroups(name, group)
os.setresgid(group, group, group)
os.setresuid(user, user, user)
os.chdir("/")
try:
    connection = sqlite3.connect(uri, uri=True, timeout=2)
    connection.execute("SELECT count(*) FROM published").fetchone()
except sqlite3.Error as error:
    sys.exit(str(error))
"""


def trouble(user: str, path: Path, timeout: float) -> str | None:
    """Why a system user cannot read a look-up file; None where it can. Root alone can try.

    Raises ProcessError where it cannot be tried.
    """
    import pwd

    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return f"there is no system user {user}"
    uri = f"file:{quote(str(path))}?mode=rw"
    argv = [sys.executable, "-I", "-c", _TRY, user, str(account.pw_uid), str(account.pw_gid), uri]
    done = run(argv, expect=(0, 1), timeout=timeout)
    if done.status == 0:
        return None
    lines = done.stderr.strip().splitlines()
    if not lines or "Traceback" in done.stderr:
        raise ProcessError(f"it could not be tried as {user}: {lines[-1] if lines else 'no word why'}")
    return lines[-1]
