"""`setup` on a server in use: proved live, put back where it does not work, undone later."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postmaster.dovecot import doveadm
from postmaster.lab import base, lifecycle
from postmaster.lab.layout import POSTMASTER, Layout
from postmaster.postfix import control
from postmaster.setup import apply as setup_apply
from tests.tools.mail import Lab, password_hash

from .conftest import start_lab


@pytest.fixture
def own(place: Callable[[], Path]) -> Iterator[Lab]:
    """A lab of this test's own, whose servers it may break."""
    started = start_lab(place())
    yield started
    lifecycle.remove(started.root)


def configuration(lab: Lab) -> dict[str, tuple[bytes, int]]:
    """Every configuration file with its mode."""
    return {
        str(path): (path.read_bytes(), path.stat().st_mode)
        for top in ("postfix", "dovecot", "tls")
        for path in sorted((lab.root / top).rglob("*"))
        if path.is_file() and "/run/" not in str(path) and "/state/" not in str(path)
    }


def postconf(lab: Lab, *arguments: str) -> str:
    done = subprocess.run(
        ["postconf", "-c", str(lab.root / "postfix"), *arguments], capture_output=True, text=True, check=True
    )
    base.settle(Layout(lab.root))
    return done.stdout


#: A difference for an apply to work on: it has nothing to put back where nothing differs.
def make_a_difference(lab: Lab) -> None:
    postconf(lab, "-e", "notify_classes = resource")


def test_show_diff_apply_check_and_revert(own: Lab) -> None:
    shown = json.loads(own.postmaster("setup", "show", "-o", "json").stdout)
    assert set(shown) == {"parameters", "merged", "services", "files"}
    assert "virtual_alias_maps" in shown["merged"]
    assert "smtpd_tls_auth_only" not in shown["merged"]
    assert own.postmaster("setup", "diff").stdout == ""

    make_a_difference(own)
    before = configuration(own)
    different = json.loads(own.postmaster("setup", "diff", "-o", "json", expect=4).stdout)
    assert [(one["kind"], one["what"]) for one in different] == [("parameter", "notify_classes")]

    refused = own.postmaster("setup", "apply", expect=2)
    assert "--yes" in refused.stderr
    own.postmaster("setup", "apply", "--dry-run")
    assert configuration(own) == before

    done = json.loads(own.postmaster("setup", "apply", "--yes", "-o", "json").stdout)
    assert done["changed"] == ["notify_classes"]
    proved = {one["name"]: one["status"] for one in done["proofs"]}
    assert set(proved.values()) == {"ok"}
    assert {
        *("smtp greets", "submission greets", "submissions greets", "imap greets", "imaps greets"),
        *("pop3 greets", "pop3s greets", "lmtp greets", "recipients", "no open relay"),
        *("imap login", "pop3 login", "submission login", "log"),
    } <= set(proved)
    own.postmaster("setup", "diff")
    again = json.loads(own.postmaster("setup", "apply", "--yes", "-o", "json").stdout)
    assert again["changed"] == []
    assert again["backup"] is None

    own.postmaster("setup", "revert", "--yes")
    assert configuration(own) == before
    assert "nothing to revert" in own.postmaster("setup", "revert", "--yes", expect=1).stderr
    assert own.rcpt(POSTMASTER)[0] == 250


def test_revert_refuses_where_files_changed_since(own: Lab) -> None:
    make_a_difference(own)
    own.postmaster("setup", "apply", "--yes")
    postconf(own, "-e", "message_size_limit = 20000000")
    changed = configuration(own)
    refused = own.postmaster("setup", "revert", "--yes", expect=1)
    assert "main.cf was changed since" in refused.stderr
    assert configuration(own) == changed
    own.postmaster("setup", "revert", "--yes", "--force")
    assert "message_size_limit" not in postconf(own, "-n")


def test_a_port_clash_puts_everything_back(own: Lab) -> None:
    before = configuration(own)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = own.status.settings_file.read_text()
        text = settings.replace(
            f"submission_port = {own.port('submission')}", f"submission_port = {taken.getsockname()[1]}"
        )
        own.status.settings_file.write_text(text)
        failed = own.postmaster("setup", "apply", "--yes", expect=1)
        own.status.settings_file.write_text(settings)
    assert "everything is back as it was" in failed.stderr
    assert configuration(own) == before
    assert own.rcpt(POSTMASTER)[0] == 250
    assert own.may_login("submission", POSTMASTER, (own.root / "postmaster.password").read_text().strip())


