"""A change that is killed at any of its writes is done or not done, and the servers never notice."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from postmaster.address import parse_address
from postmaster.bulk.reading import read
from postmaster.bulk.writing import As
from postmaster.directory import merge
from postmaster.directory.inventory import take
from postmaster.directory.migrate import initialise
from postmaster.lifecycle import removal
from postmaster.settings import DovecotSettings, MailSettings, PostfixSettings, Settings, as_toml
from tests.tools import killing
from tests.tools.as_user import command
from tests.tools.building import HASH, open_builder, settings_under
from tests.tools.mail import loaded

BULK = 500

#: A server's reader: one handle for good, as proxymap and the auth worker have, asked again and again.
#: For each line that it is given: a look-up by the old handle, one by a new one, and how it went meanwhile.
_READER = """
path, query = sys.argv[1:3]
handle = sqlite3.connect(path, timeout=0, isolation_level=None)
asked, locked, other = 0, 0, ""
os.set_blocking(0, False)
while True:
    try:
        answer = handle.execute(query).fetchone()
        assert answer is not None
        asked += 1
    except Exception as error:
        if "locked" in str(error):
            locked += 1
        else:
            other = repr(error)
    line = sys.stdin.buffer.raw.read(1)
    if line == b"":
        break
    if line:
        try:
            kept = handle.execute(query).fetchone()
            fresh = sqlite3.connect(path, timeout=1).execute(query).fetchone()
            now = "" if kept == fresh != None else repr((kept, fresh))
        except Exception as error:
            now = repr(error)
        print(json.dumps({"asked": asked, "locked": locked, "other": other, "now": now}), flush=True)
    time.sleep(0.004)
