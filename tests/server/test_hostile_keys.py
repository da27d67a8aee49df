"""Keys from outside, asked through the real Postfix and Dovecot."""

from __future__ import annotations

import subprocess

from postmaster.dovecot.configuration import AUTH_FILE
from postmaster.postfix import control, maps
from tests.tools.mail import Lab, password_hash

HOSTILE = [
    "' or '1'='1",
    "amy' or 1=1 --@lab.test",
    "amy@lab.test' union select login from address --",
    "%s@lab.test",
    "%u%d@%s",
    "\\'@lab.test",
    '"a b"@lab.test',
    "amy;drop table address@lab.test",
    "a" * 2000 + "@lab.test",
    "[red]amy@lab.test",
    "\x1b[2jamy@lab.test",
    "ämy@lab.test",
]


def test_postfix_answers_nothing_to_them_and_goes_on(lab: Lab, domain: str) -> None:
    folder = lab.settings.postfix.config_directory
    with lab.change() as make:
        make.user(f"o'neil@{domain}", password_hash=password_hash())
    for one in maps.MAPS:
        assert control.query(folder, one.table(folder), HOSTILE) == {}
    assert control.query(folder, maps.MAILBOXES.table(folder), [f"o'neil@{domain}"]) == {
        f"o'neil@{domain}": f"o'neil@{domain}"
    }


def test_recipients_with_sql_in_them_are_refused_and_a_quote_is_delivered(lab: Lab, domain: str) -> None:
    neil = f"o'neil@{domain}"
    with lab.change() as make:
        make.user(neil, password_hash=password_hash())
    for key in HOSTILE:
        if key.isascii() and key.isprintable() and len(key) < 200 and " " not in key:
            assert lab.rcpt(key)[0] >= 500, key
    lab.send(neil, "for o'neil")
    lab.wait_for(neil, "for o'neil")


def test_logins_with_sql_in_them_are_refused(lab: Lab) -> None:
    for login in ("' OR '1'='1", "amy' --@lab.test", "postmaster@lab.test' AND '1'='1", "%u", "*@lab.test"):
        assert not lab.may_login("imap", login, "any password")


def test_doveconf_takes_what_is_written(lab: Lab) -> None:
    config = lab.settings.dovecot.config
    assert (config.parent / AUTH_FILE).is_file()
    done = subprocess.run(["doveconf", "-c", config, "-n"], capture_output=True, text=True, check=True)
    assert "Warning" not in done.stderr
    assert "auth_cache_size" not in done.stdout  # 0 is the default
    assert (
        "ssl_min_protocol = TLSv1.2"
        in subprocess.run(
            ["doveconf", "-c", config, "ssl_min_protocol"], capture_output=True, text=True, check=True
        ).stdout
    )
