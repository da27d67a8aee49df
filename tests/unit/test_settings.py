"""Settings: where they come from, what wins, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.errors import SettingsError
from postmaster.settings import Settings, as_toml, load_settings


def test_without_a_file_the_defaults_hold() -> None:
    assert load_settings(None, {"POSTMASTER_CONFIG": ""}) == Settings()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "postmaster.toml"
    file.write_text('[postfix]\nconfig_directory = "/srv/a"\n[health]\nqueue_warning = 7\n')
    settings = load_settings(file, {"POSTMASTER_POSTFIX_CONFIG_DIRECTORY": "/srv/b", "HOME": "/root"})
    assert settings.postfix.config_directory == Path("/srv/b")
    assert settings.health.queue_warning == 7
    assert settings.file == file


def test_the_variable_names_the_file_unless_the_option_does(tmp_path: Path) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text("[health]\ndeadline = 1\n")
    two.write_text("[health]\ndeadline = 2.5\n")
    assert load_settings(None, {"POSTMASTER_CONFIG": str(one)}).health.deadline == 1.0
    assert load_settings(two, {"POSTMASTER_CONFIG": str(one)}).health.deadline == 2.5


def test_a_list_of_files_in_both_forms(tmp_path: Path) -> None:
    file = tmp_path / "postmaster.toml"
    file.write_text('[log]\nfiles = ["/var/log/mail.log", "/var/log/dovecot.log"]\n')
    both = (Path("/var/log/mail.log"), Path("/var/log/dovecot.log"))
    assert load_settings(file, {}).log.files == both
    assert load_settings(None, {"POSTMASTER_LOG_FILES": ":".join(map(str, both))}).log.files == both


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[postfx]\n", r"unknown setting \[postfx\]"),
        ("[postfix]\nconfig_dir = '/srv'\n", "unknown setting postfix.config_dir"),
        ("[health]\nqueue_warning = 'many'\n", "health.queue_warning"),
        ("[health]\nqueue_warning = 1.5\n", "health.queue_warning"),
        ("[health]\nqueue_warning = -1\n", "health.queue_warning"),
        ("[health]\nqueue_warning = true\n", "health.queue_warning"),
        ("[health]\ndeadline = nan\n", "health.deadline"),
        ("[postfix]\nconfig_directory = 5\n", "postfix.config_directory"),
        ("[postfix]\nconfig_directory = ''\n", "postfix.config_directory"),
        ("[log]\nfiles = [1]\n", "log.files"),
        ("health = 1\n", "must be a section"),
        ("[health\n", "is not TOML"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "postmaster.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=why):
        load_settings(file, {})


def test_the_nearest_known_name_is_the_hint(tmp_path: Path) -> None:
    file = tmp_path / "postmaster.toml"
    file.write_text("[helth]\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(file, {})
    assert caught.value.hint == "did you mean [health]?"
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {"POSTMASTER_POSTFIX_CONFIG_DIR": "/srv"})
    assert caught.value.hint == "did you mean POSTMASTER_POSTFIX_CONFIG_DIRECTORY?"


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        load_settings(tmp_path / "none.toml", {})
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path, {})
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="is not TOML"):
        load_settings(tmp_path / "binary", {})


@given(st.binary(max_size=200))
def test_any_file_is_taken_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes(content)
    said = ""
    try:
        load_settings(file, {})
    except SettingsError as error:
        said = error.message
    assert "\n" not in said


@given(
    text=st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40),
    number=st.integers(0, 10**9),
    limit=st.floats(0, 1e9),
)
def test_what_is_written_reads_back(
    tmp_path_factory: pytest.TempPathFactory, text: str, number: int, limit: float
) -> None:
    from dataclasses import replace

    settings = Settings()
    settings = replace(
        settings,
        mail=replace(settings.mail, user=text, root=Path(text)),
        log=replace(settings.log, files=(Path(text), Path("/b"))),
        health=replace(
            settings.health,
            queue_warning=number,
            deadline=limit,
            resolver=(text, "b"),
            dns=number % 2 == 0,
        ),
    )
    file = tmp_path_factory.getbasetemp() / "round.toml"
    file.write_text(as_toml(settings))
    assert load_settings(file, {}) == replace(settings, file=file)


def test_only_what_differs_is_written() -> None:
    assert as_toml(Settings()) == "\n"
