"""Services: each fault is made on a lab, found, and gone when it ends."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from postmaster.lab import lifecycle
from tests.tools.mail import Lab

from .conftest import faulty


@contextmanager
def without_dovecot(lab: Lab) -> Iterator[None]:
    subprocess.run(["doveadm", "-c", str(lab.settings.dovecot.config), "stop"], check=True)
    yield
    lifecycle.start(lab.root)


def test_dovecot_stopped(sick: Lab) -> None:
    others = ["services/imaps/service-down", "services/pop3*/service-down", "services/lmtp/service-down"]
    with faulty(
        sick.settings, ["services"], "service-down", "imap", without_dovecot(sick), allowed=others
    ) as found:
        assert str(sick.port("imap")) in found.message
