"""Dumps as mysqldump, pg_dump and sqlite3 write them give back their rows, whatever is in the values."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postmaster.bulk.foreign import dump
from postmaster.errors import UsageError

_values = st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_rows = st.lists(st.tuples(_values, _values, st.integers(-(10**12), 10**12)), max_size=8)


def mysql_text(text: str) -> str:
    """As mysql_real_escape_string(3) does it."""
    for one, escaped in (
        ("\\", "\\\\"),
        ("'", "\\'"),
        ('"', '\\"'),
        ("\n", "\\n"),
        ("\r", "\\r"),
        ("\x1a", "\\Z"),
    ):
        text = text.replace(one, escaped)
    return f"'{text}'"


@given(_rows)
def test_of_mysql(rows: list[tuple[str | None, str | None, int]]) -> None:
    lines = [
        "-- MySQL dump 10.13  it's a comment",
        "/*!40101 SET NAMES utf8mb4 */;",
        "DROP TABLE IF EXISTS `t`;",
    ]
    lines += ["CREATE TABLE `t` (", "  `A` varchar(9) NOT NULL DEFAULT 'x,)', `b` text,", "  `n` int(10),"]
    lines += [
        "  PRIMARY KEY (`A`), KEY `k` (`b`(9),`n`)",
        ") ENGINE=InnoDB COMMENT='a; b';",
        "LOCK TABLES `t` WRITE;",
    ]
    for group in (rows[:3], rows[3:]):
        told = [
            "("
            + ",".join("NULL" if v is None else mysql_text(v) if isinstance(v, str) else str(v) for v in row)
            + ")"
            for row in group
        ]
        if told:
            lines.append(f"INSERT INTO `t` VALUES {','.join(told)};")
    lines += ["INSERT INTO `other` VALUES (1,'(');", "UNLOCK TABLES;"]
    found = dump.read("\n".join(lines), {"t"})
    assert found.problems == []
    assert [tuple(one.values.values()) for one in found.tables.get("t", [])] == [
        (a, b, str(n)) for a, b, n in rows
    ]


def copied(value: object) -> str:
    """As COPY TO does it."""
    if value is None:
        return "\\N"
    text = str(value).replace("\\", "\\\\")
    for one, letter in (("\n", "n"), ("\r", "r"), ("\t", "t"), ("\b", "b"), ("\f", "f"), ("\v", "v")):
        text = text.replace(one, f"\\{letter}")
    return text


@given(_rows)
def test_of_postgresql(rows: list[tuple[str | None, str | None, int]]) -> None:
    lines = ["--", "-- PostgreSQL database dump", "--", "SET standard_conforming_strings = on;"]
    lines += ["CREATE FUNCTION f() RETURNS void AS $_$ INSERT INTO t VALUES ('x'); $_$ LANGUAGE sql;"]
    lines += ["CREATE TABLE public.t (a text DEFAULT '\\'::text, b text, n bigint);"]
    lines += [
        'COPY public.t (a, b, "n") FROM stdin;',
        *("\t".join(map(copied, row)) for row in rows),
        "\\.",
        "",
    ]
    lines += ["COPY public.other (x) FROM stdin;", "it's", "\\.", "SELECT 'it''s';"]
    found = dump.read("\n".join(lines), {"t"})
    assert found.problems == []
    assert [tuple(one.values.values()) for one in found.tables.get("t", [])] == [
        (a, b, str(n)) for a, b, n in rows
    ]


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=40)
@given(_rows)
def test_of_sqlite_by_its_own_dump(rows: list[tuple[str | None, str | None, int]]) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute('CREATE TABLE "t" (a TEXT, b TEXT, n INTEGER)')
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
        text = "\n".join(connection.iterdump())
    found = dump.read(text, {"t"})
    assert [tuple(one.values.values()) for one in found.tables.get("t", [])] == [
        (a, b, str(n)) for a, b, n in rows
    ]


@given(st.text("`'\"\\();,-/*$\n INSERTvalueCOPYstdinx0123CREATE", max_size=120))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        dump.read(text, {"x", "values"})
    except UsageError as error:
        said = error.message
        assert "line" in said


@pytest.mark.parametrize(
    "text", ["INSERT INTO t VALUES ('a", "/* x", "SELECT `a", "COPY t (a) FROM stdin;\nx\n"]
)
def test_what_never_ends_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"line 1: .* never end"):
        dump.read(text, {"t"})


def test_a_row_with_too_few_values_is_named_and_the_rest_is_read() -> None:
    found = dump.read("INSERT INTO t (a, b) VALUES (1, 2),\n(3),\n(4, 5);", {"t"})
    assert [one.values for one in found.tables["t"]] == [{"a": "1", "b": "2"}, {"a": "4", "b": "5"}]
    assert found.problems == [("line 2", "a row of t has 1 values, and there are 2 columns")]


def test_a_command_of_psql_ends_with_its_line() -> None:
    text = "\\restrict a'b\n\\connect x\nINSERT INTO t (a) VALUES ('1');\n\\unrestrict a'b"
    assert [one.values for one in dump.read(text, {"t"}).tables["t"]] == [{"a": "1"}]


def test_a_table_without_rows_is_there_and_tables_that_are_not_read_are_named_if_they_have_some() -> None:
    found = dump.read(
        "CREATE TABLE t (a text);\nCREATE TABLE empty (a text);\nCREATE TABLE more (a text);\n"
        "INSERT INTO more VALUES (1);\nCOPY u (a) FROM stdin;\n\\.\nCOPY v (a) FROM stdin;\nx\n\\.\n",
        {"t", "u"},
    )
    assert found.tables == {"t": [], "u": []}
    assert found.others == {"more", "v"}


def test_the_same_table_of_two_databases_is_refused() -> None:
    text = "USE `a`;\nCREATE TABLE `t` (`a` text);\nUSE `b`;\nCREATE TABLE `T` (`b` text);"
    with pytest.raises(UsageError, match="line 4: the table t is there twice"):
        dump.read(text, {"t"})
    assert dump.read(text, {"x"}).tables == {}
