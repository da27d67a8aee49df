"""Numbers that are too large for a database or the system, given to every command that takes one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from postmaster.cli.lazy import LARGEST, LONGEST
from postmaster.cli.main import app

from .conftest import Cli


def _commands(words: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands((*words, name), inner)


def _is_number(parameter: Any) -> bool:
    return getattr(parameter.type, "_number_class", None) in (int, float)


def _cases() -> Iterator[tuple[str, list[str], Any]]:
    """(name, words in which {} is the number, its parameter) of every number in the tree."""
    for words, command in _commands((), typer.main.get_command(app)):
        for number in filter(_is_number, command.params):
            given = list(words)
            for other in command.params:
                is_option = other.param_type_name == "option"
                if other is number:
                    given += [other.opts[-1], "{}"] if is_option else ["{}"]
                elif other.required:
                    given += [other.opts[-1], "x@example.org"] if is_option else ["x@example.org"]
            yield " ".join((*words, number.name)), given, number


CASES = list(_cases())


def test_there_are_numbers_of_each_kind() -> None:
    kinds = {(number.type._number_class, number.param_type_name) for _, _, number in CASES}
    assert kinds >= {(int, "argument"), (int, "option"), (float, "option")}
    assert {"queue history show number", "undo entries", "queue summary limit"} <= {one[0] for one in CASES}


def test_a_number_that_nothing_can_hold_is_refused_in_one_line(cli: Cli) -> None:
    for name, words, number in CASES:
        values = ["99999999999999999999", str(LARGEST + 1)]
        if number.type._number_class is float:
            values = ["1e300", "inf", "nan", str(LONGEST * 2)]
        for value in values:
            done = cli(*(word.format(value) for word in words), expect=3 if words[0] == "health" else 2)
            assert done.err.startswith("postmaster: Invalid value for"), (name, value)
            assert "range" in done.err, (name, value)
            assert done.err.count("\n") == 1, (name, value)
            assert done.out == "", (name, value)


def test_the_largest_number_is_one_like_any_other(cli: Cli) -> None:
    for _, words, _ in CASES:
        assert "unexpected" not in cli(*(word.format(LARGEST) for word in words), expect=None).err, words
