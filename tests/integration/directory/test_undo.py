"""History and undo: what was done is told and taken back, and no credential comes back by itself."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import IntegrityError

from postmaster.directory import domains, history, merge, rename, undo, users
from postmaster.directory.database import Directory, open_directory
from postmaster.directory.entries import (
    AliasEntry,
    AppPasswordEntry,
    DomainEntry,
    Entry,
    ForwardEntry,
    GrantEntry,
    Listed,
    UserEntry,
)
from postmaster.directory.merge import Wanted
from postmaster.directory.migrate import initialise
from postmaster.directory.schema import HASHES, JOURNALLED, account, journal, journal_row
from postmaster.errors import ConflictError, NotFoundError, PostmasterError, RuleError
from postmaster.settings import DirectorySettings
from tests.tools.building import HASH, A, Builder, D, settings_under

OTHER = HASH.replace("aGFz", "bGFz")


def state(directory: Directory, *, credentials: bool = True) -> dict[str, list[dict[str, Any]]]:
    """Every row of the truth but what is left of removed users."""
    found = {}
    with directory.read() as reading:
        for name, table in JOURNALLED.items():
            rows = [dict(row) for row in reading.execute(select(table).order_by(table.c.id)).mappings()]
            if not credentials:
                rows = [
                    {k: v for k, v in row.items() if k not in (HASHES.get(name), "locked_at")} for row in rows
                ]
            found[name] = rows
    del found["removed_mailbox"]
    if not credentials:
        del found["app_password"]
    return found


def take_back(directory: Directory, *numbers: int, restore: bool = False) -> undo.Undone:
    with directory.change() as change:
        return undo.undo(change, numbers, restore_passwords=restore)


def newest(directory: Directory) -> int:
    with directory.read() as reading:
        found: int = reading.execute(select(journal.c.id).order_by(journal.c.id.desc()).limit(1)).scalar_one()
        return found


@pytest.fixture
def house(make: Builder) -> Builder:
    make.domain("example.org")
    make.user("amy@example.org")
    make.user("bob@example.org")
    return make


def random_change(make: Builder, chance: random.Random) -> None:
    """One change of some kind, which the directory may refuse."""
    names = [
        f"{name}@{home}" for name in ("amy", "bob", "carl", "dora") for home in ("a.example", "b.example")
    ]
    one, two, three = chance.sample(names, 3)
    steps: list[Callable[[], Any]] = [
        lambda: make.domain(chance.choice(("a.example", "b.example", "c.example"))),
        lambda: make.domain("twin.example", alias_of="a.example"),
        lambda: make.user(one, quota=chance.choice((None, 1 << 20))),
        lambda: make.user(one),
        lambda: make.user(two),
        lambda: make.alias(chance.choice((f"list-{one}", f"@{one.partition('@')[2]}")), two, three),
        lambda: make.alias(f"list-{one}", two, "x@elsewhere.example"),
        lambda: make.forward(one, two, "x@elsewhere.example", keep_copy=chance.random() < 0.5),
        lambda: make.switch(one, **{chance.choice(("login", "imap", "receive")): chance.random() < 0.5}),
        lambda: make.set(one, password=f"{HASH}{chance.randrange(1000)}"),
        lambda: make.set(one, locked_at=chance.choice((None, make.now()))),
        lambda: make.app_password(one, f"app{chance.randrange(9)}", str(chance.random())),
        lambda: make.grant(one, chance.choice((two, f"@{two.partition('@')[2]}"))),
        lambda: make.until(chance.choice((one, f"list-{one}")), chance.randrange(1000)),
        lambda: make.remove("user", one),
        lambda: make.remove("alias", f"list-{one}"),
        lambda: make.remove("forward", one),
        lambda: make.rename(one, chance.choice((two, f"new-{one}")), keep_alias=chance.random() < 0.5),
        lambda: make.rename("b.example", chance.choice(("c.example", "d.example"))),
        lambda: make.rename(chance.choice(("c.example", "d.example")), "b.example"),
        lambda: make.remove("domain", chance.choice(("a.example", "b.example", "c.example", "twin.example"))),
    ]
    chance.choice(steps)()


@pytest.mark.parametrize("restore", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_fifty_changes_undone_in_reverse_give_back_the_first_state(
    tmp_path: Path, seed: int, restore: bool
) -> None:
    chance = random.Random(seed)
    settings = settings_under(tmp_path)
    initialise(settings)
    with open_directory(settings) as directory:
        make = Builder(directory)
        for name in ("a.example", "b.example"):
            make.domain(name)
        for name in ("amy@a.example", "bob@a.example", "bob@b.example"):
            make.user(name)
        make.app_password("amy@a.example", "phone")
        first, begin = state(directory), newest(directory)
        tried = 0
        while newest(directory) < begin + 50:
            tried += 1
            assert tried < 2000
            # Refused by a rule, by the tools, or by the database: the same grant twice.
            with suppress(PostmasterError, AssertionError, IntegrityError):
                random_change(make, chance)
        refusals = []
        for number in range(newest(directory), begin, -1):
            try:
                take_back(directory, number, restore=restore)
            except RuleError as refused:
                refusals.append(str(refused))
        assert not (restore and refusals)
        assert [text for text in refusals if "stays" not in text and "is gone already" not in text] == []
        after = state(directory)
        if restore:
            assert after == first
            return
        assert state(directory, credentials=False) == {
            name: [{k: v for k, v in row.items() if k not in (HASHES.get(name), "locked_at")} for row in rows]
            for name, rows in first.items()
            if name != "app_password"
        }
        # What lets somebody in is less than it was, never more, and never what was replaced.
        assert {row["sha256"] for row in after["app_password"]} <= {
            row["sha256"] for row in first["app_password"]
        }


def bring_in(directory: Directory, count: int) -> None:
    """A domain with so many users and what goes with some of them, by one change."""
    home, everybody = D("big.example"), [A(f"u{number}@big.example") for number in range(count)]
    listed: list[Entry] = [DomainEntry(home), DomainEntry(D("twin.example"), alias_of=home)]
    listed += [UserEntry(one, name=str(one), password=HASH) for one in everybody]
    for number, one in enumerate(everybody[1::5]):
        listed.append(AliasEntry(A(f"a{number}@big.example"), (one, everybody[0])))
        listed.append(ForwardEntry(one, (everybody[0], A("x@elsewhere.example")), keep_copy=False))
        listed.append(GrantEntry(one, everybody[0]))
        listed.append(AppPasswordEntry(one, "phone", f"{number:064x}", ("imap",)))
    with directory.change() as change:
        plan = merge.plan(change.connection, Wanted([Listed(one) for one in listed]), update=True)
        assert plan.problems == []
        merge.write(change, plan.differences)


def removed(directory: Directory) -> list[Any]:
    with directory.read() as reading:
        return list(reading.execute(select(JOURNALLED["removed_mailbox"])).all())


def test_a_bulk_change_is_undone_and_that_undo_is(house: Builder, directory: Directory) -> None:
    first = state(directory)
    bring_in(directory, 1300)
    made, entry = state(directory), newest(directory)
    done = take_back(directory)
    assert state(directory) == first
    assert (len(done.gone), done.back, done.notes) == (1300, (), ())
    assert len(done.changes) == done.count > 4000
    assert len(removed(directory)) == 1300
    again = take_back(directory, newest(directory), restore=True)
    assert state(directory) == made
    assert removed(directory) == []
    assert (again.notes, sorted(again.back)) == ((), sorted(done.gone))
    take_back(directory, entry)
    assert state(directory) == first


def test_without_their_passwords_each_user_of_an_undone_undo_is_named(
    house: Builder, directory: Directory
) -> None:
    bring_in(directory, 60)
    take_back(directory)
    with directory.change() as change:
        done = undo.undo(change, [newest(directory)], most=7)
    assert (len(done.changes), done.count > 200) == (7, True)
    wanted = {f"u{number}@big.example has no password now" for number in range(60)}
    assert {one.partition(";")[0] for one in done.notes if "no password now" in one} == wanted
    assert sum("stays revoked" in one for one in done.notes) == 12


def test_one_of_many_who_went_is_restored_alone(house: Builder, directory: Directory) -> None:
    bring_in(directory, 60)
    with directory.read() as reading:
        wanted = [users.show(reading, A(name)) for name in ("u0@big.example", "u6@big.example")]
    before = state(directory)
    with directory.change() as change:
        listed = [
            Listed(DomainEntry(D("big.example"))),
            Listed(DomainEntry(D("twin.example"), D("big.example"))),
        ]
        everything = Wanted(listed, manages=frozenset(("user", "alias", "forward", "grant", "app_password")))
        merge.write(change, merge.plan(change.connection, everything, update=True).differences)
    assert [row["local_part"] for row in state(directory)["address"]] == ["amy", "bob"]
    for one in wanted:  # the first is where the other forwards to
        with directory.change() as change:
            told = undo.restore_user(change, one.id, restore_passwords=True)
        assert all("leads elsewhere or nowhere now" in note for note in told.notes)
    after = state(directory)
    ids = {one.id for one in wanted}
    for table, column in (("account", "id"), ("target", "source_id"), ("app_password", "account_id")):
        assert [row for row in after[table] if row[column] in ids] == [
            row for row in before[table] if row[column] in ids
        ]
    assert len(after["target"]) == 2
    assert len(after["address"]) == 4


def test_rows_that_only_their_own_order_allows_are_taken_back_in_it(
    house: Builder, directory: Directory
) -> None:
    """An address that left a domain which went in the same change needs the domain to be there first."""
    house.domain("old.example")
    house.user("carl@old.example")
    before = state(directory)
    with directory.change() as change:
        rename.rename_user(change, A("carl@old.example"), A("carl@example.org"), keep_alias=False)
        domains.remove(change, D("old.example"))
    after = state(directory)
    take_back(directory)
    assert state(directory) == before
    take_back(directory, newest(directory))
    assert state(directory) == after


def test_an_undo_asks_for_many_rows_at_once(house: Builder, directory: Directory) -> None:
    """So that an import of a hundred thousand users is undone in a time like its own."""

    def asked(count: int) -> int:
        bring_in(directory, count)
        found = 0

        def count_one(*_: Any) -> None:
            nonlocal found
            found += 1

        event.listen(directory.engine, "before_cursor_execute", count_one)
        try:
            take_back(directory)
        finally:
            event.remove(directory.engine, "before_cursor_execute", count_one)
        return found

    few, many = asked(200), asked(1200)
    assert many - few < 400  # for a thousand users with their aliases, forwards and grants


def test_of_many_notes_an_error_tells_a_few(house: Builder, directory: Directory) -> None:
    everybody = {A(f"u{number}@big.example"): OTHER for number in range(60)}
    bring_in(directory, 60)
    with directory.change() as change:
        users.set_passwords(change, everybody)
    with pytest.raises(RuleError, match=r"; and 57 more of the kind$") as caught:
        take_back(directory)
    assert caught.value.message.count("stays as it is") == 3


def test_an_undo_can_be_undone_and_the_last_entry_is_the_default(
    house: Builder, directory: Directory
) -> None:
    house.alias("team@example.org", "amy@example.org")
    made = state(directory)
    take_back(directory)
    assert state(directory)["target"] == []
    again = newest(directory)
    with directory.read() as reading:
        assert history.entry(reading, again).undoes == (again - 1,)
        assert history.entry(reading, again - 1).undone_by == again
        assert undo.latest(reading).number == again - 2
    with pytest.raises(ConflictError, match=f"undone already, by entry {again}"):
        take_back(directory, again - 1)
    take_back(directory, again)
    assert state(directory) == made
    take_back(directory, again - 1)
    assert state(directory)["target"] == []


def test_what_was_changed_since_is_named_and_nothing_happens(house: Builder, directory: Directory) -> None:
    house.alias("team@example.org", "amy@example.org")
    first = newest(directory)
    house.alias("team@example.org", "bob@example.org")
    before = state(directory)
    with pytest.raises(
        ConflictError, match=rf"entry {first} cannot be undone: .*by entry {first + 1} \(test\)"
    ) as caught:
        take_back(directory, first)
    assert caught.value.hint == f"undo that one too: postmaster undo {first + 1} {first}"
    assert state(directory) == before
    take_back(directory, first, first + 1)
    assert state(directory)["target"] == []


def test_values_that_others_did_not_touch_are_taken_back_alone(house: Builder, directory: Directory) -> None:
    house.switch("amy@example.org", imap=False)
    first = newest(directory)
    house.switch("amy@example.org", pop3=False)
    take_back(directory, first)
    (row, _) = state(directory)["account"]
    assert (row["imap"], row["pop3"]) == (True, False)


def test_an_undo_keeps_to_the_rules(house: Builder, directory: Directory) -> None:
    house.alias("a@example.org", "amy@example.org")
    house.alias("b@example.org", "a@example.org")
    house.alias("b@example.org", "bob@example.org")
    leading = newest(directory)
    house.alias("a@example.org", "b@example.org")
    with pytest.raises(ConflictError, match="mail would go in a circle"):
        take_back(directory, leading)
    house.user("carl@example.org")
    made = newest(directory)
    house.alias("c@example.org", "carl@example.org")
    with pytest.raises(ConflictError, match=r"would lead to carl@example\.org, which would not exist"):
        take_back(directory, made)
    house.domain("new.example")
    hosted = newest(directory)
    house.user("zoe@new.example")
    with pytest.raises(ConflictError, match=f"entry {hosted} cannot be undone"):
        take_back(directory, hosted)


def test_no_credential_comes_back_unless_told(house: Builder, directory: Directory) -> None:
    house.set("amy@example.org", password=OTHER)
    replaced = newest(directory)
    with pytest.raises(RuleError, match=r"the password of amy@example\.org stays as it is") as caught:
        take_back(directory, replaced)
    assert caught.value.hint == "--restore-password brings it back"
    take_back(directory, replaced, restore=True)
    assert [row["password"] for row in state(directory)["account"]] == [HASH, HASH]
    house.app_password("amy@example.org", "phone")
    house.remove("user", "amy@example.org")
    removed = newest(directory)
    done = take_back(directory, removed)
    assert "amy@example.org has no password now" in done.notes[0] + done.notes[1]
    assert [row["password"] for row in state(directory)["account"]] == ["", HASH]
    assert state(directory)["app_password"] == []
    take_back(directory, newest(directory))
    take_back(directory, removed, restore=True)
    assert [row["password"] for row in state(directory)["account"]] == [HASH, HASH]
    assert [row["name"] for row in state(directory)["app_password"]] == ["phone"]
    house.set("amy@example.org", locked_at=house.now())
    with pytest.raises(RuleError, match="stays locked"):
        take_back(directory)


def test_hashes_leave_the_history_in_time_and_everything_else_stays(tmp_path: Path) -> None:
    from dataclasses import replace

    settings = settings_under(tmp_path)
    initialise(settings)
    with open_directory(settings) as directory:
        make = Builder(directory)
        make.domain("example.org")
        make.user("amy@example.org")
        make.set("amy@example.org", password=OTHER)
        replaced = newest(directory)
        make.app_password("amy@example.org", "phone", "secret")
        with directory.change() as change:
            change.connection.execute(
                journal.update().values(made_at=change.now - timedelta(days=91)).where(journal.c.id > 0)
            )
            make_row = account.c.name
            change.update(account, 1, {make_row.name: "Amy"})
        with directory.read() as reading:
            old = reading.execute(select(journal_row).where(journal_row.c.entry_id <= replaced + 1)).all()
        secret = OTHER.encode()
        text = "".join(f"{row.before}{row.after}" for row in old)
        assert "argon2" not in text
        assert "imap" in text
        assert not [row for row in old if row.has_hash]
        with pytest.raises(RuleError, match="stays as it is"):
            take_back(directory, replaced, restore=True)
        assert [row["password"] for row in state(directory)["account"]] == [secret.decode()]
    soon = replace(settings, directory=DirectorySettings(settings.directory.url, hash_days=0))
    with open_directory(soon) as directory:
        Builder(directory).set("amy@example.org", name="Amy Ash")
        with directory.read() as reading:
            states = reading.execute(select(journal_row.c.before, journal_row.c.after)).all()
        assert sum("argon2" in f"{row.before}{row.after}" for row in states) <= 1


def test_the_history_is_asked_by_address_domain_actor_and_time(house: Builder, directory: Directory) -> None:
    house.domain("example.net")
    house.user("amy@example.net")
    house.alias("team@example.org", "amy@example.org", "amy@example.net")
    house.set("amy@example.org", password=OTHER)
    house.remove("user", "bob@example.org")

    def asked(**wanted: Any) -> list[int]:
        with directory.read() as reading:
            return [one.number for one in history.entries(reading, history.Wanted(**wanted))]

    everything = asked()
    assert everything == list(range(newest(directory), 0, -1))
    assert asked(address=A("amy@example.org")) == [7, 6, 2]
    assert asked(address=A("bob@example.org")) == [8, 3]
    assert asked(domain=D("example.net")) == [5, 4]
    assert asked(actor="tester") == everything
    assert asked(actor="nobody") == []
    with directory.read() as reading:
        then = history.entry(reading, 5).made_at
    assert asked(since=then) == [8, 7, 6, 5]
    assert asked(until=then) == [4, 3, 2, 1]
    with pytest.raises(NotFoundError, match=r"the history knows nothing of x@example\.org"):
        asked(address=A("x@example.org"))


def test_no_hash_is_in_what_the_history_shows(house: Builder, directory: Directory) -> None:
    house.set("amy@example.org", password=OTHER)
    house.app_password("amy@example.org", "phone")
    house.remove("user", "amy@example.org")
    with directory.read() as reading:
        shown = [
            json.dumps(one.values)
            for number in range(1, newest(directory) + 1)
            for one in history.changes(reading, number)
        ]
    assert "(hidden)" in "".join(shown)
    assert "argon2" not in "".join(shown)
