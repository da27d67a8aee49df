"""`directory check` finds each fault that it has a code for, made for real, and none where there is none."""

from __future__ import annotations

import json
import shlex
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from itertools import count, pairwise
from pathlib import Path

import pytest
from sqlalchemy import delete, event

from postmaster.address import parse_address
from postmaster.directory import graph, schema, users
from postmaster.directory.database import open_directory
from postmaster.postfix import maps
from postmaster.process import run
from postmaster.routing.check import CODES, findings
from tests.tools.building import Builder
from tests.tools.directories import put
from tests.tools.mail import Lab

from .conftest import configured

_numbers = count(1)

Found = Callable[[], set[tuple[str, str]]]


@pytest.fixture
def others(pliable: Lab) -> set[tuple[str, str]]:
    """What other tests left among the files of the lab that they share."""
    return {(one.code, one.object) for one in findings(pliable.settings) if one.object.startswith("/")}


@pytest.fixture
def healthy(pliable: Lab, others: set[tuple[str, str]]) -> str:
    """A domain without a fault: with users, aliases, a catch-all, a forward, an alias domain."""
    name = f"c{next(_numbers)}.test"
    with pliable.change() as make:
        make.domain(name)
        make.domain(f"twin-{name}", name)
        for user in ("amy", "bob", "boss"):
            make.user(f"{user}@{name}")
        make.alias(f"postmaster@{name}", f"boss@{name}")
        make.alias(f"abuse@{name}", f"postmaster@{name}")
        make.alias(f"hostmaster@{name}", f"postmaster@twin-{name}")
        make.alias(f"team@{name}", f"amy@{name}", f"bob+team@{name}")
        make.forward(f"bob@{name}", f"amy@{name}")
        make.alias(f"@{name}", f"boss@{name}")
    return name


@pytest.fixture
def found(pliable: Lab, healthy: str, others: set[tuple[str, str]]) -> Found:
    """(code, object) of every finding that has to do with the healthy domain, or with files."""

    def look() -> set[tuple[str, str]]:
        return {
            (one.code, one.object)
            for one in findings(pliable.settings)
            if healthy in one.object or one.object.startswith("/") or one.object == "Postfix"
        } - others

    return look


def address_id(make: Builder, where: str) -> int:
    address = parse_address(where)
    with make.directory.read() as reading:
        here = graph.hosted(reading, address.domain)
        assert here is not None
        node = graph.find(reading, here.home_id, here.home, address.local.text)
    assert node is not None
    return node.id


def lead(make: Builder, source: str, target: str, position: int = 90) -> None:
    """One more target, past every rule."""
    local, _, domain = target.rpartition("@")
    with make.directory.change() as change:
        row = {"source_id": address_id(make, source), "position": position, "local_part": local}
        change.insert(schema.target, {**row, "base": local.partition("+")[0], "domain": domain})


def test_a_healthy_directory_has_no_finding(found: Found) -> None:
    assert found() == set()


def test_every_code_has_a_test() -> None:
    text = Path(__file__).read_text()
    assert {code for code in CODES if f'("{code}", ' not in text} == set()


def test_circles_over_any_number_of_hops(pliable: Lab, healthy: str, found: Found) -> None:
    with pliable.change() as make:
        names = [f"n{number:03}@{healthy}" for number in range(30)]
        make.alias(names[-1], f"amy@{healthy}")
        for name, following in reversed(list(pairwise(names))):
            make.alias(name, following)
        lead(make, names[-1], f"n000+tag@twin-{healthy}")
        lead(make, f"team@{healthy}", f"team@{healthy}")
    assert found() == {("loop", names[-1]), ("loop", f"team@{healthy}")}


def test_targets_that_do_not_exist(pliable: Lab, healthy: str, found: Found) -> None:
    with pliable.change() as make:
        lead(make, f"team@{healthy}", f"nobody@twin-{healthy}")  # an alias domain has no catch-all
        lead(make, f"bob@{healthy}", f"nobody@{healthy}")  # the catch-all takes it
    assert found() == {("dead_target", f"team@{healthy}")}


