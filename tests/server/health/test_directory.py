"""The directory: each fault is made in a lab's look-ups, maps, mailboxes and logs, found, and gone after."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from postmaster.directory import publish
from postmaster.directory.database import Directory
from postmaster.health.finding import Severity
from postmaster.health.run import choose
from postmaster.health.run import run as run_checks
from postmaster.postfix import postconf
from postmaster.process import run
from postmaster.routing import check
from postmaster.settings import Settings
from tests.tools.acting import until
from tests.tools.mail import Lab, password_hash

from .conftest import Runs, faulty, once

CRITICAL, WARNING, UNKNOWN = Severity.critical, Severity.warning, Severity.unknown
AMY, BOB = "amy@house.test", "bob@house.test"


@pytest.fixture(scope="module")
def house(sick: Lab) -> Iterator[Lab]:
    """The lab with a domain, an alias domain, users and an alias."""
    with sick.change() as make:
        make.domain("house.test")
        make.domain("too.test", "house.test")
        make.user(AMY, password_hash=password_hash(), quota=100 << 10)
        make.user(BOB, password_hash=password_hash())
        make.alias("team@house.test", AMY, BOB)
    yield sick
    with sick.change() as make:
        for kind, name in (
            ("alias", "team@house.test"),
            ("user", AMY),
            ("user", BOB),
            ("domain", "too.test"),
            ("domain", "house.test"),
        ):
            make.remove(kind, name)


def settings(lab: Lab, **given: Any) -> Settings:
    own = lab.settings
    return replace(own, health=replace(own.health, **given))


def lookups(lab: Lab, name: str) -> Path:
    return lab.settings.lookups.directory / name


@contextmanager
def without_side_files(lab: Lab, name: str) -> Iterator[None]:
    """As an administrator's own sqlite3 leaves it behind, closing the file last."""
    for ending in ("-wal", "-shm"):
        lookups(lab, f"{name}{ending}").unlink()
    try:
        yield
    finally:
        with lab.change() as make:
            make.directory.publish(rebuild=True)
        for argv in (
            ["postfix", "-c", str(lab.settings.postfix.config_directory), "reload"],
            ["doveadm", "-c", str(lab.settings.dovecot.config), "reload"],
        ):
            run(argv)  # they hold the files that were taken away under them


@contextmanager
def mode(path: Path, other: int) -> Iterator[None]:
    before = path.stat().st_mode & 0o7777
    path.chmod(other)
    try:
        yield
    finally:
        path.chmod(before)


@contextmanager
def tampered(lab: Lab, name: str, there: str, back: str) -> Iterator[None]:
    """A row of the look-ups changed behind the directory's back."""

    def say(statement: str) -> None:
        with closing(sqlite3.connect(lookups(lab, name), timeout=10)) as connection:
            assert connection.execute(statement).rowcount == 1
            connection.commit()

    say(there)
    try:
        yield
    finally:
        say(back)


@contextmanager
def configured(lab: Lab, **wrong: str) -> Iterator[None]:
    """Other values in main.cf meanwhile."""
    config = lab.settings.postfix.config_directory
    file = config / "main.cf"
    before = file.read_bytes()
    change(config, {name.replace("second_bounce", "2bounce"): text for name, text in wrong.items()})
    try:
        yield
    finally:
        file.write_bytes(before)
        settle(config)


def change(config: Path, values: dict[str, str]) -> None:
    postconf.set_values(config, values)
    settle(config)


def settle(config: Path) -> None:
    """Date main.cf back: Postfix waits until a changed one is two seconds old."""
    then = time.time() - 10
    os.utime(config / "main.cf", (then, then))