"""


@dataclass
class Scene:
    settings: Settings
    worker: killing.Helper
    readers: dict[str, killing.Helper]
    kills: int = 0

    def attempt(self, n: int, **task: Any) -> int:
        """Run a change that ends at its n-th write; its exit status."""
        status = int(self.worker.ask(json.dumps({"n": n, **task}) + "\n"))
        self.kills += status < 0
        return status

    def check(self) -> None:
        """After a kill: the servers answer; the next command publishes the rest; the truth is whole."""
        for user, reader in self.readers.items():
            told = reader.ask()
            assert told["now"] == "", user
            assert told["other"] == "", user
        assert self.attempt(0, command=["publish"]) == 0
        with closing(sqlite3.connect(self.truth)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            newest = connection.execute("SELECT max(id) FROM journal").fetchone()
            expected = connection.execute(
                "SELECT a.local_part || '@' || d.name, c.password FROM account c"
                " JOIN address a ON a.id = c.id JOIN domain d ON d.id = a.domain_id ORDER BY 1"
            ).fetchall()
            # An entry of the journal and its rows come together or not at all.
            empty = "SELECT count(*) FROM journal WHERE id NOT IN (SELECT entry_id FROM journal_row)"
            assert connection.execute(empty).fetchone() == (0,)
        lookups = self.settings.lookups.directory
        with closing(sqlite3.connect(f"file:{lookups}/dovecot.db?mode=ro", uri=True)) as connection:
            assert connection.execute("SELECT entry FROM published").fetchone() == newest
            assert connection.execute("SELECT login, password FROM account ORDER BY 1").fetchall() == expected
        with closing(sqlite3.connect(f"file:{lookups}/postfix.db?mode=ro", uri=True)) as connection:
            assert connection.execute("SELECT entry FROM published").fetchone() == newest
            found = connection.execute("SELECT address FROM virtual_mailbox ORDER BY 1").fetchall()
            assert found == [(login,) for login, _ in expected]

    @property
    def truth(self) -> Path:
        return Path(self.settings.directory.url.removeprefix("sqlite:///"))

    def value(self, query: str) -> Any:
        with closing(sqlite3.connect(self.truth)) as connection:
            row = connection.execute(query).fetchone()
        return None if row is None else row[0]


@pytest.fixture
def scene(place: Callable[[], Path], shim: Path) -> Iterator[Scene]:
    folder = place()
    # No servers here, and never the machine's own.
    settings = replace(
        settings_under(folder),
        mail=MailSettings(folder / "mail", user="root"),
        postfix=PostfixSettings(folder / "none"),
        dovecot=DovecotSettings(folder / "none" / "dovecot.conf"),
    )
    initialise(settings)
    with open_builder(settings) as make:
        make.domain("kill.test")
        make.user("base@kill.test")
    file = folder / "postmaster.toml"
    file.write_text(as_toml(settings))
    worker = killing.worker(file, shim)
    queries = {
        "postfix": "SELECT address FROM virtual_mailbox WHERE local_part = 'base' AND domain = 'kill.test'",
        "dovecot": "SELECT password FROM passdb WHERE login = 'base@kill.test' AND service = 'imap'",
    }
    readers = {
        user: killing.Helper(command(user, _READER, str(settings.lookups.directory / f"{user}.db"), query))
        for user, query in queries.items()
    }
    made = Scene(settings, worker, readers)
    try:
        yield made
        told = {user: reader.ask() for user, reader in readers.items()}
    finally:
        for helper in (worker, *readers.values()):
            helper.end()
    asked = ", ".join(f"{user} asked {t['asked']} times ({t['locked']} locks)" for user, t in told.items())
    print(f"killed {made.kills} times; {asked}")


Task = dict[str, Any]


def until_done(
    scene: Scene, task: Callable[[int], Task], after: Callable[[int, int], None], step: int = 1
) -> None:
    """Kill at the first write, the second, … until the change completes; with `step`, at every so many."""
    for n in range(1, 5000, step):
        status = scene.attempt(n, **task(n))
        scene.check()
        after(n, status)
        if status == 0:
            assert n > 5
            return
        assert status == -9
    raise AssertionError("it never completed")


@pytest.mark.timeout(300)
def test_user_add(scene: Scene) -> None:
    known = {"base@kill.test"}

    def after(n: int, status: int) -> None:
        new = f"amy{n}@kill.test"
        there = scene.value(f"SELECT 1 FROM address WHERE local_part = 'amy{n}'") is not None
        assert there or status != 0
        if there:
            known.add(new)
        assert scene.value("SELECT count(*) FROM account") == len(known)

    until_done(
        scene,
        lambda n: {"command": ["user", "add", f"amy{n}@kill.test", "--hash-stdin"], "stdin": HASH},
        after,
    )


@pytest.mark.timeout(300)
def test_user_password(scene: Scene) -> None:
    before = HASH

    def after(n: int, status: int) -> None:
        nonlocal before
        now = scene.value("SELECT password FROM account")
        assert now == new(n) or (now == before and status != 0)
        before = now

    def new(n: int) -> str:
        return "{BLF-CRYPT}$2y$05$" + f"{n:053d}"

    until_done(
        scene,
        lambda n: {"command": ["user", "password", "base@kill.test", "--hash-stdin"], "stdin": new(n)},
        after,
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "step",
    [pytest.param(3, id="every third"), pytest.param(1, id="every one", marks=pytest.mark.full)],
)
def test_user_remove(scene: Scene, step: int) -> None:
    with open_builder(scene.settings) as make:
        make.user("carl@kill.test")
        make.alias("team@kill.test", "carl@kill.test", "base@kill.test")

    def after(n: int, status: int) -> None:
        there = scene.value("SELECT 1 FROM address WHERE local_part = 'carl'") is not None
        targets = scene.value("SELECT count(*) FROM target WHERE domain = 'kill.test'")
        assert targets == 1 + there
        assert not (there and status == 0)
        if not there and status != 0:  # it was committed; once more from the start
            with open_builder(scene.settings) as make:
                make.user("carl@kill.test")
                make.alias("team@kill.test", "carl@kill.test", "base@kill.test")

    until_done(scene, lambda n: {"command": ["user", "remove", "carl@kill.test", "--yes"]}, after, step)


#: Hundreds of writes: some of them each time, all of them where there is time.
STEPS = [pytest.param(9, id="every ninth"), pytest.param(1, id="every one", marks=pytest.mark.full)]


def make_mail(scene: Scene) -> Path:
    """A user carl with mail in several folders, made anew where there is none."""
    mail_id = scene.value(
        "SELECT mail_id FROM account c JOIN address a ON a.id = c.id WHERE a.local_part = 'carl'"
    )
    folder = scene.settings.mail.root / str(mail_id)
    for name in ("new", "cur", ".Sent/cur"):
        (folder / "Maildir" / name).mkdir(parents=True, exist_ok=True)
        (folder / "Maildir" / name / "1.mail").write_text("Subject: x")
    return folder


def whole(folder: Path) -> bool:
    return len(list(folder.rglob("1.mail"))) == 3


@pytest.mark.timeout(300)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("mail", ["trash", "delete"])
def test_user_remove_with_mail_leaves_one_state_or_the_other_and_is_finished(
    scene: Scene, mail: str, step: int
) -> None:
    with open_builder(scene.settings) as make:
        make.user("carl@kill.test")
    folder = make_mail(scene)

    def after(n: int, status: int) -> None:
        nonlocal folder
        trashed = scene.settings.mail.root / ".trash" / folder.name
        there = scene.value("SELECT 1 FROM address WHERE local_part = 'carl'") is not None
        if there:
            assert status != 0
            assert whole(folder)
            assert not trashed.exists()
            return
        # It was committed. What is left over is known by name, and no folder is there that is not.
        left = scene.value(f"SELECT mail FROM removed_mailbox WHERE mail_id = '{folder.name}'")
        assert left == mail or (mail == "delete" and left is None)
        assert not (folder.exists() and trashed.exists())
        if mail == "trash":
            assert whole(folder) or whole(trashed)
        elif left is None:
            assert not folder.exists()
            assert not trashed.exists()
        with open_builder(scene.settings) as make:
            removal.finish(make.directory)
            assert not folder.exists()
            assert whole(trashed) == (mail == "trash")
            if mail == "trash":
                removal.restore(make.directory, parse_address("carl@kill.test"), password_hash=HASH)
                assert whole(folder)
            else:
                make.user("carl@kill.test")
                folder = make_mail(scene)

    command = ["user", "remove", "carl@kill.test", "--mail", mail, "--yes"]
    until_done(scene, lambda _: {"command": command}, after, step=step)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("step", STEPS)
def test_user_restore_brings_the_mail_back_or_leaves_it_in_the_trash(scene: Scene, step: int) -> None:
    with open_builder(scene.settings) as make:
        make.user("carl@kill.test")
        folder = make_mail(scene)
        removal.remove(make.directory, parse_address("carl@kill.test"))
    trashed = scene.settings.mail.root / ".trash" / folder.name

    def after(n: int, status: int) -> None:
        there = scene.value("SELECT 1 FROM address WHERE local_part = 'carl'") is not None
        assert whole(folder) or whole(trashed)
        assert not (folder.exists() and trashed.exists())
        assert not there or whole(folder)
        with open_builder(scene.settings) as make:
            if there:
                removal.remove(make.directory, parse_address("carl@kill.test"))
            else:
                assert status != 0
                removal.finish(make.directory)
        assert whole(trashed)

    until_done(scene, lambda _: {"command": ["user", "restore", "carl@kill.test"]}, after, step=step)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("step", STEPS)
def test_directory_apply_leaves_the_old_state_or_the_new_one(scene: Scene, tmp_path: Path, step: int) -> None:
    """To one description and back to the other, each with users, aliases, forwards and grants of its own."""
    texts = [
        "users:\n- address: base@kill.test\n"
        + "".join(f"- address: {one}{n}@kill.test\n" for n in range(9))
        + f"aliases:\n- address: all@kill.test\n  targets: [{one}1@kill.test, base@kill.test]\n"
        f"forwards:\n- address: {one}2@kill.test\n  targets: [x@elsewhere.test]\n"
        f"grants:\n- user: {one}3@kill.test\n  address: '@kill.test'\n"
        for one in ("amy", "bob")
    ]
    files = [tmp_path / "first.yaml", tmp_path / "second.yaml"]
    for file, text in zip(files, texts, strict=True):
        file.write_text("domains:\n- domain: kill.test\n" + text)

    def state() -> set[tuple[str, ...]]:
        with open_builder(scene.settings) as make, make.directory.read() as reading:
            return {(one.kind, *one.key) for one in take(reading)}

    states = []
    for file in files:
        with open_builder(scene.settings) as make, make.directory.change() as change:
            wanted = read(file, As.yaml)
            merge.write(change, merge.plan(change.connection, wanted, update=True).differences)
        states.append(state())
    at = 0

    def after(n: int, status: int) -> None:
        nonlocal at
        now = state()
        assert now in states
        reached = states.index(now)
        assert reached == at or status != 0
        if reached == at:  # the way back is next
            at = 1 - at

    how = ("--max-deletes", "99", "--yes")
    until_done(scene, lambda _: {"command": ["directory", "apply", str(files[at]), *how]}, after, step=step)


#: More than two thousand writes.
BULK_STEPS = [
    pytest.param(150, id="every hundred and fiftieth"),
    pytest.param(7, id="every seventh", marks=pytest.mark.full),
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("step", BULK_STEPS)
def test_a_bulk_change_of_500_rows(scene: Scene, step: int) -> None:
    with open_builder(scene.settings) as make:
        make.users([f"bulk{number}@kill.test" for number in range(BULK)])
    before = ""

    def after(n: int, status: int) -> None:
        nonlocal before
        names = scene.value("SELECT group_concat(DISTINCT name) FROM account WHERE id > 2")
        assert names in (f"name {n}", before)  # all of them or none
        assert names == f"name {n}" or status != 0
        before = names

    until_done(scene, lambda n: {"bulk": [0, BULK, f"name {n}"]}, after, step)


def test_20_user_add_at_once(scene: Scene, tmp_path: Path) -> None:
    file = scene.settings.lookups.directory.parent / "postmaster.toml"

    def add(number: int) -> tuple[int, str]:
        given = ["--config", str(file), "user", "add", f"amy{number}@kill.test", "--generate"]
        done = loaded().run(given, stdin="", timeout=100, environment=os.environ)
        return done.returncode, done.stderr

    with ThreadPoolExecutor(20) as pool:
        said = list(pool.map(add, range(20)))
    assert [status for status, _ in said] == [0] * 20, said
    scene.check()
    assert scene.value("SELECT count(*) FROM account") == 21
