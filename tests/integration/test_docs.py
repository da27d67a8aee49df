"""The pages under docs/ say what the program does: made from it, or held against it here."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from postmaster import errors
from postmaster.address import parse_address
from postmaster.directory import lookups
from postmaster.health import alone, state
from postmaster.health.checks import NAMES, load
from postmaster.health.finding import Finding, Measure, Severity
from postmaster.health.report import Report, Reported, prometheus
from postmaster.postfix import configuration
from postmaster.queue import expression, store, trash
from postmaster.routing import hops, sender
from postmaster.routing.check import CODES
from postmaster.routing.check_local import LOCAL_CODES
from postmaster.settings import PREFIX, Settings
from tests.tools import code_table, command_pages
from tests.tools.documented import DOCS, ROOT, rows, section

PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md")])
ELSEWHERE = (expression, alone, state, store, trash)  # rooms with errors of their own
BENEATH = {"answer", "open_target", "may"}  # views that no server asks, only other views
TYPES = {
    "str": "text",
    "Path": "path",
    "tuple[Path, ...]": "paths",
    "tuple[str, ...]": "texts",
    "int": "whole number",
    "float": "number",
    "bool": "true or false",
}


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    assert command_pages.PAGE.read_text(encoding="utf-8") == command_pages.page(), "run: make docs"


def test_the_page_of_health_has_every_check_and_code() -> None:
    assert code_table.PAGE.read_text(encoding="utf-8") == code_table.page(), "run: make docs"
    text = code_table.page()
    for name in NAMES:
        assert all(f"| `{name}` | `{code}` | " in text for code in load(name).codes)


def test_the_page_of_health_has_every_metric() -> None:
    finding = Finding("a", "b", "bad", Severity.critical, "m", None, (Measure("c", 1),))
    text = prometheus.text(Report(0, "h", 0, (Reported(finding, 0),)))
    real = {family.name: sorted(family.samples[0].labels) for family in text_string_to_metric_families(text)}
    written = {
        row[0]: sorted(filter(None, row[1].split(", ")))
        for row in rows(section("health.md", "Monitoring systems"))
    }
    assert written == real


def test_the_page_of_commands_has_every_option_and_example() -> None:
    text = command_pages.page()
    for option in ("--alias-of NAME", "--login, --no-login", "--keep-copy, --no-keep-copy", "--skip NAME"):
        assert f"- `{option}`: " in text
    assert "\npostmaster alias set [OPTIONS] ADDRESS TARGET…\n" in text
    assert '\nprintf %s "$SECRET" | postmaster user add bob@example.org --password-stdin\n' in text
    assert "Default: `--keep-copy`." in text


def _default(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return str(value) if value != "" else '""'


def test_the_page_of_settings_has_every_key_with_type_default_and_variable_and_no_other() -> None:
    real = [
        [f"{name.name}.{key.name}", TYPES[str(key.type)], _default(getattr(group, key.name)), variable]
        for name in fields(Settings)
        if is_dataclass(group := getattr(Settings(), name.name))
        for key in fields(group)
        for variable in [f"{PREFIX}{name.name}_{key.name}".upper()]
    ]
    written = rows((DOCS / "settings.md").read_text(encoding="utf-8"))
    assert [row[:4] for row in written] == real
    assert all(len(row) == 5 and row[4] for row in written)


def test_the_page_of_conventions_has_every_code_of_an_error() -> None:
    assert ELSEWHERE
    real: dict[str, int] = {"unexpected": 1}  # a mistake of ours, caught in the command line
    kinds: list[type[errors.PostmasterError]] = [errors.PostmasterError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        real[kind.code] = kind.exit_status
    assert {row[0]: int(row[1]) for row in rows(section("conventions.md", "Codes"))} == real


@pytest.mark.parametrize("file", lookups.FILES, ids=lambda file: file.name)
def test_the_page_of_compatibility_has_every_view_that_servers_read(file: lookups.LookupFile) -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(file.schema)
        views = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'view'")]
        real = {
            view: ", ".join(column[0] for column in database.execute(f"SELECT * FROM {view}").description)
            for view in views
            if view not in BENEATH
        }
    assert {row[0]: row[1] for row in rows(section("compatibility.md", f"Views in {file.name}"))} == real


def test_the_page_of_servers_has_every_parameter() -> None:
    class Every(frozenset[str]):
        """The parameters of a Postfix that has them all."""

        def __contains__(self, name: object) -> bool:
            return True

    wish = configuration.Wish(
        *(Path("/etc/postfix"), Settings().server, Path("/c.pem"), Path("/k.pem"), parse_address("p@x.test")),
        probe="probe@x.test",
    )
    owned = configuration.owned_parameters(wish, Every())
    merged = configuration.merged_parameters(wish, {}, {"proxy_read_maps": ""})
    written = [row[0] for row in rows(section("servers.md", "Parameters in main.cf"))]
    assert sorted(written) == sorted([*owned, *merged])


@pytest.mark.parametrize(
    ("heading", "real"),
    [
        ("Codes of directory check", set(CODES)),
        ("Codes of local alias check and local forward check", set(LOCAL_CODES)),
        ("Rules", set(hops.RULES)),
        ("Problems", set(hops.PROBLEMS)),
        ("postmaster sender", set(sender.RULES)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_page_of_routing_has_every_code_and_rule(heading: str, real: set[str]) -> None:
    assert {row[0] for row in rows(section("routing.md", heading))} == real


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target
