"""Words come through a shell as they are; each command that is shown exists, and is made of such words."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

import postmaster
from postmaster.address import parse_address, parse_domain
from postmaster.cli.main import COMMANDS, app
from postmaster.shell import word

#: Where `postmaster setup` begins a sentence.
PROSE = "lab/base.py"
SOURCES = sorted(Path(postmaster.__file__).parent.rglob("*.py"))
COMMAND = re.compile(rf"\bpostmaster (?=(?:{'|'.join(COMMANDS)})\b|$)")
PROGRAM = re.compile(r"(?:^|(?<=; )|(?<=with: ))(?:fuser|chmod|chown|mkdir|mv|rm|runuser|postalias) ")
END = re.compile(r"[;,:)?.](?=[\s:)]|$)| && |`|\n|$")  # of a command within a text; prose follows
#: Names of values that hold nothing which a shell could read otherwise: numbers, queue IDs, ready-made words.
HARMLESS = {
    "command",  # of the history, as it was typed
    *("one.undone_by", "later", "entry.number"),
    *("number", "numbers[0]", "queue_id", "which", "here.oldest_id", "choose", "history", "kind", "other"),
    *(
        "there.kind",
        "noun",
        "look",
        "__version__",
        "held",
        "token",
        "check.name",
        "hint",
        "' '.join(words)",
        "' '.join(map(word, words))",
    ),
}


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1))
def test_a_shell_reads_each_word_as_it_was(words: list[str]) -> None:
    line = "printf '%s\\0' " + " ".join(map(word, words))
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == words


def test_what_needs_no_quotes_has_none() -> None:
    for plain in ("amy@example.org", "@example.org", "12", "--yes", "/var/backups/a.db", "a+b@example.org"):
        assert word(plain) == plain
    assert word("o'brien@example.org") == "'o'\\''brien@example.org'"
    assert word("") == "''"
    assert word("~amy@example.org") == "'~amy@example.org'"


def test_a_name_with_hidden_characters_is_written_by_its_a_labels() -> None:
    hidden = "xn--mgba3gch31f060k.example"  # a zero-width non-joiner, which IDNA allows there
    assert word(parse_domain(hidden)) == hidden
    assert word(parse_address(f"amy@{hidden}")) == f"amy@{hidden}"
    assert word(parse_address("amy@bücher.example")) == "'amy@bücher.example'"


Piece = str | ast.expr


def _pieces(node: ast.expr) -> list[Piece]:
    """Text and what is put between, of a literal; nothing of anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return [
            found
            for one in node.values
            for found in ([one.value] if isinstance(one, ast.FormattedValue) else _pieces(one))
        ]
    return []


def _texts() -> Iterator[tuple[str, list[Piece]]]:
    """(place, pieces) of each literal in the package that is not a docstring."""
    for source in SOURCES:
        tree = ast.parse(source.read_text())
        inner: set[int] = set()
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
                inner.add(id(body[0].value))
            if isinstance(node, ast.JoinedStr):
                inner |= {id(one) for one in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in inner:
                pieces = _pieces(node)
                if pieces:
                    yield f"{source}:{node.lineno}", pieces


def _commands(start: re.Pattern[str]) -> Iterator[tuple[str, list[Piece]]]:
    """Each command in the literals, from its first word to where prose goes on."""
    for place, pieces in _texts():
        for at, piece in enumerate(pieces):
            for found in start.finditer(piece) if isinstance(piece, str) else ():
                command: list[Piece] = []
                for one in [str(piece)[found.start() :], *pieces[at + 1 :]]:
                    end = END.search(one) if isinstance(one, str) else None
                    cut = isinstance(one, str) and end is not None and end.start() < len(one)
                    command.append(one[: end.start()] if cut and end and isinstance(one, str) else one)
                    if cut:
                        break
                yield place, command


SHOWN = [pytest.param(place, pieces) for place, pieces in _commands(COMMAND)]


def test_there_are_commands_to_look_at() -> None:
    assert len(SHOWN) > 150
    assert len(list(_commands(PROGRAM))) >= 4


def test_what_is_put_into_a_command_is_a_word_of_a_shell() -> None:
    bare = [
        f"{place}: {ast.unparse(one)}"
        for place, pieces in [*_commands(COMMAND), *_commands(PROGRAM)]
        if "gathering.py" not in place  # it quotes before what it puts together
        for one in pieces
        if isinstance(one, ast.expr) and not _is_word(one)
    ]
    assert bare == []


def _is_word(one: ast.expr) -> bool:
    if ast.unparse(one) in HARMLESS:
        return True
    return isinstance(one, ast.Call) and ast.unparse(one.func) in ("word", "held_of", "shlex.quote")


def test_each_command_that_is_shown_exists_with_its_options() -> None:
    wrong = {
        f"{place}: {text}: {mistake}"
        for place, text in map(_joined, _commands(COMMAND))
        if PROSE not in place and (mistake := _mistake(text))
    }
    assert wrong == set()


def _joined(found: tuple[str, list[Piece]]) -> tuple[str, str]:
    place, pieces = found
    words = (one if isinstance(one, str) else " X" if ast.unparse(one) == "choose" else "X" for one in pieces)
    return place, "".join(words)


ROOT: Any = typer.main.get_command(app)


def _mistake(text: str) -> str | None:
    """What is wrong with a command: a word that names none, an option that it has not."""
    command, words = ROOT, re.sub(r"'[^']*'", "X", text).split()[1:]
    while hasattr(command, "commands"):
        if not words or words[0] == "--help":
            return "" if not words and command is not ROOT else "no command"
        name = words.pop(0)
        if name == "X":
            return None  # the noun follows what is being looked at
        if name not in command.commands:
            return None if command.invoke_without_command else f"no command {name}"  # prose follows
        command = command.commands[name]
    known = {text for one in command.params for text in (*one.opts, *one.secondary_opts)} | {"--help", "--"}
    unknown = [one for one in words if one.startswith("--") and one.partition("=")[0] not in known]
    return f"no option {unknown[0]}" if unknown else None


def test_a_command_that_is_wrong_would_be_seen() -> None:
    assert _mistake("postmaster user forget X") == "no command forget"
    assert _mistake("postmaster user set X --sing") == "no option --sing"
    assert _mistake("postmaster user trash purge --unfinished") is None
