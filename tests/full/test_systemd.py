"""A server as an administrator has it: Debian's units run Postfix and Dovecot, systemd's timers our checks.

One root is made and started for all; each step goes on from the one before, as on a new server. No log file
is written there, so all that reads logs reads the journal.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.full.test_clean_roots import require_roots
from tests.tools.certificates import Authority
from tests.tools.clean_root import SOURCE, Booted, booted, clean_root

pytestmark = pytest.mark.timeout(2400)

POSTMASTER = f"{SOURCE}/.venv/bin/postmaster"
CERTIFICATE, KEY = "/etc/ssl/mail.pem", "/etc/ssl/private/mail.key"
SERVERS = ("postfix@-.service", "dovecot.service")
OURS = ("postmaster-health", "postmaster-digest")
PATIENCE = 150.0  # seconds

Found = TypeVar("Found")


class Server:
    """The booted root, and what is asked of it."""

    def __init__(self, here: Booted) -> None:
        self.run = here.run
        self.must = here.must

    def postmaster(self, *words: str) -> str:
        return self.must(POSTMASTER, *words)

    def asked(self, *words: str) -> Any:
        return json.loads(self.postmaster(*words, "-o", "json"))

    def is_active(self, unit: str) -> bool:
        return self.run("systemctl", "is-active", unit).stdout.strip() == "active"

    def start(self, unit: str) -> None:
        """Run a service now, as its timer does. Raises AssertionError with its journal where it fails."""
        done = self.run("systemctl", "start", unit)
        assert done.returncode == 0, self.run("journalctl", "--no-pager", "--unit", unit).stdout

    def subjects(self) -> list[str]:
        """Of the messages that the postmaster has."""
        found = self.must(
            "doveadm", "-f", "tab", "fetch", "-u", "postmaster@example.org", "hdr.subject", "all"
        )
        return found.splitlines()[1:]


def eventually(ask: Callable[[], Found]) -> Found:
    end = time.monotonic() + PATIENCE
    while not (found := ask()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.5)
    return found


@pytest.fixture
def server() -> Iterator[Server]:
    require_roots()
    with clean_root("bookworm", "systemd-sysv", "dbus", "make") as root:
        root.must("tests/tools/prepare.sh", "packages", "environment", timeout=1200)
        certificate, key = (Path(root.path, name.lstrip("/")) for name in (CERTIFICATE, KEY))
        key.parent.mkdir(parents=True, exist_ok=True)
        for file in (certificate, key):
            file.touch(0o600)
        Authority().issue("mail.example.org").write(certificate, key)
        with booted(root) as here:
            yield Server(here)


def from_its_packages_to_its_reports(server: Server) -> None:
    server.must("postconf", "-e", "myhostname=mail.example.org")
    server.must("systemctl", "stop", *SERVERS)
    server.postmaster("init")
    server.postmaster("domain", "add", "example.org")
    server.postmaster("user", "add", "postmaster@example.org", "--generate")
    proofs = server.asked(
        *("setup", "apply", "--yes", "--certificate", CERTIFICATE, "--key", KEY),
        *("--postmaster", "postmaster@example.org"),
    )["proofs"]
    assert {one["name"]: one["status"] for one in proofs}["log"] == "ok"
    for unit in SERVERS:  # they did not run; now systemd runs them
        assert server.is_active(unit)
    server.postmaster("setup", "check")

    server.postmaster("health", "install", "--every", "1m", "--to", "postmaster@example.org")
    for service in OURS:
        assert server.is_active(f"{service}.timer")
        server.start(f"{service}.service")
    # With all that the units keep from it, it could look at everything and send what it found.
    assert len(eventually(server.subjects)) >= 1
    assert server.asked("health", "history")


def a_server_that_ended_is_missed_and_started_again(server: Server) -> None:
    server.must("systemctl", "stop", "dovecot.service")
    assert server.run(POSTMASTER, "health", "check", "processes").returncode == 2
    # Nothing differs, and the postmaster that was named before is kept.
    server.postmaster("setup", "apply", "--yes")
    assert server.is_active("dovecot.service")
    server.must("systemctl", "stop", "postfix@-.service")
    begun = time.monotonic()
    refused = server.run(POSTMASTER, "setup", "check")
    assert refused.returncode == 1
    assert "Postfix does not run" in refused.stderr
    assert time.monotonic() - begun < 30  # postmap alone would try for a minute
    server.postmaster("setup", "apply", "--yes")
    for unit in SERVERS:
        assert server.is_active(unit)


def what_became_of_a_message_is_in_the_journal(server: Server) -> None:
    to = "amy@elsewhere.invalid"  # a name that no server knows: it waits
    server.must("sh", "-c", f"printf 'Subject: out\\n\\nx\\n' | sendmail -f postmaster@example.org {to}")
    (message,) = eventually(lambda: server.asked("queue", "list", "--queue", "deferred", "--recipient", to))
    assert to in server.postmaster("trace", to)
    assert server.asked("log", "report")["totals"]["received"] >= 1

    flushed = server.run(POSTMASTER, "queue", "flush", message["queue_id"], "--yes")
    assert "not found" in flushed.stdout + flushed.stderr  # so the log said, and not nothing
    shown = server.asked("queue", "show", message["queue_id"])
    assert len(shown["attempts"]) >= 2


def the_timers_go_by_themselves(server: Server) -> None:
    """Each minute, without an error."""

    def runs() -> int:
        told = server.run("journalctl", "--no-pager", "--unit", f"{OURS[0]}.service", "--grep", "^Finished")
        return told.stdout.count("Finished")

    before = runs()
    eventually(lambda: runs() > before)
    for service in OURS:
        assert server.run("systemctl", "is-failed", f"{service}.service").returncode != 0
    server.postmaster("health", "uninstall", "--yes")
    assert not server.is_active(f"{OURS[0]}.timer")


def test_a_server_under_systemd(server: Server) -> None:
    from_its_packages_to_its_reports(server)
    a_server_that_ended_is_missed_and_started_again(server)
    what_became_of_a_message_is_in_the_journal(server)
    the_timers_go_by_themselves(server)
