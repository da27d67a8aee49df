"""A parent with everything loaded that runs each change in a child and ends it at its n-th write.

Run as a program with `killed_at_write` preloaded: `killable.py SETTINGS`. It reads one JSON object a line,
`{"n": 3, "command": ["user", "add", …], "stdin": "…"}` or `{"n": 3, "bulk": [first, last, name]}`, and
answers with the child's exit status, negative for a signal. 0 for n: the child may finish.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import alembic.command
import psycopg
import ruamel.yaml
import sqlalchemy.dialects.postgresql.psycopg

import postmaster.bulk.reading
import postmaster.cli.directory.copy
import postmaster.cli.directory.document
import postmaster.cli.health.check
import postmaster.cli.publish
import postmaster.cli.user.accounts
import postmaster.cli.user.remove
import postmaster.health.checks.webmail
import postmaster.health.judge
import postmaster.health.record
import postmaster.health.report.rows
import postmaster.lifecycle.removal
from postmaster.address import parse_address
from postmaster.cli.main import main
from postmaster.directory import migrate, passwords, transfer, users
from postmaster.directory.database import open_directory
from postmaster.settings import load_settings

LOADED = (
    *(alembic, psycopg, ruamel.yaml, sqlalchemy, migrate, passwords, transfer),
    *(postmaster.bulk, postmaster.cli, postmaster.health, postmaster.lifecycle),
)


def bulk(settings_file: str, first: int, last: int, name: str) -> int:
    """One change of many rows."""
    settings = load_settings(Path(settings_file), {})
    with open_directory(settings, command="bulk") as directory, directory.change() as change:
        for number in range(first, last):
            users.update(change, parse_address(f"bulk{number}@kill.test"), name=name)
    return 0


def work(settings_file: str, task: dict[str, Any]) -> int:
    if "bulk" in task:
        first, last, name = task["bulk"]
        return bulk(settings_file, first, last, name)
    sys.stdin = io.TextIOWrapper(io.BytesIO(str(task.get("stdin", "")).encode()))
    return main(["--config", settings_file, *task["command"]])


def run() -> None:
    arm = ctypes.CDLL(None).arm
    settings_file = sys.argv[1]
    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if child == 0:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
            arm(task["n"])
            status = work(settings_file, task)
            sys.stdout.flush()
            os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    run()