def test_a_postfix_that_ends_before_its_reload_is_started(own: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does when it met a clash of ports a moment ago."""
    really = control.reload

    def too_late(directory: Path) -> None:
        lifecycle.stop(own.root)
        really(directory)

    monkeypatch.setattr(control, "reload", too_late)
    setup_apply._reload(own.settings)
    assert own.rcpt(POSTMASTER)[0] == 250


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        pytest.param(
            "smtpd_client_restrictions", "reject_everything_that_is_bad", id="a made-up restriction"
        ),
        pytest.param("virtual_alias_maps", "hash:/nonexistent/aliases", id="an unreadable map"),
        pytest.param(
            "smtpd_recipient_restrictions",
            "check_recipient_access hash:/nonexistent/access",
            id="an unreadable access table",
            marks=pytest.mark.full,
        ),
    ],
)
def test_what_postfix_check_lets_pass_is_found_and_put_back(own: Lab, parameter: str, value: str) -> None:
    make_a_difference(own)
    postconf(own, "-e", f"{parameter} = {value}")
    before = configuration(own)
    subprocess.run(["postfix", "-c", str(own.root / "postfix"), "check"], check=True, capture_output=True)
    failed = own.postmaster("setup", "apply", "--yes", expect=1)
    assert failed.stderr.count("\n") == 1
    assert "everything is back as it was" in failed.stderr
    assert configuration(own) == before
    # What the administrator put in is theirs to take out; without it all is well at once.
    postconf(own, "-X", parameter)
    own.postmaster("setup", "apply", "--yes")
    assert own.rcpt(POSTMASTER)[0] == 250


def test_dovecot_that_cannot_be_parsed_is_put_back(own: Lab) -> None:
    config = own.root / "dovecot" / "dovecot.conf"
    make_a_difference(own)
    config.write_text(config.read_text() + "no_such_setting = yes\n")
    before = configuration(own)
    failed = own.postmaster("setup", "apply", "--yes", expect=1)
    assert "no_such_setting" in failed.stderr
    assert "nothing was changed" in failed.stderr
    assert own.rcpt(POSTMASTER)[0] == 250
    assert configuration(own) == before


def test_a_key_of_another_certificate_is_refused(own: Lab, tmp_path: Path) -> None:
    other = Layout(tmp_path)
    base.make_certificate(other)
    before = configuration(own)
    ours = own.root / "tls" / "certificate.pem"
    failed = own.postmaster(
        "setup", "apply", "--yes", "--certificate", str(ours), "--key", str(other.key), expect=1
    )
    assert "does not belong to the certificate" in failed.stderr
    assert configuration(own) == before
    missing = own.postmaster(
        "setup", "apply", "--yes", "--certificate", str(ours), "--key", str(tmp_path / "none"), expect=1
    )
    assert "there is no file" in missing.stderr
    assert configuration(own) == before


def test_bounces_must_reach_someone(own: Lab) -> None:
    before = configuration(own)
    for address, why in (
        ("nobody@lab.test", "does not exist"),
        ("amy@elsewhere.test", "not in the directory"),
    ):
        failed = own.postmaster("setup", "apply", "--yes", "--postmaster", address, expect=1)
        assert why in failed.stderr
    assert configuration(own) == before


def test_only_one_apply_at_a_time(own: Lab) -> None:
    import fcntl

    make_a_difference(own)
    before = configuration(own)
    (own.root / "state" / "setup").mkdir(mode=0o700, exist_ok=True)
    with (own.root / "state" / "setup" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another setup is under way" in own.postmaster("setup", "apply", "--yes", expect=1).stderr
    assert configuration(own) == before


def test_what_the_administrator_put_in_stays(own: Lab) -> None:
    """Merged lists keep their items, other parameters and services are not touched."""
    folder = own.root / "postfix"
    (folder / "extra").write_text("info@lab.test postmaster@lab.test\n")
    subprocess.run(["postmap", "-c", str(folder), f"hash:{folder}/extra"], check=True)
    postconf(
        own,
        "-e",
        f"virtual_alias_maps = hash:{folder}/extra",
        "smtpd_recipient_restrictions = reject_non_fqdn_recipient, reject_unlisted_recipient",
        "message_size_limit = 33554432",
    )
    postconf(own, "-M", "filter/unix = filter unix - n n - 10 pipe flags=Rq user=nobody argv=/bin/true")
    dovecot = own.root / "dovecot" / "dovecot.conf"
    dovecot.write_text(
        dovecot.read_text().replace("# A lab's", "login_greeting = at your service\n# A lab's")
    )
    before_dovecot = dovecot.read_text()
    own.postmaster("setup", "apply", "--yes")
    aliases = postconf(own, "-h", "virtual_alias_maps").strip()
    assert aliases.endswith(f"hash:{folder}/extra")
    assert aliases.startswith("proxy:sqlite:")
    restrictions = postconf(own, "-h", "smtpd_recipient_restrictions")
    assert restrictions.strip().endswith("reject_non_fqdn_recipient, reject_unlisted_recipient")
    assert "message_size_limit = 33554432" in postconf(own, "-n")
    assert "argv=/bin/true" in postconf(own, "-M", "filter/unix")
    assert dovecot.read_text() == before_dovecot
    assert own.rcpt("info@lab.test")[0] == 250
    own.postmaster("setup", "diff")


def test_check_asks_the_live_look_ups(own: Lab) -> None:
    with own.change() as make:
        make.domain("check.test")
        make.domain("twin.test", "check.test")
        make.user("amy@check.test", password_hash=password_hash())
        make.user("bob@check.test", password_hash=password_hash())
        make.alias("team@check.test", "amy@check.test", "bob@check.test", "x@elsewhere.test")
        make.alias("@check.test", "amy@check.test")
        make.forward("bob@check.test", "bob@elsewhere.test", keep_copy=False)
        make.switch("bob@check.test", receive=False)
    result = json.loads(own.postmaster("setup", "check", "-o", "json").stdout)
    assert result["findings"] == []
    assert result["asked"] > 30

    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(own.root / "lookups" / "postfix.db")) as connection, connection:
        connection.execute("DELETE FROM address WHERE local_part = 'team'")
    found = json.loads(own.postmaster("setup", "check", "-o", "json", expect=4).stdout)["findings"]
    assert {one["object"] for one in found} == {"team@check.test", "team@twin.test"}
    assert {one["remedy"] for one in found} == {"postmaster publish --rebuild"}
    own.postmaster("publish", "--rebuild")
    own.postmaster("setup", "check")

    postconf(own, "-e", "mydestination = check.test")
    found = json.loads(own.postmaster("setup", "check", "-o", "json", expect=4).stdout)["findings"]
    assert [(one["code"], one["object"]) for one in found] == [("two_classes", "check.test")]


def test_system_accounts_log_in_only_where_that_is_kept(own: Lab) -> None:
    """A passdb of the administrator's own is asked only with --keep-system-logins."""
    users = own.root / "dovecot" / "users"
    users.write_text("carl:{PLAIN}carls own password:8:8::/nonexistent::\n")
    users.chmod(0o644)
    dovecot = own.root / "dovecot" / "dovecot.conf"
    if doveadm.version() >= (2, 4):
        block = f"{{}} passwd-file {{{{\n  passwd_file_path = {users}\n}}}}\n"
    else:
        block = f"{{}} {{{{\n  driver = passwd-file\n  args = {users}\n}}}}\n"
    blocks = [block.format(kind) for kind in ("passdb", "userdb")]
    dovecot.write_text(dovecot.read_text() + "".join(blocks))
    subprocess.run(["doveadm", "-c", str(dovecot), "reload"], check=True)
    test = ["doveadm", "-c", str(dovecot), "auth", "test", "carl", "carls own password"]
    assert subprocess.run(test, capture_output=True, check=False).returncode != 0
    own.postmaster("setup", "apply", "--yes", "--keep-system-logins")
    assert subprocess.run(test, capture_output=True, check=False).returncode == 0
    own.postmaster("setup", "apply", "--yes")
    assert subprocess.run(test, capture_output=True, check=False).returncode != 0
