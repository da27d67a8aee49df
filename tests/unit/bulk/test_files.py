"""What is written in a format is read from it again, and hostile files are refused in one line."""

from __future__ import annotations

import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postmaster.bulk import fields, reading, writing
from postmaster.bulk.writing import As
from postmaster.directory.entries import Entry, UserEntry
from postmaster.errors import PostmasterError, UsageError
from tests.tools.building import HASH, A
from tests.tools.entries import directories


def written(entries: list[Entry], form: As, *, hashes: bool = True) -> str:
    output = io.StringIO()
    assert writing.write(output, form, iter(entries), hashes=hashes) == len(entries)
    return output.getvalue()


@pytest.mark.parametrize("form", list(As))
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(entries=directories())
def test_every_format_gives_back_what_was_written(form: As, entries: list[Entry]) -> None:
    read = reading.parse(written(entries, form), form)
    assert read.problems == []
    found = {(one.entry.kind, one.entry.key): one.entry for one in read.listed}
    # An empty password and one that is not named are the same where a field that is empty says nothing.
    wanted = {
        (one.kind, one.key): fields.entry(one.kind, {k: _text(v) for k, v in fields.shown(one).items()})
        for one in entries
    }
    assert found == wanted
    assert form is As.csv or read.manages == frozenset(writing.SECTIONS)


def refusal(text: str, form: As) -> str:
    """Why a file is none, or what the first row in it is not; empty where all of it was read."""
    try:
        read = reading.parse(text, form)
    except PostmasterError as error:
        return error.message
    return read.problems[0].message if read.problems else ""


def _text(value: object) -> str | list[str] | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return [str(one) for one in value]
    return None if value is None else str(value)


@pytest.mark.parametrize("form", list(As))
def test_without_hashes_there_is_no_hash_in_the_file(form: As) -> None:
    text = written([UserEntry(A("amy@g.test"), password=HASH)], form, hashes=False)
    assert "ARGON2" not in text
    assert "password" not in text.replace("app_passwords", "")


def test_a_spreadsheet_finds_no_formula_and_one_apostrophe_is_taken_off() -> None:
    text = written([UserEntry(A("=x@g.test"), name="@SUM(A1)"), UserEntry(A("'q@g.test"), name="'")], As.csv)
    rows = text.splitlines()[1:]
    assert "'=x@g.test,'@SUM(A1)," in rows[0]
    assert "''q@g.test,''," in rows[1]
    read = reading.parse(text, As.csv)
    assert [one.entry.title for one in read.listed] == ["=x@g.test", "'q@g.test"]
    assert [one.entry.name for one in read.listed if isinstance(one.entry, UserEntry)] == ["@SUM(A1)", "'"]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (As.csv, 'address,quota\namy@g.test,2G\n"a\nb",1\nbob@g.test,x\n'),
        (
            As.json,
            '{"users": [{"address": "amy@g.test", "quota": "2G"},\n{"address": "a\\nb"},\n\n'
            '{"address":"bob@g.test","quota":"x"}]}',
        ),
        (As.yaml, "users:\n- address: amy@g.test\n- address: 'a b'\n\n\n- {address: bob@g.test, quota: x}\n"),
        (
            As.toml,
            "[[users]]\naddress='amy@g.test'\n[[users]]\naddress='a b'\n\n"
            "[[users]]\naddress='bob@g.test'\nquota='x'\n",
        ),
    ],
)
def test_each_bad_row_is_named_with_its_line_and_the_rest_is_read(form: As, text: str) -> None:
    read = reading.parse(text, form)
    assert [one.entry.title for one in read.listed] == ["amy@g.test"]
    lines = {As.csv: (3, 5), As.json: (2, 4), As.yaml: (3, 6), As.toml: (3, 6)}[form]
    assert [one.place for one in read.problems] == [f"line {line}" for line in lines]
    assert "'x' is no size" in read.problems[1].message


