"""Plans on a real directory: what is written is what was wanted, and nothing else ever is."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import select

from postmaster.bulk import reading, writing
from postmaster.bulk.writing import As
from postmaster.directory import merge
from postmaster.directory.database import Directory, open_directory
from postmaster.directory.entries import (
    CLASSES,
    AliasEntry,
    AppPasswordEntry,
    DomainEntry,
    Entry,
    ForwardEntry,
    GrantEntry,
    Key,
    Listed,
    UserEntry,
)
from postmaster.directory.inventory import take
from postmaster.directory.merge import Wanted
from postmaster.directory.migrate import initialise
from postmaster.directory.rules import Rules
from postmaster.directory.schema import journal
from tests.tools.building import HASH, A, Builder, D, settings_under
from tests.tools.entries import directories

SOON = datetime(2090, 1, 1, tzinfo=UTC)


@contextmanager
def empty() -> Iterator[Directory]:
    with tempfile.TemporaryDirectory() as name:
        made = settings_under(Path(name))
        initialise(made)
        with open_directory(made, command="test") as opened:
            yield opened


def all_of(directory: Directory) -> list[Entry]:
    with directory.read() as reading_:
        return list(take(reading_))


def bring(directory: Directory, wanted: Wanted, *, update: bool = True) -> merge.Plan:
    with directory.change() as change:
        plan = merge.plan(change.connection, wanted, update=update)
        merge.write(change, plan.differences)
    return plan


def entries_of(*entries: Entry) -> Wanted:
    return Wanted([Listed(entry, f"line {at}") for at, entry in enumerate(entries, 2)])


def through_a_file(directory: Directory, form: As) -> Wanted:
    output = io.StringIO()
    writing.write(output, form, all_of(directory), hashes=True)
    return reading.parse(output.getvalue(), form)


@settings(max_examples=6, suppress_health_check=list(HealthCheck))
@given(entries=directories())
def test_round_trip_without_loss_and_a_second_time_changes_nothing(entries: list[Entry]) -> None:
    with empty() as directory:
        assert bring(directory, Wanted([Listed(one) for one in entries])).problems == []
        held = all_of(directory)
        assert sorted(held, key=_order) == sorted(entries, key=_order)
        for form in As:
            wanted = through_a_file(directory, form)
            with directory.read() as connection:
                plan = merge.plan(connection, wanted, update=False)
            assert (plan.differences, plan.problems, plan.unchanged) == ([], [], len(entries))
            with empty() as other:
                assert bring(other, replace(wanted, manages=frozenset())).problems == []
                assert all_of(other) == held


def _order(entry: Entry) -> tuple[object, ...]:
    return (list(CLASSES).index(entry.kind), entry.home, entry.key)


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(before=directories(), after=directories())
def test_applied_a_description_is_what_there_is(before: list[Entry], after: list[Entry]) -> None:
    """Whatever was there before."""
    with empty() as directory:
        bring(directory, Wanted([Listed(one) for one in before]))
        mail_ids = {one.address: one.mail_id for one in before if isinstance(one, UserEntry)}
        taken = set(mail_ids.values())
        wanted = [
            replace(
                one,
                mail_id=mail_ids.get(one.address)
                if one.address in mail_ids or one.mail_id in taken
                else one.mail_id,
            )
            if isinstance(one, UserEntry)
            else one
            for one in after
        ]
        document = Wanted([Listed(one) for one in wanted], manages=frozenset(CLASSES), complete=True)
        plan = bring(directory, document)
        assert plan.problems == []
        with directory.read() as connection:
            again = merge.plan(connection, document, update=True)
        assert again.differences == []
        assert {(one.kind, one.key) for one in all_of(directory)} == {(one.kind, one.key) for one in wanted}


def test_bad_rows_are_named_and_what_leans_on_them_too(directory: Directory, make: Builder) -> None:
    make.domain("g.test")
    make.user("amy@g.test")
    make.alias("old@g.test", "amy@g.test")
    wanted = entries_of(
        UserEntry(A("bob@g.test")),
        UserEntry(A("carl@nowhere.test")),
        AliasEntry(A("team@g.test"), (A("carl@nowhere.test"), A("gone@g.test"))),
        AliasEntry(A("all@g.test"), (A("team@g.test"),)),
        AliasEntry(A("a@g.test"), (A("b@g.test"),)),
        AliasEntry(A("b@g.test"), (A("a@g.test"),)),
        UserEntry(A("old@g.test")),
        AliasEntry(A("amy@g.test"), (A("bob@g.test"),)),
        UserEntry(A("bob@g.test"), name="other"),
        UserEntry(A("dora@g.test"), mail_id="x"),
        UserEntry(A("eve@g.test"), mail_id="x"),
    )
    plan = bring(directory, wanted)
    assert {one.place: one.message for one in plan.problems} == {
        "line 3": "domain nowhere.test is not hosted here",
        "line 4": "team@g.test cannot lead to gone@g.test: that address does not exist",
        "line 5": "all@g.test cannot lead to team@g.test: that address does not exist",
        "line 6": "mail would go in a circle: a@g.test → b@g.test → a@g.test",
        "line 7": "mail would go in a circle: b@g.test → a@g.test → b@g.test",
        "line 8": "old@g.test is an alias already",
        "line 9": "amy@g.test is a user already",
        "line 10": "is listed at line 2 with other values",
        "line 12": "the mail folder x is that of dora@g.test",
    }
    assert {one.title for one in all_of(directory) if isinstance(one, UserEntry)} == {
        *("amy@g.test", "bob@g.test", "dora@g.test")
    }


def test_what_still_leads_to_an_address_keeps_it(directory: Directory, make: Builder) -> None:
    make.domain("g.test")
    make.domain("h.test")
    make.user("amy@g.test")
    make.alias("out@h.test", "amy@g.test")
    document = reading.parse("domains: [{domain: g.test}]\nusers: []\n", As.yaml)
    plan = bring(directory, document)
    assert [one.message for one in plan.problems] == [
        "out@h.test leads to amy@g.test, and would lead nowhere"
    ]
    whole = reading.parse("complete: true\ndomains: [{domain: g.test}]\nusers: []\naliases: []\n", As.yaml)
    assert bring(directory, whole).problems == []
    assert [one.title for one in all_of(directory)] == ["g.test"]


def test_a_file_manages_only_the_kinds_and_domains_that_it_names(directory: Directory, make: Builder) -> None:
    for name in ("g.test", "h.test"):
        make.domain(name)
        make.user(f"amy@{name}")
        make.alias(f"team@{name}", f"amy@{name}")
        make.forward(f"amy@{name}", "x@elsewhere.test")
    bring(directory, reading.parse("domains: [{domain: g.test}]\naliases: []\n", As.yaml))
    assert [one.title for one in all_of(directory) if one.kind == "alias"] == ["team@h.test"]
    assert sum(one.kind in ("user", "forward") for one in all_of(directory)) == 4
    bring(directory, reading.parse("domains: [{domain: g.test}]\nforwards: []\n", As.yaml))
    assert [one.title for one in all_of(directory) if one.kind == "forward"] == ["amy@h.test"]


@pytest.mark.parametrize("way", ["user to alias", "alias to user"])
def test_an_address_becomes_the_other_kind_in_one_step(directory: Directory, make: Builder, way: str) -> None:
    make.domain("g.test")
    make.user("amy@g.test")
    if way == "user to alias":
        make.user("bob@g.test")
        text = "users: [{address: amy@g.test}]\naliases: [{address: bob@g.test, targets: [amy@g.test]}]\n"
    else:
        make.alias("bob@g.test", "amy@g.test")
        text = "users: [{address: amy@g.test}, {address: bob@g.test}]\naliases: []\n"
    plan = bring(directory, reading.parse("domains: [{domain: g.test}]\n" + text, As.yaml))
    assert plan.problems == []
    kinds = {one.title: one.kind for one in all_of(directory)}
    assert kinds["bob@g.test"] == ("alias" if way == "user to alias" else "user")


def test_it_is_one_entry_of_the_journal(directory: Directory, make: Builder) -> None:
    make.domain("g.test")
    with directory.read() as connection:
        before = connection.execute(select(journal.c.id)).all()
    bring(directory, entries_of(*(UserEntry(A(f"u{n}@g.test")) for n in range(50))))
    with directory.read() as connection:
        assert len(connection.execute(select(journal.c.id)).all()) == len(before) + 1


#: A directory with everything in it.
EVERYTHING: list[Entry] = [
    DomainEntry(D("g.test")),
    DomainEntry(D("h.test")),
    DomainEntry(D("t.test"), D("g.test")),
    UserEntry(A("amy@g.test"), "Amy", HASH, quota_bytes=1, locked_at=SOON, mail_id="g/amy", until=SOON),
    UserEntry(A("bob@h.test"), login=False, imap=False, pop3=False, send=False, receive=False, mail_id="b"),
    AliasEntry(A("@g.test"), (A("bob@h.test"), A("x@elsewhere.test")), SOON),
    AliasEntry(A("all@h.test"), (A("amy+x@t.test"),)),
    ForwardEntry(A("amy@g.test"), (A("y@elsewhere.test"), A("all@h.test")), keep_copy=False, until=SOON),
    GrantEntry(A("amy@g.test"), A("@h.test")),
    AppPasswordEntry(A("bob@h.test"), "phone", "0" * 64, ("imap",)),
]


def test_on_either_database_everything_is_written_changed_and_taken_away(directory: Directory) -> None:
    entries = [one for one in EVERYTHING if one.title != "amy@g.test" or one.kind != "forward"]
    looping = bring(directory, entries_of(*EVERYTHING))
    assert [one.kind for one in looping.problems] == ["alias", "forward"]
    plan = bring(directory, entries_of(*entries))
    assert plan.problems == []
    with directory.read() as connection:
        assert merge.plan(connection, entries_of(*entries), update=False).differences == []
    changed = [
        replace(one, name="other", quota_bytes=None, until=None, pop3=True)
        if isinstance(one, UserEntry)
        else replace(one, sha256="1" * 64, protocols=("send",))
        if isinstance(one, AppPasswordEntry)
        else replace(one, targets=one.targets[::-1], until=None)
        if isinstance(one, AliasEntry)
        else one
        for one in entries
    ]
    changed.append(ForwardEntry(A("bob@h.test"), (A("y@elsewhere.test"),), keep_copy=False, until=SOON))
    document = replace(entries_of(*changed), manages=frozenset(CLASSES), complete=True)
    assert bring(directory, document).problems == []
    with directory.read() as connection:
        assert merge.plan(connection, document, update=True).differences == []
    amy = next(one for one in all_of(directory) if one.title == "amy@g.test")
    assert isinstance(amy, UserEntry)
    assert (amy.name, amy.until, amy.locked_at, amy.password) == ("other", None, SOON, HASH)
    assert bring(directory, Wanted(manages=frozenset(CLASSES), complete=True)).problems == []
    assert all_of(directory) == []


def test_an_app_password_may_get_another_name(directory: Directory, make: Builder) -> None:
    """It goes and comes with one digest; and a second user may not have it."""
    make.domain("g.test")
    make.user("amy@g.test")
    make.user("bob@g.test")
    digest = "a" * 64
    old, new = (AppPasswordEntry(A("amy@g.test"), name, digest, ("imap",)) for name in ("phone", "mobile"))
    bring(directory, entries_of(old))
    document = Wanted([Listed(new)], manages=frozenset({"app_password"}))
    plan = bring(directory, document)
    assert plan.problems == []
    assert [one.name for one in all_of(directory) if isinstance(one, AppPasswordEntry)] == ["mobile"]
    wider = replace(new, protocols=("imap", "send"))
    other = bring(directory, entries_of(wider, replace(new, user=A("bob@g.test"))))
    assert [one.message for one in other.problems] == ["the same app password is somebody's already"]


def chain(count: int, end: str) -> Wanted:
    """So many aliases of which each leads to the next, and the last to an address."""
    names = [A(f"a{number}@example.org") for number in range(count)]
    targets = [*names[1:], A(end)]
    return entries_of(*(AliasEntry(one, (to,)) for one, to in zip(names, targets, strict=True)))


@pytest.mark.parametrize("end", ["missing@example.org", "a0@example.org"])
def test_of_a_chain_that_leads_nowhere_every_hop_is_named_at_once(
    make: Builder, directory: Directory, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make.domain("example.org")
    rounds = 0

    class Counted(Rules):
        def problems(self) -> dict[tuple[str, Key], str]:
            nonlocal rounds
            rounds += 1
            return super().problems()

    monkeypatch.setattr(merge, "Rules", Counted)
    with directory.read() as connection:
        plan = merge.plan(connection, chain(300, end), update=True)
    assert plan.differences == []
    assert len(plan.problems) == 300
    assert rounds == 2


def test_a_chain_as_long_as_postfix_takes_is_written_and_published(
    make: Builder, directory: Directory, ask: Callable[..., list[Any]]
) -> None:
    make.domain("example.org")
    make.user("amy@example.org")
    assert bring(directory, chain(900, "amy@example.org")).problems == []
    make.switch("amy@example.org", receive=False)
    make.switch("amy@example.org", receive=True)
    if directory.settings.directory.file is not None:
        assert ask("postfix", "SELECT count(*) FROM address WHERE open_until <= 0") == [0]


def test_what_a_deletion_that_cannot_be_leads_to_stays_too(make: Builder, directory: Directory) -> None:
    make.domain("example.org")
    make.user("amy@example.org")
    bring(directory, chain(40, "amy@example.org"))
    make.domain("other.example")
    make.alias("keeps@other.example", "a0@example.org")
    wanted = entries_of(DomainEntry(D("example.org")))
    wanted.manages = frozenset(("user", "alias"))
    with directory.read() as connection:
        plan = merge.plan(connection, wanted, update=True)
    assert plan.differences == []
    assert len(plan.problems) == 41