def test_addresses_that_lead_nowhere(pliable: Lab, healthy: str, found: Found) -> None:
    with pliable.change() as make:
        make.alias(f"only-amy@{healthy}", f"amy@{healthy}")
        make.alias(f"further@{healthy}", f"only-amy@{healthy}")
        make.forward(f"bob@{healthy}", f"amy@{healthy}", keep_copy=False)
        make.switch(f"amy@{healthy}", receive=False)
    faults = {("dead_end", f"{name}@{healthy}") for name in ("only-amy", "further", "bob", "team")}
    assert found() == faults
    with pliable.change() as make:
        make.switch(f"amy@{healthy}", receive=True)
        make.until(f"only-amy@{healthy}", -10)
    assert found() == {("dead_end", f"further@{healthy}")}


def test_roles_that_nobody_answers_for(pliable: Lab, healthy: str, found: Found) -> None:
    with pliable.change() as make:
        make.remove("alias", f"@{healthy}")
        make.remove("alias", f"hostmaster@{healthy}")
        make.remove("alias", f"abuse@{healthy}")
        make.remove("alias", f"postmaster@{healthy}")
    assert found() == {
        *(("missing_postmaster", f"postmaster@{name}") for name in (healthy, f"twin-{healthy}")),
        *(("missing_abuse", f"abuse@{name}") for name in (healthy, f"twin-{healthy}")),
    }


def test_a_role_that_leads_nowhere_is_missing(pliable: Lab, healthy: str, found: Found) -> None:
    with pliable.change() as make:
        make.alias(f"abuse@{healthy}", f"bob@{healthy}")
        make.switch(f"bob@{healthy}", receive=False)
    codes = {("missing_abuse", f"abuse@{name}") for name in (healthy, f"twin-{healthy}")}
    assert found() == codes | {("dead_end", f"abuse@{healthy}")}


def test_control_addresses_that_reach_ordinary_users(pliable: Lab, healthy: str, found: Found) -> None:
    with pliable.change() as make:
        make.user(f"admin@{healthy}")
        make.alias(f"webmaster@{healthy}", f"boss@{healthy}", f"team@{healthy}")
    assert found() == {("control_address", f"admin@{healthy}"), ("control_address", f"webmaster@{healthy}")}


def test_a_catch_all_that_takes_control_addresses(pliable: Lab, healthy: str, found: Found) -> None:
    with pliable.change() as make:
        make.alias(f"@{healthy}", f"amy@{healthy}")
    control = {f"{name}@{healthy}" for name in ("admin", "administrator", "webmaster")}
    assert found() == {("control_address", one) for one in control}


def test_each_remedy_mends_what_it_is_for_as_it_stands(pliable: Lab, healthy: str) -> None:
    """Pasted: names that a shell would read otherwise come through, and no rule refuses the command."""
    other = f"other.{healthy}"
    with pliable.change() as make:
        make.domain(other)
        for name in ("postmaster", "admin", "o'brien", "carl&dora"):
            make.user(f"{name}@{other}")
        make.alias(f"abuse@{other}", f"postmaster@{other}")
        make.alias(f"webmaster@{other}", f"o'brien@{other}")
        make.alias(f"~only@{other}", f"carl&dora@{other}")
        make.forward(f"o'brien@{other}", f"carl&dora@{other}", keep_copy=False)
        make.alias(f"it's@{other}", f"admin@{other}")
        make.alias(f"back@{other}", f"it's@{other}")
        make.alias(f"both@{other}", f"admin@{other}")
        lead(make, f"it's@{other}", f"back@{other}")
        for position, dead in enumerate(("x'1", "x2"), 90):  # the one cannot go out while the other stays
            lead(make, f"both@{other}", f"{dead}@{other}", position)
        lead(make, f"team@{healthy}", f"team@{healthy}")
        lead(make, f"bob@{healthy}", f"$(reboot)@twin-{healthy}")
        make.until(f"abuse@{other}", -10)
        make.switch(f"postmaster@{other}", receive=False)
        make.switch(f"carl&dora@{other}", receive=False)

    def check() -> list[dict[str, str]]:
        """By the command, as the others are: another test may have taken a file from under this process."""
        rows = json.loads(pliable.postmaster("directory", "check", "-o", "json", expect=None).stdout)
        return [row for row in rows if healthy in row["object"]]

    assert {row["code"] for row in check()} == {
        "loop",
        "dead_target",
        "dead_end",
        "missing_postmaster",
        "missing_abuse",
        "control_address",
    }
    run: list[list[str]] = []
    for _ in range(3):  # what is mended shows what was behind it
        for row in check():
            for command in row["remedy"].rpartition("take it out: ")[2].split("; "):
                words = [f"boss@{healthy}" if w == "ADDRESS" else w for w in shlex.split(command)[1:]]
                if words not in run:
                    run.append(words)
                    pliable.postmaster(*words, *(["--yes"] if "remove" in words else []))
    assert check() == []
    made = [words[:2] for words in run]
    assert ["alias", "edit"] in made
    assert ["forward", "set"] in made
    assert ["user", "set"] in made


