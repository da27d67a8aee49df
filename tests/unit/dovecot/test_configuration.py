"""What Dovecot is told, as text; the servers' own parser tries it in tests/server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.address import AUTH_USERNAME_CHARS
from postmaster.dovecot.configuration import Wish, files, with_includes
from postmaster.errors import ServerError
from postmaster.settings import ServerSettings

FOLDER = Path("/etc/dovecot")
WISH = Wish(
    version=(2, 3),
    config=FOLDER / "dovecot.conf",
    source=Path("/var/lib/postmaster/lookups/dovecot.db"),
    queue_directory=Path("/var/spool/postfix"),
    server=ServerSettings(),
    mail_root=Path("/var/vmail"),
    mail_user="vmail",
    mail_group="vmail",
    mail_uid=990,
    certificate=Path("/etc/ssl/c.pem"),
    key=Path("/etc/ssl/k.pem"),
    postmaster="postmaster@example.org",
    hostname="mail.example.org",
)
BOTH = pytest.mark.parametrize("version", [(2, 3), (2, 4)])


@BOTH
def test_the_same_constant_decides_what_may_log_in(version: tuple[int, int]) -> None:
    text = "".join(files(replace(WISH, version=version)).values())
    assert f'auth_username_chars = "{AUTH_USERNAME_CHARS}"' in text


@BOTH
def test_logins_end_with_ours_unless_others_are_kept(version: tuple[int, int]) -> None:
    ours = files(replace(WISH, version=version))[FOLDER / "postmaster-auth.conf"]
    assert ours.count("result_failure = return-fail") == 2
    kept = files(replace(WISH, version=version, keep_system_logins=True))[FOLDER / "postmaster-auth.conf"]
    assert kept.count("result_failure = continue") == 3  # app passwords are never the last to be asked
    assert kept.count("result_internalfail = return-fail") == 3


@BOTH
def test_auth_workers_do_not_run_as_root_and_nothing_is_cached(version: tuple[int, int]) -> None:
    text = files(replace(WISH, version=version))[FOLDER / "postmaster.conf"]
    assert "service auth-worker {\n  user = dovecot\n" in text
    assert "auth_cache_size = 0" in text


def test_dovecot_24_opens_the_look_ups_read_only() -> None:
    assert "sqlite_readonly = yes" in files(replace(WISH, version=(2, 4)))[FOLDER / "postmaster-auth.conf"]


def test_another_version_is_refused() -> None:
    with pytest.raises(ServerError, match=r"Dovecot 3\.0 is not supported"):
        files(replace(WISH, version=(3, 0)))


@pytest.mark.parametrize("bad", ["/a b", "/a'b", '/a"b', "/a\nb", "/a{b", "/a#b", "/a$b", "/a\\b"])
def test_a_path_that_dovecot_could_misread_is_refused(bad: str) -> None:
    for name in ("source", "mail_root", "certificate", "key", "queue_directory"):
        with pytest.raises(ServerError, match="cannot name the path"):
            files(replace(WISH, **{name: Path(bad)}))  # type: ignore[arg-type]


def test_a_percent_sign_in_the_mail_root_is_no_variable() -> None:
    text = files(replace(WISH, mail_root=Path("/srv/100%u")))[FOLDER / "postmaster-sql.conf.ext"]
    assert "'/srv/100%%u/'" in text


LINE = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=30)


@given(st.lists(LINE, max_size=10))
def test_includes_are_put_in_once_and_everything_else_stays(lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    once = with_includes(text, FOLDER)
    assert with_includes(once, FOLDER) == once
    ours = {f"!include {FOLDER}/postmaster-auth.conf", f"!include {FOLDER}/postmaster.conf"}
    assert [line for line in once.splitlines() if line not in ours] == text.splitlines()
    assert once.splitlines()[-1] == f"!include {FOLDER}/postmaster.conf"


def test_the_version_settings_of_24_stay_first() -> None:
    text = "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n!include_try conf.d/*.conf\n"
    assert with_includes(text, FOLDER).splitlines()[:3] == [
        "dovecot_config_version = 2.4.0",
        "dovecot_storage_version = 2.4.0",
        f"!include {FOLDER}/postmaster-auth.conf",
    ]
