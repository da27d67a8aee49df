"""The webmail: faults of a small one; a real Roundcube in the long run."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from postmaster.health.finding import Severity
from postmaster.health.run import choose, run
from postmaster.lab.layout import pick_ports
from postmaster.settings import HealthSettings, Settings
from tests.tools.certificates import Authority
from tests.tools.mail import PASSWORD, Lab, password_hash
from tests.tools.webmail import Webmail, serving

from .conftest import faulty

WEBMAIL = ["webmail"]


@pytest.fixture
def account(tmp_path: Path) -> HealthSettings:
    """The settings of a probe, with its password in a file."""
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    file.chmod(0o600)
    return replace(Settings().health, probe_address="probe@lab.test", probe_password_file=str(file))


@pytest.fixture
def webmail() -> Iterator[Webmail]:
    with serving() as one:
        one.password = PASSWORD
        yield one


@pytest.fixture
def settings(account: HealthSettings, webmail: Webmail) -> Settings:
    return replace(Settings(), health=replace(account, webmail_url=f"http://127.0.0.1:{webmail.port}/"))


def test_it_answers_and_lets_the_probe_in(settings: Settings, webmail: Webmail) -> None:
    found = {one.object: one.code for one in run(settings, choose(WEBMAIL, []))}
    assert found == {"page": "ok", "login": "ok"}
    assert webmail.logins == 1


def test_without_an_address_nothing_is_done() -> None:
    assert run(Settings(), choose(WEBMAIL, [])) == []


def test_without_a_lasting_account_nobody_logs_in(settings: Settings, webmail: Webmail) -> None:
    alone = replace(settings, health=replace(settings.health, probe_address=""))
    assert {one.object: one.code for one in run(alone, choose(WEBMAIL, []))} == {"page": "ok"}
    assert webmail.logins == 0


def test_it_answers_with_an_error(settings: Settings, webmail: Webmail) -> None:
    with faulty(settings, WEBMAIL, "webmail-down", "page", webmail.being(status=503)) as found:
        assert "503" in found.message


def test_there_is_no_login_form(settings: Settings, webmail: Webmail) -> None:
    nothing = webmail.being(page="<h1>It works!</h1><form><input name=q></form>")
    with faulty(settings, WEBMAIL, "webmail-no-login", "page", nothing):
        pass


def test_the_login_is_refused(settings: Settings, webmail: Webmail) -> None:
    other = webmail.being(password="another one")
    with faulty(settings, WEBMAIL, "webmail-login-refused", "login", other) as found:
        assert PASSWORD not in found.message


def test_it_cannot_be_reached(account: HealthSettings) -> None:
    with serving() as webmail:
        port = webmail.port
    settings = replace(Settings(), health=replace(account, webmail_url=f"http://127.0.0.1:{port}/"))
    assert [one.code for one in run(settings, choose(WEBMAIL, []))] == ["webmail-down"]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "mail.example.org", "https://", "https://x:y/"])
def test_an_address_that_is_none(url: str) -> None:
    settings = replace(Settings(), health=replace(Settings().health, webmail_url=url))
    assert [one.severity for one in run(settings, choose(WEBMAIL, []))] == [Severity.unknown]


def test_a_password_does_not_go_without_tls(account: HealthSettings, webmail: Webmail) -> None:
    """A page on this machine that would send it elsewhere in the clear."""
    fields = "<input name=u><input type=password name=p>"
    elsewhere = f'<form method=post action="http://mail.elsewhere.test/">{fields}</form>'
    settings = replace(Settings(), health=replace(account, webmail_url=f"http://127.0.0.1:{webmail.port}/"))
    fault, warning = webmail.being(page=elsewhere), Severity.warning
    with faulty(settings, WEBMAIL, "webmail-insecure", "login", fault, severity=warning):
        assert webmail.logins == 1  # the one before


@pytest.mark.parametrize(
    ("code", "severity", "names", "ends"),
    [
        ("certificate-expired", Severity.critical, ("localhost.test",), -1),
        ("certificate-expires", Severity.warning, ("localhost.test",), 12),
        ("certificate-untrusted", Severity.warning, (), 90),
    ],
)
def test_its_certificate(
    account: HealthSettings,
    tmp_path: Path,
    code: str,
    severity: Severity,
    names: tuple[str, ...],
    ends: float,
) -> None:
    authority, pair, file = Authority(), tmp_path / "pair.pem", tmp_path / "authority.pem"
    file.write_bytes(authority.certificate)

    def put(*, ends: float = 90, itself: bool = False) -> None:
        issued = authority.issue("localhost.test", ends=ends, itself=itself)
        pair.write_bytes(issued.key + issued.certificate)

    @contextmanager
    def fault() -> Iterator[None]:
        put(ends=ends, itself=code == "certificate-untrusted")
        try:
            yield
        finally:
            put()

    put()
    with serving(pair) as webmail:
        webmail.password = PASSWORD
        health = replace(account, webmail_url=f"https://127.0.0.1:{webmail.port}/", ca_file=str(file))
        with faulty(
            replace(Settings(), health=health), WEBMAIL, code, "certificate", fault(), severity=severity
        ):
            pass


CONFIG = """<?php
$config = [];
$config['db_dsnw'] = 'sqlite:///{root}/db/mail.db?mode=0600';
$config['imap_host'] = 'tls://127.0.0.1:{imap}';
$config['imap_conn_options'] = ['ssl' => ['verify_peer' => false, 'verify_peer_name' => false]];
$config['smtp_host'] = 'tls://127.0.0.1:{submission}';
$config['des_key'] = 'rcmail-24ByteDESkey*Str!';
$config['plugins'] = [];
$config['log_dir'] = '{root}/logs/';
$config['temp_dir'] = '{root}/temp/';
$config['enable_installer'] = false;
"""
ROUNDCUBE = Path("/var/lib/roundcube/public_html")


@contextmanager
def roundcube(lab: Lab, root: Path) -> Iterator[int]:
    """A Roundcube of its own, served by PHP itself; gives its port."""
    for name in ("db", "logs", "temp", "config"):
        (root / name).mkdir(parents=True)
    for name in ("defaults.inc.php", "mimetypes.php"):
        shutil.copy(Path("/etc/roundcube", name), root / "config" / name)
    content = CONFIG.format(root=root, imap=lab.port("imap"), submission=lab.port("submission"))
    (root / "config" / "config.inc.php").write_text(content)
    with closing(sqlite3.connect(root / "db" / "mail.db")) as connection:
        connection.executescript(Path("/usr/share/roundcube/SQL/sqlite.initial.sql").read_text())
    port = pick_ports(("webmail",))["webmail"]
    environment = {**os.environ, "ROUNDCUBE_CONFIG_DIR": str(root / "config")}
    server = subprocess.Popen(
        ["php", "-S", f"127.0.0.1:{port}", "-t", str(ROUNDCUBE)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        ends = time.monotonic() + 20
        while time.monotonic() < ends:
            with (
                suppress(urllib.error.URLError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5),
            ):
                break
            time.sleep(0.1)
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


@pytest.mark.full
def test_a_real_roundcube(sick: Lab, account: HealthSettings, place: Callable[[], Path]) -> None:
    if not ROUNDCUBE.is_dir():
        pytest.fail("Roundcube is not installed: tests/tools/prepare.sh packages_full")
    with sick.change() as make:
        make.user("probe@lab.test", password_hash=password_hash())
    try:
        with roundcube(sick, place() / "webmail") as port:
            health = replace(account, webmail_url=f"http://127.0.0.1:{port}/")
            settings = replace(sick.settings, health=health)
            found = {one.object: one for one in run(settings, choose(WEBMAIL, []))}
            assert {name: one.code for name, one in found.items()} == {"page": "ok", "login": "ok"}, found

            @contextmanager
            def switched_off() -> Iterator[None]:
                with sick.change() as make:
                    make.switch("probe@lab.test", imap=False)
                try:
                    yield
                finally:
                    with sick.change() as make:
                        make.switch("probe@lab.test", imap=True)

            with faulty(settings, WEBMAIL, "webmail-login-refused", "login", switched_off()):
                pass
    finally:
        with sick.change() as make:
            make.remove("user", "probe@lab.test")