def test_what_a_locked_user_forwards_stays_in_the_mailbox(pliable: Lab, healthy: str, found: Found) -> None:
    with pliable.change() as make:
        make.forward(f"amy@{healthy}", "amy@elsewhere.test", keep_copy=False)
        with make.directory.change() as change:
            users.lock(change, parse_address(f"amy@{healthy}"))
    assert found() == set()


def test_look_ups_behind_missing_and_different(pliable: Lab, healthy: str, found: Found) -> None:
    folder = pliable.settings.lookups.directory
    files = [folder / "postfix.db", folder / "dovecot.db"]
    with open_directory(pliable.settings, command="test") as directory:
        try:
            with closing(sqlite3.connect(pliable.settings.directory.file)) as truth:  # type: ignore[arg-type]
                values = "('2026-06-01 00:00:00.000000', '', '')"
                truth.execute(f"INSERT INTO journal (made_at, actor, command) VALUES {values}")
                truth.commit()
            assert found() == {
                ("lookups_behind", str(folder / name)) for name in ("postfix.db", "dovecot.db")
            }
        finally:
            directory.publish()
    assert found() == set()
    with closing(sqlite3.connect(folder / "postfix.db")) as lookups:
        lookups.execute(
            "UPDATE target SET domain = 'evil.test' WHERE source_id = (SELECT max(source_id) FROM target)"
        )
        lookups.commit()
    with closing(sqlite3.connect(folder / "dovecot.db")) as lookups:
        lookups.execute("DELETE FROM account WHERE login = ?", (f"amy@{healthy}",))
        lookups.commit()
    assert found() == {("lookups_differ", str(file)) for file in files}
    text = "".join(one.message for one in findings(pliable.settings))
    assert "$argon2" not in text
    pliable.postmaster("publish", "--rebuild")
    (folder / "dovecot.db-shm").unlink(missing_ok=True)
    assert ("lookups_missing", str(folder / "dovecot.db")) in found()
    pliable.postmaster("publish")
    assert found() == set()


def test_mail_folders_without_users_and_users_without_folders(
    pliable: Lab, healthy: str, found: Found
) -> None:
    root = pliable.settings.mail.root
    stray, hidden = root / "0123456789abcdef0123", root / ".hidden"
    with pliable.change() as make:
        with make.directory.read() as reading:
            amy = users.show(reading, parse_address(f"amy@{healthy}"))
            bob = users.show(reading, parse_address(f"bob@{healthy}"))
        stray.mkdir()
        hidden.mkdir()
        (root / amy.mail_id).mkdir()
        old = datetime.now() - timedelta(days=3)
        with make.directory.change() as change:
            for one in (amy.id, bob.id):
                change.update(schema.address, one, {"created_at": old})
    try:
        assert found() == {
            ("mail_folder_without_user", str(stray)),
            ("user_without_mail_folder", f"bob@{healthy}"),
        }
    finally:
        for folder in (stray, hidden, root / amy.mail_id):
            shutil.rmtree(folder)


