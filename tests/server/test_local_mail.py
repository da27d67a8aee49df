"""Alias files and forward files, changed by the commands and delivered by the real local(8)."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import count, pairwise
from typing import Any

import pytest

from postmaster.address import parse_address
from postmaster.errors import ProcessError
from postmaster.process import run
from postmaster.routing import alias_database, alias_file
from postmaster.routing.check_local import LOCAL_CODES
from postmaster.routing.explain import explain
from postmaster.routing.hops import Explanation
from tests.tools.local_mail import FIRST, HOST, SECOND, deliver, forward, local_mail
from tests.tools.mail import Lab

from .conftest import configured

_numbers = count(1)


@pytest.fixture
def house(pliable: Lab) -> Iterator[Lab]:
    """A lab with local mail: aliases, forward files and mailboxes of its own."""
    with local_mail(pliable) as parameters, configured(pliable, **parameters):
        yield pliable


def set_alias(lab: Lab, name: str, *targets: str) -> Any:
    return json.loads(lab.postmaster("local", "alias", "set", name, *targets, "-o", "json").stdout)


def ways(found: Explanation) -> set[tuple[str, str]]:
    """(rule, address) of where it ends."""
    return {(hop.rule, hop.address) for _, hop in found.tree.walk() if not hop.hops}


def test_what_is_set_is_delivered_and_explained(house: Lab) -> None:
    taken, box = house.root / "spool-mail" / "taken", house.root / "spool-mail" / "file box"
    included = house.root / "forwards" / "list"
    included.write_text(f"# a list\n{SECOND}\nx@elsewhere.test\n")
    included.chmod(0o644)
    set_alias(house, "piped", f"|/bin/cat > {taken}")
    set_alias(house, "filed", str(box))
    set_alias(house, "staff", f":include:{included}", FIRST)
    set_alias(house, "owner-staff", "root")
    set_alias(house, "Mixed Case", FIRST)
    # Whoever gives files and commands to nobody cannot write there; the lab's folder lets everyone.
    said = deliver(house, f"piped+tag@{HOST}")
    assert "delivered to command" in said
    assert "Hello." in taken.read_text()
    deliver(house, f"filed@{HOST}")
    assert "Hello." in box.read_text()
    log = deliver(house, f"staff@{HOST}")
    assert f"to=<{FIRST}@{HOST}>" in log
    assert (house.root / "spool-mail" / FIRST).exists()
    assert f"from=<owner-staff@{HOST}>" in house.log()
    found = explain(house.settings, parse_address(f"staff@{HOST}"))
    ends = {
        ("local_mailbox", f"{SECOND}@{HOST}"),
        ("external", "x@elsewhere.test"),
        ("local_mailbox", f"{FIRST}@{HOST}"),
    }
    assert ways(found) == ends
    assert found.tree.sender == f"owner-staff@{HOST}"
    assert ways(explain(house.settings, parse_address(f"piped+tag@{HOST}"))) == {
        ("command", f"|/bin/cat > {taken}")
    }
    assert ways(explain(house.settings, parse_address(f"filed@{HOST}"))) == {("file", str(box))}


def test_the_file_keeps_comments_order_owner_and_mode(house: Lab) -> None:
    file = house.settings.postfix.config_directory / "aliases"
    file.write_text("# one\n\nb: x,\n# inside\n   y\n\n# two\na: z\n")
    file.chmod(0o640)
    os.chown(file, -1, pwd.getpwnam("mail").pw_gid)
    said = set_alias(house, "B", "root", "c@d.test")
    assert (said["before"], said["after"]) == (["x", "y"], ["root", "c@d.test"])
    assert file.read_text() == "# one\n\nb: root, c@d.test\n# inside\n\n# two\na: z\n".replace("b:", "B:")
    house.postmaster("local", "alias", "remove", "b", "--yes")
    assert file.read_text() == "# one\n\n# inside\n\n# two\na: z\n"
    assert (file.stat().st_mode & 0o777, file.stat().st_gid) == (0o640, pwd.getpwnam("mail").pw_gid)
    assert alias_names(house) == ["a"]
    dry = house.postmaster("local", "alias", "set", "n", "x", "--dry-run", "-o", "json")
    assert json.loads(dry.stdout)["changed"] is False
    assert "n:" not in file.read_text()


def alias_names(lab: Lab) -> list[str]:
    rows = json.loads(lab.postmaster("local", "alias", "list", "-o", "json").stdout)
    shown = [row["name"] for row in rows if row["fault"] is None]
    directory = lab.settings.postfix.config_directory
    built = run(["postalias", "-s", "-c", str(directory), f"hash:{directory}/aliases"]).stdout
    real = [line.partition(":")[0] for line in built.splitlines()]
    assert sorted(set(real) - {"@", "YP_LAST_MODIFIED", "YP_MASTER_NAME"}) == sorted(shown)
    return shown


def test_what_postalias_refuses_is_undone(house: Lab) -> None:
    directory = house.settings.postfix.config_directory
    file = directory / "aliases"
    before = file.read_bytes()
    with configured(
        house, reload=False, alias_maps=f"{file}", alias_database=f"{file}", default_database_type="cdb"
    ):
        (one,) = alias_database.files(house.settings)
        assert one.type == "cdb"  # the default's, and this Postfix has none
        with pytest.raises(ProcessError, match=r"unsupported dictionary type: cdb.* is as it was"):
            alias_database.change(
                house.settings, one, lambda parts: alias_file.assign(parts, "new", ["root"])
            )
    assert file.read_bytes() == before
    assert "new" not in alias_names(house)


def test_two_commands_at_once_lose_nothing(house: Lab) -> None:
    command = [sys.executable, "-m", "postmaster", "--config", str(house.status.settings_file)]
    names = [f"n{number}" for number in range(6)]
    children = [
        subprocess.Popen([*command, "local", "alias", "set", name, "root"], stdout=subprocess.DEVNULL)
        for name in names
    ]
    assert [child.wait(60) for child in children] == [0] * len(names)
    assert set(names) <= set(alias_names(house))


def test_forward_files_are_read_as_local_reads_them(house: Lab) -> None:
    mailbox = house.root / "spool-mail" / FIRST
    forward(house, FIRST, f"# mine\n\\{FIRST}, x@elsewhere.test\n")
    log = deliver(house, f"{FIRST}@{HOST}")
    assert "status=sent (forwarded as " in log
    assert mailbox.exists()
    found = explain(house.settings, parse_address(f"{FIRST}@{HOST}"))
    assert ways(found) == {("local_mailbox", f"{FIRST}@{HOST}"), ("external", "x@elsewhere.test")}
    # Its name has the extension: it counts for that alone.
    forward(house, f"{FIRST}+lists", "lists@elsewhere.test\n")
    found = explain(house.settings, parse_address(f"{FIRST}+lists@{HOST}"))
    assert ways(found) == {("external", "lists@elsewhere.test")}
    deliver(house, f"{FIRST}+lists@{HOST}")
    assert "to=<lists@elsewhere.test>" in house.log()


@pytest.mark.parametrize(
    ("mode", "owner", "why"),
    [(0o666, None, "everybody may write it"), (0o644, 12345, "belongs to uid 12345")],
)
def test_forward_files_that_are_passed_over(house: Lab, mode: int, owner: int | None, why: str) -> None:
    mailbox = house.root / "spool-mail" / FIRST
    file = forward(house, FIRST, "x@elsewhere.test\n", mode, owner)
    deliver(house, f"{FIRST}@{HOST}")
    assert mailbox.exists()  # the real one passed it over as well
    (row,) = findings(house, "local", "forward", "check", FIRST)
    assert (row["code"], row["object"]) == ("passed_over", str(file))
    assert why in row["message"]
    shown = json.loads(house.postmaster("local", "forward", "show", FIRST, "-o", "json").stdout)
    assert why in shown["passed_over"]
    assert shown["targets"] == ["x@elsewhere.test"]


def test_forwards_in_a_circle_come_back_and_are_explained(house: Lab) -> None:
    forward(house, FIRST, SECOND)
    forward(house, SECOND, FIRST)
    log = deliver(house, f"{FIRST}@{HOST}")
    assert "mail forwarding loop" in house.log() + log
    found = explain(house.settings, parse_address(f"{FIRST}@{HOST}"))
    assert [problem.code for problem in found.problems] == ["loop"]


def test_aliases_in_a_circle_come_back_and_are_explained(house: Lab) -> None:
    set_alias(house, "one", "two")
    set_alias(house, "two", "one")
    log = deliver(house, f"one@{HOST}")
    assert "status=bounced" in log
    assert "5.4.6" in log
    assert [p.code for p in explain(house.settings, parse_address(f"one@{HOST}")).problems] == ["loop"]


def test_as_many_aliases_in_a_row_as_local_takes_and_one_more(house: Lab) -> None:
    file = house.settings.postfix.config_directory / "aliases"
    names = [f"r{number}" for number in range(40)]
    file.write_text("".join(f"{a}: {b}\n" for a, b in pairwise([*names, FIRST])))
    run(["postalias", "-c", str(file.parent), f"hash:{file}"])
    for first in (13, 14, 15, 16, 17):  # so many are left out: 25 in a row are one too many
        found = explain(house.settings, parse_address(f"r{first}@{HOST}"))
        is_delivered = "status=sent" in deliver(house, f"r{first}@{HOST}")
        assert is_delivered is (not found.problems), (first, found.problems)
        assert is_delivered is (40 - first < 25)


def test_a_long_row_of_forward_files_is_followed_to_the_end_that_hops_set(house: Lab) -> None:
    """In a row of users each of whom forwards to the next, every one is a message of its own."""
    users = [one.pw_name for one in pwd.getpwall() if one.pw_name.isalpha() and one.pw_uid][:6]
    for user, following in pairwise(users):
        forward(house, user, f"{following}\n")
    found = explain(house.settings, parse_address(f"{users[0]}@{HOST}"))
    assert ways(found) == {("local_mailbox", f"{users[-1]}@{HOST}")}
    assert [hop.rule for _, hop in found.tree.walk()] == ["dot_forward"] * 5 + ["local_mailbox"]
    with configured(house, hopcount_limit="3"):
        found = explain(house.settings, parse_address(f"{users[0]}@{HOST}"))
        assert [problem.code for problem in found.problems] == ["limit"]
        deliver(house, f"{users[0]}@{HOST}")
        assert "too many hops" in house.log()


def test_an_alias_that_names_itself_goes_to_the_user(house: Lab) -> None:
    set_alias(house, FIRST, FIRST, "x@elsewhere.test")
    deliver(house, f"{FIRST}@{HOST}")
    assert (house.root / "spool-mail" / FIRST).exists()
    found = explain(house.settings, parse_address(f"{FIRST}@{HOST}"))
    assert ways(found) == {("local_mailbox", f"{FIRST}@{HOST}"), ("external", "x@elsewhere.test")}
    assert found.problems == ()


def test_an_unknown_name_is_a_dead_end(house: Lab) -> None:
    assert "unknown user" in deliver(house, f"nobody-here@{HOST}")
    found = explain(house.settings, parse_address(f"nobody-here@{HOST}"))
    assert found.verdict.code == 550
    assert [problem.code for problem in found.problems] == ["dead_end"]


def findings(lab: Lab, *words: str) -> list[dict[str, str]]:
    done = lab.postmaster(*words, "-o", "json", expect=None)
    rows = json.loads(done.stdout)
    assert done.returncode == (4 if rows else 0), done.stderr
    assert {row["code"] for row in rows} <= LOCAL_CODES.keys()
    return list(rows)


def test_a_healthy_alias_file_has_no_finding(house: Lab) -> None:
    set_alias(house, "staff", FIRST, "postmaster@lab.test", "x@elsewhere.test", "|/bin/cat", "/var/tmp/box")
    assert findings(house, "local", "alias", "check") == []
    assert findings(house, "local", "forward", "check", "--all") == []


def test_each_fault_of_an_alias_file_is_found(house: Lab) -> None:
    file = house.settings.postfix.config_directory / "aliases"
    list_file = house.root / "forwards" / "list"
    list_file.write_text(f"|/bin/cat\n:include:{list_file}\nnobody-there\n")
    list_file.chmod(0o646)
    hosted = f"f{next(_numbers)}.test"
    with house.change() as make:
        make.domain(hosted)
    lines = [
        "two, names: x",  # 1
        "twice: games",  # 2
        "twice: news",  # 3
        f"dead: nobody-here, nobody@{hosted}",  # 4
        "one: two",  # 5
        "two: one",  # 6
        "program: |/no/such/program",  # 7
        '"quoted": "|/no/such/program with words"',  # 8
        "box: /no/such/folder/box",  # 9
        f"listed: :include:{list_file}",  # 10
        "missing: :include:/no/such/list",  # 11
        "home: ~/mail",  # 12
    ]
    file.write_text("\n".join(lines) + "\n")
    os.utime(file.with_name("aliases.db"), (1, 1))
    file.chmod(0o664)
    found = [
        (row["code"], row["object"].removeprefix(f"{file}:"))
        for row in findings(house, "local", "alias", "check")
    ]
    assert sorted(found) == sorted(
        [
            ("syntax", "1"),
            ("duplicate", "3"),
            ("dead_target", "4"),
            ("dead_target", "4"),
            ("loop", "5"),
            ("command", "7"),
            ("command", "8"),
            ("file", "9"),
            ("command", f"{list_file}:1"),
            ("loop", f"{list_file}:2"),
            ("dead_target", f"{list_file}:3"),
            ("rights", str(list_file)),
            ("include", "11"),
            ("file", "12"),
            ("rights", str(file)),
            ("not_built", f"{file}.db"),
            ("missing_role", "postmaster"),
            ("missing_role", "root"),
        ]
    )


def test_each_fault_of_a_forward_file_is_found(house: Lab) -> None:
    forward(house, FIRST, "nobody-here\n|/no/such/program\n/no/such/folder/x\n<>\n", 0o664)
    file = forward(house, f"{FIRST}+empty", "# nothing\n")
    found = sorted(
        (row["code"], row["object"].rpartition("/")[2])
        for row in findings(house, "local", "forward", "check", FIRST)
    )
    assert found == sorted(
        [
            ("dead_target", f"{FIRST}:1"),
            ("command", f"{FIRST}:2"),
            ("file", f"{FIRST}:3"),
            ("syntax", f"{FIRST}:4"),
            ("rights", FIRST),
            ("syntax", file.name),
        ]
    )


def test_the_remedies_for_a_forward_file_mend_it_and_follow_no_link(house: Lab) -> None:
    file = forward(house, FIRST, "root\n", 0o666)
    os.chown(file, pwd.getpwnam("mail").pw_uid, -1)
    (row,) = findings(house, "local", "forward", "check", FIRST)
    assert row["code"] == "passed_over"
    run(["sh", "-c", row["remedy"]])
    assert findings(house, "local", "forward", "check", FIRST) == []
    file.chmod(0o620)
    (row,) = findings(house, "local", "forward", "check", FIRST)
    assert row["code"] == "rights"
    run(["sh", "-c", row["remedy"]])
    assert findings(house, "local", "forward", "check", FIRST) == []
    precious = house.root / "it's precious"
    precious.write_text("root's\n")
    precious.chmod(0o600)
    file.unlink()
    file.symlink_to(precious)
    (row,) = findings(house, "local", "forward", "check", FIRST)
    run(["sh", "-c", row["remedy"].partition(";")[0]])
    assert findings(house, "local", "forward", "check", FIRST) == []
    assert (precious.stat().st_uid, precious.stat().st_mode & 0o777) == (0, 0o600)
    file.with_name(f"{file.name}.old").unlink()


def test_a_target_that_a_shell_would_run_is_quoted_in_the_remedy(house: Lab) -> None:
    hosted, mark = f"f{next(_numbers)}.test", house.root / "run"
    with house.change() as make:
        make.domain(hosted)
    forward(house, FIRST, f'"$(touch {mark})"@{hosted}\n', 0o600)
    (row,) = findings(house, "local", "forward", "check", FIRST)
    command, *words = shlex.split(row["remedy"])
    assert (command, words[:2]) == ("postmaster", ["address", "explain"])
    run(["sh", "-c", row["remedy"].replace("postmaster", "true", 1)])
    assert not mark.exists()
    assert "refused at the door" in house.postmaster(*words).stdout


def test_an_alias_with_odd_targets_comes_back_as_it_was(house: Lab) -> None:
    file = house.settings.postfix.config_directory / "aliases"
    targets = [
        '"a b"@elsewhere.test',
        "|/bin/cat > '/var/tmp/x y'",
        ":include:/var/tmp/li st",
        "/var/tmp/b'x",
    ]
    set_alias(house, "o'dd name", *targets)
    before = file.read_text()
    done = house.postmaster("local", "alias", "remove", "o'dd name", "--yes")
    assert file.read_text() != before
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("undo: ")]
    house.postmaster(*shlex.split(line)[4:])
    assert file.read_text() == before


def test_wrong_words_are_refused_in_one_line(house: Lab) -> None:
    for words, text in (
        (("alias", "set", "a@b.test", "root"), "is not a local name"),
        (("alias", "set", "a", "b, c"), "is not one target"),
        (("alias", "show", "nobody"), "there is no local alias nobody"),
        (("alias", "remove", "nobody", "--yes"), "there is no local alias nobody"),
        (("alias", "list", "--file", "/etc/none"), "is no alias file of Postfix"),
        (("forward", "show", "no-such-user"), "there is no account no-such-user"),
        (("forward", "check"), "name one user, or say --all"),
    ):
        said = house.postmaster("local", *words, expect=None)
        assert said.returncode in (1, 2)
        assert text in said.stderr
        assert said.stderr.count("\n") == 1
