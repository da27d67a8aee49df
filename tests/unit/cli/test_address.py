"""How the way of an address is drawn: whole lines into a pipe, wrapped under their place on a terminal."""

from __future__ import annotations

import io

import pytest

from postmaster.cli import address
from postmaster.routing.hops import Explanation, Hop, Verdict

TREE = Hop(
    "team@example.org",
    "alias",
    "alias",
    "proxy:sqlite:/etc/postfix/postmaster/aliases.cf",
    "team@example.org",
    hops=[
        Hop("amy@example.org", "mailbox", "mailbox amy@example.org, by lmtp to unix:private/dovecot-lmtp"),
        Hop(
            "bob@example.org",
            "forward",
            "forward",
            hops=[Hop("b\x1b[31m@elsewhere.example", "external", "leaves")],
        ),
    ],
)
FOUND = Explanation(
    *("team@example.org", "", Verdict(250, "virtual_alias_maps", "found"), TREE, (), ("amy@example.org",)),
    *((), (), (), {}, ("a note of a few words that is longer than a narrow terminal",)),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, out: io.StringIO, columns: int) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout", out)
    address._print_tree(FOUND)
    return out.getvalue().splitlines()


def test_into_a_pipe_a_hop_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(monkeypatch, io.StringIO(), 40)
    assert lines[:4] == [
        "team@example.org: alias [aliases.cf]",
        "├─ amy@example.org: mailbox amy@example.org, by lmtp to unix:private/dovecot-lmtp",
        "└─ bob@example.org: forward",
        "   └─ b\\x1b[31m@elsewhere.example: leaves",
    ]
    assert lines[-1].startswith("note        a note of a few words that is longer than")


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_on_a_terminal_no_line_is_longer_than_it_is_wide(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    lines = drawn(monkeypatch, Terminal(), columns)
    assert max(map(len, lines)) <= columns
    whole = drawn(monkeypatch, io.StringIO(), columns)
    words = [word for line in whole for word in line.split()]
    assert [word for line in lines for word in line.replace("│", " ").split()] == words


def test_what_continues_a_hop_hangs_under_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, Terminal(), 60)[1:3] == [
        "├─ amy@example.org: mailbox amy@example.org, by lmtp to",
        "│     unix:private/dovecot-lmtp",
    ]