def test_folders_that_a_removal_left_behind(pliable: Lab, healthy: str, found: Found) -> None:
    root = pliable.settings.mail.root
    trash = root / ".trash"
    wanted = {"a" * 20: "keep", "b" * 20: "trash", "c" * 20: "delete"}
    with pliable.change() as make, make.directory.change() as change:
        for number, (mail_id, mail) in enumerate(wanted.items()):
            row = {"account_id": 10**9 + number, "mail_id": mail_id, "address": f"gone@{healthy}"}
            change.insert(schema.removed_mailbox, {**row, "mail": mail, "removed_at": change.now})
    try:
        for name in wanted:
            (root / name).mkdir()
        left = {("mail_folder_without_user", str(root / name)) for name in ("b" * 20, "c" * 20)}
        assert found() == left
        trash.mkdir()
        for name in ("b" * 20, "c" * 20):
            (root / name).rename(trash / name)
        (trash / "%2Fstray").mkdir()
        left = {("mail_folder_without_user", str(trash / name)) for name in ("c" * 20, "%2Fstray")}
        assert found() == left
    finally:
        shutil.rmtree(trash, ignore_errors=True)
        for name in wanted:
            shutil.rmtree(root / name, ignore_errors=True)


def test_domains_in_two_classes(pliable: Lab, healthy: str, found: Found) -> None:
    directory = pliable.settings.postfix.config_directory
    (directory / "relays").write_text(f"twin-{healthy} x\n")
    run(["postmap", "-c", str(directory), f"hash:{directory}/relays"])
    with configured(
        pliable,
        reload=False,
        mydestination=f"localhost, {healthy.upper()}",
        relay_domains=f"hash:{directory}/relays",
    ):
        assert found() == {("two_classes", healthy), ("two_classes", f"twin-{healthy}")}


def test_mailboxes_that_a_table_shadows(pliable: Lab, healthy: str, found: Found) -> None:
    directory = pliable.settings.postfix.config_directory
    (directory / "theirs").write_text(
        f"amy@{healthy} thief@elsewhere.test\nboss@{healthy} x@elsewhere.test, boss@{healthy}\n"
    )
    run(["postmap", "-c", str(directory), f"hash:{directory}/theirs"])
    ours = [one.table(directory) for one in (maps.ALIASES, maps.CATCH_ALLS)]
    theirs = f"hash:{directory}/theirs"
    with configured(pliable, reload=False, virtual_alias_maps=", ".join([theirs, *ours])):
        assert found() == {("shadowed_mailbox", f"amy@{healthy}")}
    with configured(pliable, reload=False, virtual_alias_maps=", ".join([*ours, theirs])):
        assert found() == set()
    with configured(pliable, reload=False, recipient_canonical_maps=theirs):
        assert ("shadowed_mailbox", f"amy@{healthy}") in found()


def test_alias_domains_that_would_backscatter(pliable: Lab, healthy: str, found: Found) -> None:
    directory = pliable.settings.postfix.config_directory
    (directory / "whole").write_text(f"@twin-{healthy} @{healthy}\n@own.{healthy} @twin-{healthy}\n")
    (directory / "pattern").write_text(
        f"/^(.+)@third\\.{healthy}$/ $1@twin-{healthy}\n/^@/ @never-asked.test\n"
    )
    run(["postmap", "-c", str(directory), f"hash:{directory}/whole"])
    ours = [one.table(directory) for one in (maps.ALIASES, maps.CATCH_ALLS)]
    domains = maps.ALIAS_DOMAINS.table(directory)
    with configured(
        pliable,
        reload=False,
        virtual_alias_maps=", ".join([*ours, f"hash:{directory}/whole", f"regexp:{directory}/pattern"]),
        virtual_alias_domains=f"{domains}, own.{healthy}, third.{healthy}",
    ):
        # The catch-all of the domain itself takes what the first one sends there.
        by_pattern = ("alias_domain_backscatter", f"third.{healthy}")
        assert found() == {("alias_domain_backscatter", f"own.{healthy}"), by_pattern}
        remedies = {one.object: one.remedy for one in findings(pliable.settings)}
        add = f"postmaster domain add own.{healthy} --alias-of {healthy}"
        assert remedies[f"own.{healthy}"].rpartition("; ")[2] == add
        with pliable.change() as make:
            make.remove("alias", f"@{healthy}")
        assert found() == {
            ("alias_domain_backscatter", f"own.{healthy}"),
            ("alias_domain_backscatter", f"twin-{healthy}"),
            by_pattern,
        }
        remedies = {one.object: one.remedy for one in findings(pliable.settings)}
        assert remedies[f"twin-{healthy}"] == f"take it out of hash:{directory}/whole"