@contextmanager
def unpublished(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A change whose command was killed between its commit and publishing."""
    with monkeypatch.context() as patch:
        patch.setattr(Directory, "publish_after_commit", lambda self: None)
        patch.setattr(publish, "is_behind", lambda *_: False)
        with lab.change() as make:
            make.alias("late@house.test", AMY)
    try:
        yield
    finally:
        lab.postmaster("publish")


@pytest.mark.parametrize("name", ["postfix.db", pytest.param("dovecot.db", marks=pytest.mark.full)])
def test_the_side_files_are_gone(house: Lab, name: str) -> None:
    fault = without_side_files(house, name)
    with faulty(house.settings, ["directory"], "lookups-side-files", name, fault) as found:
        assert found.remedy == "postmaster publish"


RIGHTS: list[tuple[str, Callable[[Lab], AbstractContextManager[None]]]] = [
    ("postfix.db", lambda lab: mode(lookups(lab, "postfix.db"), 0o600)),
    ("dovecot.db", lambda lab: mode(lookups(lab, "dovecot.db"), 0o600)),
    ("postfix.db", lambda lab: mode(lookups(lab, "postfix.db-shm"), 0o600)),
    ("dovecot.db", lambda lab: mode(lab.settings.lookups.directory, 0o700)),
]


@pytest.mark.parametrize(("name", "fault"), once(RIGHTS))
def test_a_servers_user_cannot_read_its_file(
    house: Lab, name: str, fault: Callable[[Lab], AbstractContextManager[None]]
) -> None:
    more = ["directory/postfix.db/lookups-rights", "directory/dovecot.db/lookups-rights"]
    with faulty(house.settings, ["directory"], "lookups-rights", name, fault(house), allowed=more) as found:
        assert f"{name.removesuffix('.db')} cannot read it" in found.message


def test_the_look_ups_are_behind(house: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = unpublished(house, monkeypatch)
    with faulty(
        house.settings, ["directory"], "lookups-behind", "postfix.db", fault, severity=WARNING
    ) as one:
        assert one.remedy == "postmaster publish"
    with house.change() as make:
        make.remove("alias", "late@house.test")


@contextmanager
def without_file(lab: Lab, name: str) -> Iterator[None]:
    """Taken away while the servers hold it open."""
    path = lookups(lab, name)
    path.rename(path.with_suffix(".away"))
    try:
        yield
    finally:
        path.with_suffix(".away").rename(path)


@pytest.mark.full
def test_a_look_up_file_is_missing(house: Lab) -> None:
    fault = without_file(house, "dovecot.db")
    with faulty(house.settings, ["directory"], "lookups-missing", "dovecot.db", fault):
        pass


def moved(table: str, column: str, before: str, after: str, more: str = "") -> tuple[str, str]:
    """A change of one row, and its undoing."""
    return tuple(
        f"UPDATE {table} SET {column} = {to} WHERE {column} = {was}{more}"
        for was, to in ((before, after), (after, before))
    )  # type: ignore[return-value]


TAMPERED = [
    ("answers-differ", "house.test", "postfix.db", *moved("domain", "name", "'house.test'", "'x.test'")),
    ("answers-differ", "too.test", "postfix.db", *moved("domain", "name", "'too.test'", "'x.test'")),
    (
        *("answers-differ", "team@house.test", "postfix.db"),
        *moved("target", "local_part", "'bob'", "'eve'", " AND domain = 'house.test'"),
    ),
    ("logins-differ", AMY, "dovecot.db", *moved("account", "login", f"'{AMY}'", "'x@house.test'")),
    ("logins-differ", BOB, "dovecot.db", *moved("account", "imap", "1", "0", f" AND login = '{BOB}'")),
]


@pytest.mark.parametrize(("code", "object", "file", "there", "back"), once(TAMPERED))
def test_a_map_answers_wrongly(house: Lab, code: str, object: str, file: str, there: str, back: str) -> None:
    fault = tampered(house, file, there, back)
    with faulty(
        house.settings, ["directory"], code, object, fault, allowed=["directory/*/answers-differ"]
    ) as found:
        assert found.remedy == "postmaster publish --rebuild"


@pytest.mark.full
def test_who_may_not_log_in_is_let_in(house: Lab) -> None:
    with house.change() as make:
        make.switch(BOB, imap=False)
    there, back = (f"UPDATE account SET imap = {to} WHERE login = '{BOB}'" for to in (1, 0))
    try:
        fault = tampered(house, "dovecot.db", there, back)
        with faulty(house.settings, ["directory"], "logins-differ", BOB, fault) as found:
            assert "must not" in found.message
    finally:
        with house.change() as make:
            make.switch(BOB, imap=True)


MAPS = [
    ("table-unused", one) for one in ("virtual_alias_maps", "virtual_mailbox_maps", "virtual_mailbox_domains")
]


@pytest.mark.parametrize(("code", "parameter"), once(MAPS))
def test_main_cf_names_another_map(house: Lab, code: str, parameter: str) -> None:
    fault = configured(house, **{parameter: "static:wrong"})
    with faulty(house.settings, ["directory"], code, parameter, fault, allowed=["directory/*"]) as one:
        assert "Postfix does not ask it" in one.message


@pytest.mark.full
def test_a_domain_is_also_postfixs_own(house: Lab) -> None:
    fault = configured(house, mydestination="house.test")
    with faulty(house.settings, ["directory"], "two-classes", "house.test", fault):
        pass


@contextmanager
def full(lab: Lab, share: float) -> Iterator[None]:
    """Mail in a mailbox, of which its quota is a part."""
    config = str(lab.settings.dovecot.config)
    run(
        ["doveadm", "-c", config, "save", "-u", AMY],
        stdin=b"Subject: big\n\n" + b"x" * 60 + b"\n" + b"y" * int(share * (100 << 10)),
    )
    yield
    run(["doveadm", "-c", config, "expunge", "-u", AMY, "mailbox", "INBOX", "all"])


@pytest.mark.full
def test_a_mailbox_is_nearly_full(house: Lab) -> None:
    own = settings(house, quota_warning=80)
    with faulty(own, ["directory"], "quota-near", AMY, full(house, 0.9), severity=WARNING) as found:
        assert 80 <= found.measures[0].value < 100


def test_an_account_is_over_quota(house: Lab) -> None:
    def shrink(to: int) -> None:
        with house.change() as make:
            make.switch(AMY, quota=to)

    @contextmanager
    def over() -> Iterator[None]:
        with full(house, 0.5):
            shrink(40 << 10)  # as an administrator can
            yield
        shrink(100 << 10)

    with faulty(house.settings, ["directory"], "quota-exceeded", AMY, over(), severity=WARNING) as found:
        assert found.measures[0].value > 100


@contextmanager
def closed(lab: Lab) -> Iterator[None]:
    """A user who takes no more mail, and an alias that led to that one alone."""
    with lab.change() as make:
        make.alias("lone@house.test", BOB)
        make.switch(BOB, receive=False)
    try:
        yield
    finally:
        with lab.change() as make:
            make.switch(BOB, receive=True)
            make.remove("alias", "lone@house.test")


def test_an_alias_leads_nowhere(house: Lab) -> None:
    fault = closed(house)
    with faulty(house.settings, ["directory"], "dead-end", "soundness", fault, severity=WARNING) as found:
        assert "lone@house.test" in found.message


@pytest.mark.full
def test_a_whole_directory_that_cannot_be_read_in_time(house: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found by then is told; where nobody wants it nothing is."""
    real = check.findings

    def slow(given: Settings) -> Iterator[check.Finding]:
        yield check.Finding("loop", "a@house.test", "a circle", "cut it")
        time.sleep(5)
        yield from real(given)

    monkeypatch.setattr(check, "findings", slow)
    found = run_checks(settings(house, deadline=3.0), choose(["directory"], []))
    codes = {one.code for one in found if one.object == "soundness"}
    assert codes == {"loop", "soundness-unknown"}
    assert "no-answer" not in {one.code for one in found}
    found = run_checks(settings(house, soundness=0), choose(["directory"], []))
    assert "soundness" not in {one.object for one in found}
    found = run_checks(settings(house, soundness=1), choose(["directory"], []))
    assert ["too many" in one.message for one in found if one.object == "soundness"] == [True]


@contextmanager
def locked(lab: Lab, login: str) -> Iterator[None]:
    lab.postmaster("user", "lock", login, "--yes")
    try:
        yield
    finally:
        lab.postmaster("user", "unlock", login, "--generate")


@pytest.mark.full
def test_an_account_is_locked(house: Lab) -> None:
    fault = locked(house, BOB)
    with faulty(house.settings, ["directory"], "accounts-locked", "locked", fault, severity=WARNING) as found:
        assert BOB in found.message


@contextmanager
def guessed(lab: Lab, number: int) -> Iterator[None]:
    """Someone who tries passwords, by IMAP and by submission."""
    for at in range(number):
        assert not lab.may_login("submission" if at % 2 == 0 else "imap", AMY, f"wrong {at}")
    until(lambda: lab.log().count("authentication failed") >= 1)
    yield


@pytest.mark.timeout(60)
def test_logins_fail_in_bulk(house: Lab) -> None:
    own = settings(house, login_failures_warning=0, login_failures_critical=100)
    with faulty(own, ["directory"], "logins-failing", "logins", guessed(house, 1), severity=WARNING) as found:
        assert AMY in found.message
        assert found.measures[0].value >= 1


@contextmanager
def log_moved(lab: Lab) -> Iterator[None]:
    moved = [path.rename(path.with_suffix(".away")) for path in lab.settings.log.files]
    yield
    for path in moved:
        path.rename(path.with_suffix(".log"))


NOTICES = [
    ("2bounce_notice_recipient", {"second_bounce_notice_recipient": "nobody@house.test"}, "no such address"),
    ("2bounce_notice_recipient", {"second_bounce_notice_recipient": "postmaster"}, "its own name"),
    (
        "2bounce_notice_recipient",
        {"second_bounce_notice_recipient": "postmaster", "mydestination": "mail.lab.test"},
        "mailbox of postmaster",
    ),
    (
        "error_notice_recipient",
        {
            "error_notice_recipient": "postmaster",
            "mydestination": "mail.lab.test",
            "alias_maps": "inline:{ postmaster=root, root=/dev/null }",
        },
        "nowhere",
    ),
    (
        "bounce_notice_recipient",
        {"notify_classes": "bounce, 2bounce", "bounce_notice_recipient": "x@too.test"},
        "no such address",
    ),
]


@pytest.mark.parametrize(("parameter", "values", "said"), once(NOTICES, ["2bounce_notice_recipient"]))
def test_nobody_reads_what_postfix_tells_its_postmaster(
    house: Lab, parameter: str, values: dict[str, str], said: str
) -> None:
    fault = configured(house, **values)
    with faulty(house.settings, ["directory"], "notices-unread", parameter, fault, severity=WARNING) as found:
        assert said in found.message


@pytest.mark.full
def test_an_alias_of_the_system_that_leads_into_the_directory_is_read(house: Lab) -> None:
    from postmaster.directory.database import open_directory
    from postmaster.health.notices import notices

    values = {
        "second_bounce_notice_recipient": "postmaster",
        "mydestination": "mail.lab.test",
        "alias_maps": f"inline:{{ {{ postmaster = root }}, {{ root = {AMY} }} }}",
    }
    with (
        configured(house, **values),
        open_directory(house.settings) as directory,
        directory.read() as reading,
    ):
        told = {one.parameter: one.unread for one in notices(house.settings, reading, 10)}
    assert told["2bounce_notice_recipient"] is None


@pytest.mark.full
def test_a_user_who_takes_no_mail_reads_no_notices(house: Lab) -> None:
    @contextmanager
    def switched_off() -> Iterator[None]:
        with house.change() as make:
            make.switch(BOB, receive=False)
        yield
        with house.change() as make:
            make.switch(BOB, receive=True)

    with configured(house, second_bounce_notice_recipient=BOB):
        fault = switched_off()
        with faulty(
            *(house.settings, ["directory"], "notices-unread", "2bounce_notice_recipient", fault),
            severity=WARNING,
        ) as found:
            assert "takes no mail" in found.message


@pytest.mark.full
def test_postfix_does_not_run(house: Lab) -> None:
    config = str(house.settings.postfix.config_directory)

    @contextmanager
    def stopped() -> Iterator[None]:
        subprocess.run(["postfix", "-c", config, "stop"], check=True, capture_output=True)
        yield
        subprocess.run(
            ["postfix", "-c", config, "start"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    with faulty(house.settings, ["directory"], "answers-unknown", "answers", stopped(), severity=UNKNOWN):
        pass


@pytest.mark.full
def test_the_log_is_gone(house: Lab) -> None:
    with faulty(*(house.settings, ["directory"], "log-unread", "logins", log_moved(house)), severity=UNKNOWN):
        pass


def test_who_may_not_log_in_is_no_fault(house: Lab) -> None:
    """Without a password, locked, ended: Dovecot lets them in no more, as the directory says."""
    names = ("carl", "dora", "eve")
    with house.change() as make:
        for name in names:
            make.user(f"{name}@house.test", password_hash=password_hash())
        make.set("carl@house.test", password="")
        make.set("dora@house.test", locked_at=datetime(2026, 6, 1))
        make.until("eve@house.test", -1)
    try:
        found = Runs(house.settings, ["directory"]).next()
        told = {one.code for one in found if one.severity >= WARNING}
        assert told == {"accounts-locked", "missing-postmaster"}, "no difference"
    finally:
        with house.change() as make:
            for name in names:
                make.remove("user", f"{name}@house.test")