@pytest.mark.parametrize(
    "text",
    [
        "users: [}",
        "- a",
        "users: x",
        "a: [",
        "users:\n- &a [*a]",
        "!!python/object/apply:os.system ['true']",
        "nobody: []",
        "users: []\nusers: []",
        "complete: perhaps",
        "? [a]\n: b",
        "\x00",
        "users: " + "[" * 300,
        "&a [*a]",
        "%YAML 9.9\n---\na",
        "",
    ],
)
def test_yaml_that_is_no_directory_is_refused_in_one_line(text: str) -> None:
    said = refusal(text, As.yaml)
    assert said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("form", "text", "line"),
    [
        (As.yaml, "domains: []\nusers:\n", 2),
        (As.yaml, "users:\n\naliases: []\n", 1),
        (As.yaml, "domains: []\nforwards: ~\n", 2),
        (As.yaml, "domains: []\ngrants: ''\n", 2),
        (As.json, '{"domains": [],\n"users": null}', 2),
    ],
)
def test_a_section_with_nothing_behind_it_does_not_say_that_there_is_none(
    form: As, text: str, line: int
) -> None:
    """To apply it would take away all that there is, and it is what is left of a list cut out by mistake."""
    with pytest.raises(UsageError) as refused:
        reading.parse(text, form)
    assert refused.value.message.startswith(f"line {line}: nothing stands after ")
    assert " []" in (refused.value.hint or "")


def test_names_that_other_versions_of_yaml_take_for_something_else_are_names() -> None:
    text = "users:\n- address: no@g.test\n  name: no\n- address: on@g.test\n  name: 12\n"
    read = reading.parse(text, As.yaml)
    assert [one.entry.name for one in read.listed if isinstance(one.entry, UserEntry)] == ["no", "12"]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (As.json, '{"users": [{"address": "amy@g.test", "address": "bob@g.test"}]}'),
        (As.yaml, "users:\n- address: amy@g.test\n  address: bob@g.test\n"),
        (As.toml, "[[users]]\naddress = 'amy@g.test'\naddress = 'bob@g.test'\n"),
        (As.csv, "address,address\namy@g.test,bob@g.test\n"),
    ],
)
def test_a_field_that_stands_twice_is_never_the_last_of_them(form: As, text: str) -> None:
    said = refusal(text, form)
    assert said in (
        "'address' is given twice",
        "line 3: no TOML: Cannot overwrite a value",
        "line 1: a field is named twice",
    )


@pytest.mark.parametrize("mark", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_a_table_has_any_mark_that_spreadsheets_write_and_a_heading_in_any_case(mark: str) -> None:
    rows = (("Address", " Name"), ("amy@g.test", '"A, B; C"'), ("bob@g.test", '"x\ty"'))
    read = reading.parse("\r\n".join(mark.join(row) for row in rows), As.csv)
    assert [(one.entry.title, one.place) for one in read.listed] == [("amy@g.test", "line 2")]
    assert [one.place for one in read.problems] == ["line 3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('address,name\namy@g.test,"open\nbob@g.test,x\n', "line 2: no CSV: unexpected end of data"),
        ("address,name\n\namy@g.test," + "x" * (1 << 21), "line 3: no CSV: field larger than field limit"),
    ],
    ids=["open", "long"],
)
def test_a_broken_row_is_named_by_the_line_where_it_begins(text: str, message: str) -> None:
    assert refusal(text, As.csv).startswith(message)


@pytest.mark.parametrize("form", list(As))
@given(text=st.text(max_size=200) | st.text("{}[]\",:-\n #='ausers address", max_size=60))
def test_any_text_is_read_or_refused(form: As, text: str) -> None:
    refusal(text, form)


@given(st.text(max_size=80))
def test_a_mail_folder_never_leads_out_of_the_mail_root(text: str) -> None:
    try:
        found = fields.mail_id(text)
    except UsageError:
        return
    assert not found.startswith(("/", "."))
    assert not {"", ".", ".."} & set(found.split("/"))