def test_forwards_to_elsewhere_without_srs(pliable: Lab, healthy: str, found: Found) -> None:
    with pliable.change() as make:
        make.forward(f"amy@{healthy}", "amy@elsewhere.test")
        make.alias(f"out@{healthy}", f"amy@{healthy}", "x@elsewhere.test")
    both = {("forward_without_srs", f"{name}@{healthy}") for name in ("amy", "out")}
    assert found() == both
    # As an SRS service answers: whoever is not ours gets an address of ours.
    file = pliable.settings.postfix.config_directory / "srs"
    file.write_text(f"/^(.*)@(.*)$/ SRS0=HHHH=TT=$2=$1@{healthy}\n")
    srs = f"regexp:{file}"
    with configured(
        pliable, reload=False, sender_canonical_maps=srs, sender_canonical_classes="envelope_sender"
    ):
        assert found() == set()
    with configured(
        pliable, reload=False, sender_canonical_maps=srs, sender_canonical_classes="header_sender"
    ):
        assert found() == both


def test_without_postfix_it_says_what_was_not_checked(pliable: Lab, healthy: str, tmp_path: Path) -> None:
    from dataclasses import replace

    settings = replace(pliable.settings, postfix=replace(pliable.settings.postfix, config_directory=tmp_path))
    assert ("not_checked", "Postfix") in {(one.code, one.object) for one in findings(settings)}


def test_the_command_prints_findings_and_ends_with_4(pliable: Lab, healthy: str) -> None:
    with pliable.change() as make:
        make.user(f"admin@{healthy}")
    done = pliable.postmaster("directory", "check", "--only", "control_address", "-o", "jsonl", expect=4)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert f"admin@{healthy}" in {row["object"] for row in rows}
    assert {row["code"] for row in rows} == {"control_address"}
    every = [code for code in CODES if code != "control_address"]
    skipped = [word for code in [*every, "control_address"] for word in ("--skip", code)]
    assert pliable.postmaster("directory", "check", *skipped, expect=0).stdout == ""
    assert "there is no code" in pliable.postmaster("directory", "check", "--only", "x", expect=2).stderr


def test_the_number_of_queries_does_not_grow_with_users(pliable: Lab, healthy: str) -> None:
    """Neither of the truth nor of programs: that is what keeps it quick at 100,000 users."""
    from postmaster import process

    counts: list[tuple[int, int]] = []
    directory = pliable.settings.postfix.config_directory
    theirs = f"texthash:{directory}/theirs"
    (directory / "theirs").write_text("nobody@elsewhere.test x@elsewhere.test\n")
    ours = [one.table(directory) for one in (maps.ALIASES, maps.CATCH_ALLS)]
    with configured(pliable, reload=False, virtual_alias_maps=", ".join([theirs, *ours])):
        for number in range(2):
            with pliable.change() as make:
                make.users([f"u{n}@{healthy}" for n in range(20 * number, 20 * number + 20 + 200 * number)])
            with counting() as statements:
                programs: list[str] = []

                def observe(command: str, _outcome: str, programs: list[str] = programs) -> None:
                    programs.append(command)

                process.observers.append(observe)
                try:
                    list(findings(pliable.settings))
                finally:
                    process.observers.remove(observe)
            counts.append((len(statements), len(programs)))
    assert counts[0] == counts[1]
    assert counts[0][0] < 20


@pytest.fixture(autouse=True)
def clear(pliable: Lab) -> Iterator[None]:
    """Each test leaves the directory as a lab has it: other tests' faults are none of its own."""
    yield
    with pliable.change() as make:
        with make.directory.change() as change:
            change.connection.execute(delete(schema.removed_mailbox))
        put(make.directory, [])


class counting:
    """The statements that any engine runs while the block lasts."""

    def __enter__(self) -> list[str]:
        from sqlalchemy import Engine

        self.seen: list[str] = []
        self.hook = lambda *given: self.seen.append(given[2])
        event.listen(Engine, "before_cursor_execute", self.hook)
        return self.seen

    def __exit__(self, *_: object) -> None:
        from sqlalchemy import Engine

        event.remove(Engine, "before_cursor_execute", self.hook)
