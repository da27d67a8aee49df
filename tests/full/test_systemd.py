"""A server as an administrator has it: Debian's own units run Postfix and Dovecot, systemd's timers ours.

One root is made and started; the steps build on each other, as they do on a new server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.full.test_clean_roots import require_roots
from tests.tools.certificates import Authority
from tests.tools.clean_root import SOURCE, Booted, booted, clean_root

pytestmark = pytest.mark.timeout(2400)

POSTMASTER = f"{SOURCE}/.venv/bin/postmaster"
CERTIFICATE, KEY = "/etc/ssl/mail.pem", "/etc/ssl/private/mail.key"
UNITS = ("postmaster-health.service", "postmaster-digest.service")


class Server:
    """The booted root, and what is asked of it."""

    def __init__(self, here: Booted) -> None:
        self.here = here
        self.must = here.must

    def postmaster(self, *words: str, timeout: float = 120) -> str:
        return self.must(POSTMASTER, *words, timeout=timeout)

    def rows(self, *words: str) -> Any:
        return json.loads(self.postmaster(*words, "-o", "json"))

    def state(self, unit: str, *properties: str) -> dict[str, str]:
        shown = self.must("systemctl", "show", *(f"--property={one}" for one in properties), unit)
        return dict(line.partition("=")[::2] for line in shown.splitlines())

    def started(self, unit: str) -> None:
        """Run one of our services now, as its timer would. Raises AssertionError where it fails."""
        done = self.here.run("systemctl", "start", unit, timeout=300)
        said = self.here.run("journalctl", "--no-pager", "-u", unit).stdout
        assert done.returncode == 0, f"{unit}: {done.stdout}{said}"

    def inbox(self) -> str:
        return self.must("doveadm", "fetch", "-u", "postmaster@example.org", "hdr.subject text", "all")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    require_roots()
    with clean_root("bookworm", "systemd-sysv", "dbus", "make") as root:
        root.must("tests/tools/prepare.sh", "packages", "environment", timeout=1200)
        files = [Path(root.path, name.lstrip("/")) for name in (CERTIFICATE, KEY)]
        files[1].parent.mkdir(parents=True, exist_ok=True)
        for file in files:
            file.touch(0o600)
        Authority().issue("mail.example.org").write(*files)
        with booted(root) as here:
            yield Server(here)


def test_a_new_server_from_its_packages_to_a_quiet_timer(server: Server) -> None:
    # Debian's Postfix that nobody was asked about has no main.cf yet.
    server.must(
        "sh",
        "-c",
        "test -e /etc/postfix/main.cf || cp /usr/share/postfix/main.cf.debian /etc/postfix/main.cf",
    )
    server.must("postconf", "-e", "myhostname=mail.example.org")
    server.postmaster("init")
    server.postmaster("domain", "add", "example.org")
    server.postmaster("user", "add", "postmaster@example.org", "--generate")
    applied = server.postmaster(
        *("setup", "apply", "--yes", "--certificate", CERTIFICATE, "--key", KEY),
        *("--postmaster", "postmaster@example.org"),
    )
    print(applied)
    # Both did not run; now they do, and systemd knows it.
    for unit in ("postfix@-.service", "dovecot.service"):
        state = server.state(unit, "ActiveState", "MainPID", "ControlGroup")
        assert state["ActiveState"] == "active", (unit, state)
    server.postmaster("health", "install", "--systemd", "--every", "1m", "--daily", "07:00")
    for unit in UNITS:
        assert server.state(unit.replace(".service", ".timer"), "ActiveState")["ActiveState"] == "active"
        server.started(unit)
