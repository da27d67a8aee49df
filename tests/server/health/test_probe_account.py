"""The round trip with a user that lasts: what it may send, a mailbox over quota, a reflector."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from postmaster.health import probe
from postmaster.health.finding import Severity
from postmaster.settings import Settings
from postmaster.setup.apply import write
from postmaster.setup.options import SetupOptions
from postmaster.setup.plan import make_plan
from tests.tools.mail import Lab
from tests.tools.sink import listening

from .conftest import faulty
from .faults import reload_postfix
from .round_trips import ROUND_TRIP, left, tried


@pytest.fixture(scope="module")
def lasting(sick: Lab) -> Iterator[Lab]:
    """The lab with a user for the round trip and a reflector, as its administrator would make them."""
    file = sick.status.settings_file
    before = file.read_text()
    made = sick.postmaster("health", "probe-account", "probe@lab.test", "-o", "json")
    assert json.loads(made.stdout)["next"].startswith('set health.probe_address = "probe@lab.test"')
    named = 'probe_address = "probe@lab.test"\nreflector = "echo@elsewhere.test"\n'
    file.write_text(before.replace("[health]\n", f"[health]\n{named}"))
    try:
        put_in_force(sick)
        yield sick
    finally:
        file.write_text(before)
        put_in_force(sick)
        sick.postmaster("user", "remove", "probe@lab.test", "--yes")


def put_in_force(lab: Lab) -> None:
    """What `setup apply` writes, without its proofs."""
    write(make_plan(lab.settings, SetupOptions()))
    reload_postfix(lab)


def test_the_password_is_for_root_alone_and_nobody_has_seen_it(lasting: Lab) -> None:
    file = probe.password_file(lasting.settings)
    assert file.stat().st_mode & 0o777 == 0o600
    account = probe.lasting_account(lasting.settings)
    assert account is not None
    assert account.password not in lasting.log()
    told = lasting.postmaster("health", "probe-account", "probe@lab.test", expect=3)
    assert "already" in told.stderr or "exists" in told.stderr
    lasting.postmaster("health", "probe-account", "probe@lab.test", "--renew")
    renewed = probe.lasting_account(lasting.settings)
    assert renewed is not None
    assert renewed.password != account.password
    assert not lasting.may_login("imap", "probe@lab.test", account.password)
    assert lasting.may_login("imap", "probe@lab.test", renewed.password)
    file.chmod(0o640)
    try:
        found = tried(lasting.settings)
        assert {one.code for one in found.values()} == {"probe-account"}
    finally:
        file.chmod(0o600)


def test_it_may_send_to_itself_and_the_reflector_alone(lasting: Lab) -> None:
    account = probe.lasting_account(lasting.settings)
    assert account is not None
    answers = {}
    for sender in (account.address, ""):
        with lasting.submission(account.address, account.password) as client:
            for recipient in (
                account.address,
                "echo@elsewhere.test",
                "postmaster@lab.test",
                "x@elsewhere.test",
            ):
                client.rset()
                client.mail(sender)
                answers[sender, recipient] = client.rcpt(recipient)[0]
    wanted = {account.address: 250, "echo@elsewhere.test": 250}
    assert all(code == wanted.get(recipient, 554) for (_, recipient), code in answers.items()), answers


def without_reflector(lab: Lab) -> Settings:
    return replace(lab.settings, health=replace(lab.settings.health, reflector=""))


@contextmanager
def filled(lab: Lab) -> Iterator[None]:
    """A mailbox over its quota."""
    account = probe.lasting_account(lab.settings)
    assert account is not None
    lab.send(account.address, "filler", body="\r\n".join(["It fills the mailbox."] * 100))
    lab.wait_for(account.address, "filler", account.password)
    with lab.change() as make:
        make.switch(account.address, quota=1024)
    try:
        yield
    finally:
        with lab.change() as make:
            make.switch(account.address, quota=probe.QUOTA)
        with lab.imap(account.address, account.password) as client:
            client.select("INBOX")
            client.store("1:*", "+FLAGS", "\\Deleted")
            client.expunge()


def test_a_mailbox_over_quota(lasting: Lab) -> None:
    settings = without_reflector(lasting)
    with faulty(settings, ROUND_TRIP, "not-delivered", "imap", filled(lasting)) as found:
        assert "bounced" in found.message
        assert "Quota exceeded" in found.message
    account = probe.lasting_account(settings)
    assert account is not None
    assert lasting.mailbox(account.address, account.password) == []
    assert left(lasting) == {}


def test_a_message_to_a_reflector_and_its_answer_in_a_later_run(lasting: Lab) -> None:
    state = probe.folder(lasting.settings) / "reflector.json"
    state.unlink(missing_ok=True)
    with listening(lasting.status.outbound_port) as outside:
        first = tried(lasting.settings)["reflector"]
        assert (first.code, first.message) == ("ok", "an answer is awaited")
        came = outside.wait_for("echo@elsewhere.test")
        assert came.sender == "probe@lab.test"
    assert tried(lasting.settings)["reflector"].message == "an answer is awaited"
    late = replace(lasting.settings, health=replace(lasting.settings.health, reflector_warning=0.0))
    silent = tried(late)["reflector"]
    assert (silent.code, silent.severity) == ("reflector-silent", Severity.warning)
    token = json.loads(state.read_text())["token"]
    lasting.send("probe@lab.test", f"Re: {token}", sender="echo@elsewhere.test")
    ends = time.monotonic() + 20
    while (found := tried(lasting.settings)["reflector"]).measures and time.monotonic() < ends:
        if found.message.startswith("answered after"):
            break
    assert found.message.startswith("answered after")
    account = probe.lasting_account(lasting.settings)
    assert account is not None
    assert lasting.mailbox(account.address, account.password) == []
    assert tried(lasting.settings)["reflector"].message.startswith("answered after")
