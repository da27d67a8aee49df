"""Running a few lines of Python as another user, to see what that user can do."""

from __future__ import annotations

import grp
import pwd
import subprocess
import sys

#: The interpreter may be out of other users' reach, so it starts as root and then steps down for good.
_STEP_DOWN = """\
import json, os, sqlite3, sqlite3.dump, sys, time
user, group = map(int, sys.argv[1:3])
del sys.argv[1:3]
os.setgroups([])
os.setresgid(group, group, group)
os.setresuid(user, user, user)
os.chdir("/")
"""


def command(name: str, program: str, *arguments: str, before: str = "") -> list[str]:
    """An argument list that runs a program with json, os, sqlite3, sys and time imported.

    What is in `before` is done as root.
    """
    account = pwd.getpwnam(name)
    group = grp.getgrgid(account.pw_gid)
    ids = (str(account.pw_uid), str(group.gr_gid))
    return [sys.executable, "-I", "-c", before + _STEP_DOWN + program, *ids, *arguments]


def run(name: str, program: str, *arguments: str) -> str:
    """What the program printed."""
    done = subprocess.run(
        command(name, program, *arguments), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
