"""Many separate commits: each opens the directory, writes, publishes and closes it.

Run as a program: `committer.py SETTINGS DOMAIN COUNT`. The libraries are loaded once; every ten commits
are a process of their own that ends as any does, since SQLite cleans up when a process ends.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from postmaster.address import parse_address
from postmaster.directory import users
from postmaster.directory.database import open_directory
from postmaster.settings import Settings, load_settings

A_PROCESS = 10


def commit(settings: Settings, domain: str, number: int) -> None:
    """Make a user, switch it, remove it, in turn."""
    where = parse_address(f"u{number // 3}@{domain}")
    with open_directory(settings, command=f"commit {number}") as directory, directory.change() as change:
        if number % 3 == 0:
            users.add(change, where, password_hash="{BLF-CRYPT}$2y$05$" + "a" * 53)
        elif number % 3 == 1:
            users.update(change, where, imap=False)
        else:
            users.remove(change, where)


def main() -> None:
    settings, domain, count = load_settings(Path(sys.argv[1]), {}), sys.argv[2], int(sys.argv[3])
    for first in range(0, count, A_PROCESS):
        child = os.fork()
        if child == 0:
            for number in range(first, first + A_PROCESS):
                commit(settings, domain, number)
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        if status != 0:
            sys.exit(f"the process of commit {first} ended with status {status}")
    print(count)


if __name__ == "__main__":
    main()
