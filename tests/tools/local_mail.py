"""Local mail in a lab: alias files, forward files and mailboxes of its own, and what local(8) says it did."""

from __future__ import annotations

import os
import pwd
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from postmaster.process import run
from tests.tools.mail import PATIENCE, Lab

HOST = "here.test"
FIRST, SECOND = "games", "news"  # accounts of every Debian, without mail of their own
ALIASES = "# aliases of the lab\npostmaster: root\nroot: postmaster@lab.test\n"

_numbers = count(1)
_stamps = count(1)
_END = re.compile(r" postfix/(\w+)\[\d+\]: \w+: to=<([^>]*)>,.* status=(\w+) \((.*)\)$")


@contextmanager
def local_mail(lab: Lab, aliases: str = ALIASES) -> Iterator[dict[str, Any]]:
    """Empty folders and an alias file; gives the parameters that name them."""
    directory = lab.settings.postfix.config_directory
    for folder in ("spool-mail", "forwards"):
        (lab.root / folder).mkdir(exist_ok=True)
        (lab.root / folder).chmod(0o1777 if folder == "spool-mail" else 0o755)
        for file in (lab.root / folder).iterdir():
            file.unlink()
    (directory / "aliases").write_text(aliases)
    (directory / "aliases").chmod(0o644)
    run(["postalias", "-c", str(directory), f"hash:{directory}/aliases"])
    # A running local(8) sees a new table by its time, in whole seconds.
    then = time.time() - 100_000 + next(_stamps)
    for name in ("aliases", "aliases.db"):
        os.utime(directory / name, (then, then))
    forwards = lab.root / "forwards"
    yield {
        "mydestination": HOST,
        "myorigin": HOST,
        "alias_maps": f"hash:{directory}/aliases",
        "alias_database": f"hash:{directory}/aliases",
        "forward_path": f"{forwards}/$user${{recipient_delimiter}}$extension, {forwards}/$user",
        "mail_spool_directory": f"{lab.root}/spool-mail",
    }


def forward(lab: Lab, user: str, text: str, mode: int = 0o644, owner: int | None = None) -> Path:
    file = lab.root / "forwards" / user
    file.write_text(text)
    file.chmod(mode)
    os.chown(file, pwd.getpwnam(re.split("[+-]", user)[0]).pw_uid if owner is None else owner, -1)
    return file


def deliver(lab: Lab, recipient: str) -> str:
    """Send a message and wait for the log line that ends it: its status and why."""
    subject = f"local-{next(_numbers)}-{os.getpid()}"
    directory = str(lab.settings.postfix.config_directory)
    run(
        ["sendmail", "-C", directory, "-f", "stranger@outside.test", recipient],
        stdin=f"Subject: {subject}\nMessage-ID: <{subject}@outside.test>\n\nHello.\n",
    )
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        lines = lab.log().splitlines()
        ids = [line.split(": ")[1] for line in lines if f"message-id=<{subject}@" in line]
        done = [line for line in lines if any(f": {one}: removed" in line for one in ids)]
        mine = [line for line in lines if any(f" {one}: " in line for one in ids)]
        if (ids and len(done) >= len(set(ids))) or any(
            "status=deferred" in line or "too many hops" in line for line in mine
        ):
            return "\n".join(mine)
        time.sleep(0.05)
    raise AssertionError("\n".join(lab.log().splitlines()[-20:]))


def ends(log: str) -> set[tuple[str, str]]:
    """(what became of it, recipient) where mail ended, by the log lines of a message and its copies.

    Nothing where no line tells of an end; without the recipient where mail was returned.
    """
    found = set()
    for line in log.splitlines():
        match = _END.search(line)
        if match is None or "forwarded as" in match[4]:
            continue
        service, recipient, status, text = match.groups()
        if status == "bounced":
            recipient = ""  # of a target that is no address, that of its alias
        elif status == "sent" and (service == "discard" or "discarded" in text):
            status = "discarded"
        elif status == "sent" and service == "local":
            kinds = {"mailbox": "mailbox", "file:": "file", "maildir": "mailbox", "command:": "command"}
            status = kinds[text.removeprefix("delivered to ").split()[0]]
        elif status == "sent":
            status = "left"
        found.add((status, recipient))
    return found
