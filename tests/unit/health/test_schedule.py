"""Timers and crontabs: what is written, and that nothing strange gets into them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.errors import PostmasterError, UsageError
from postmaster.health import schedule
from postmaster.health.schedule import crontab, parse_daily, parse_every, units
from postmaster.settings import Settings

SETTINGS = replace(Settings(), file=Path("/etc/postmaster/other.toml"))


def wanted(every: str = "5m", daily: str = "07:00", to: str = "ops@example.org") -> schedule.Schedule:
    return schedule.schedule(SETTINGS, every, daily, to)


@pytest.mark.parametrize(
    ("text", "seconds"), [("5m", 300), ("5min", 300), ("5", 300), ("90s", 90), ("2h", 7200), ("1d", 86_400)]
)
def test_a_time_between_runs(text: str, seconds: int) -> None:
    assert parse_every(text) == seconds


@given(st.text() | st.from_regex(r"[0-9]{1,7}[a-z]{0,3}"))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    for parse in (parse_every, parse_daily):
        try:
            parse(text)
        except UsageError:
            continue
        assert re.fullmatch(r"[0-9]+(s|m|min|h|d|:[0-9]{2})?", text.strip())


@pytest.mark.parametrize(
    "words",
    [
        {"every": "0m"},
        {"every": "59s"},
        {"every": "25h"},
        {"every": "5m\nExecStart=/bin/sh"},
        {"daily": "24:00"},
        {"daily": "7"},
        {"daily": "*:0/1"},
        {"daily": "07:00\nOnCalendar=*"},
        {"to": "amy"},
        {"to": "a%h@example.org"},
        {"to": "$HOME@example.org"},
        {"to": '"a b"@example.org'},
        {"to": "a@example.org\nroot@example.org"},
        {"to": "a'b@example.org"},
    ],
)
def test_what_is_strange_is_refused(words: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        wanted(**words)


def test_a_path_that_needs_quotes_is_refused() -> None:
    for name in ("/etc/with space.toml", "/etc/%h.toml", "/etc/a\nb.toml", "/etc/$x", "/etc/'q'"):
        with pytest.raises(UsageError, match="cannot be written into"):
            schedule.schedule(replace(SETTINGS, file=Path(name)), "5m", "07:00", "")


@given(
    st.text(max_size=20) | st.sampled_from(["5m", "60s", "1h"]),
    st.text(max_size=20) | st.just("07:00"),
    st.text(max_size=30) | st.emails() | st.just(""),
)
def test_nothing_gets_into_the_files_but_what_has_the_form(every: str, daily: str, to: str) -> None:
    try:
        made = wanted(every, daily, to)
        files = {**dict(units(made)), **dict(crontab(made))}
    except PostmasterError:
        return
    usual = {**dict(units(wanted())), **dict(crontab(wanted()))}
    for path, content in files.items():
        assert content.isascii()
        keys = [line.partition("=")[0] for line in content.splitlines()]
        if not made.to:
            keys_wanted = [key for key in map(_key, usual[path].splitlines()) if "REPORT_TO" not in key]
            assert len(keys) == len(keys_wanted)
        else:
            assert len(keys) == len(usual[path].splitlines())


def _key(line: str) -> str:
    return line if "REPORT_TO" in line else line.partition("=")[0]


def test_the_crontab() -> None:
    ((path, content),) = crontab(wanted("10m", "6:05"))
    program = schedule._program()
    assert path == Path("/etc/cron.d/postmaster-health")
    assert content.splitlines() == [
        schedule.MARK,
        "SHELL=/bin/sh",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "POSTMASTER_HEALTH_REPORT_TO=ops@example.org",
        f"*/10 * * * * root {program} --config /etc/postmaster/other.toml health check --changes --every 600s"
        " -o mail --send",
        f"5 6 * * * root {program} --config /etc/postmaster/other.toml health digest --send",
    ]


@pytest.mark.parametrize(
    ("every", "times"),
    [("1m", "*/1 * * * *"), ("30m", "*/30 * * * *"), ("2h", "0 */2 * * *"), ("1d", "0 0 * * *")],
)
def test_times_that_cron_keeps(every: str, times: str) -> None:
    ((_, content),) = crontab(wanted(every))
    assert content.splitlines()[4].startswith(f"{times} root ")


@pytest.mark.parametrize("every", ["7m", "90s", "59m", "61m", "5h", "90m"])
def test_times_that_cron_cannot_keep_are_refused(every: str) -> None:
    with pytest.raises(UsageError, match="cron cannot run"):
        list(crontab(wanted(every)))
