"""A user of another system logs in with the old password and finds the old mail, where it was."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

from postmaster.dovecot.doveadm import version
from tests.tools.mail import PASSWORD, Lab, password_hash


def test_the_mail_of_an_imported_user_is_found_where_it_was(lab: Lab, domain: str, tmp_path: Path) -> None:
    root = lab.settings.mail.root
    home = root / domain / "amy"
    for part in ("cur", "new", "tmp"):
        (home / part).mkdir(parents=True)
    (home / "new" / "1.old").write_text("From: old@outside.test\r\nSubject: kept\r\n\r\nhello\r\n")
    for folder, _, names in os.walk(root / domain):
        for one in (folder, *(str(Path(folder, name)) for name in names)):
            shutil.chown(one, lab.settings.mail.user, lab.settings.mail.user)
    file = tmp_path / "postfix-accounts.cf"
    file.write_text(f"amy@{domain}|{password_hash()}\n")
    words = ("directory", "import", "--from", "docker-mailserver", str(tmp_path), "--update")
    done = json.loads(lab.postmaster(*words, "--mail-root", str(root), "-o", "json").stdout)
    (move,) = done["moves"]
    assert move["command"] == f"ln -s . {home}/Maildir"
    subprocess.run(move["command"], shell=True, check=True)
    assert [one["subject"] for one in lab.mailbox(f"amy@{domain}")] == ["kept"]
    lab.send(f"amy@{domain}", subject="new")
    lab.wait_for(f"amy@{domain}", "new")
    with lab.imap(f"amy@{domain}") as imap:
        _, folders = imap.list()
    assert not any(b"Maildir" in folder for folder in folders if isinstance(folder, bytes))


def test_hashes_as_other_systems_write_them_log_in(lab: Lab, domain: str, tmp_path: Path) -> None:
    def hashed(scheme: str) -> str:
        words = ["doveadm", "-O", "pw", "-s", scheme, "-p", PASSWORD]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

    sha512 = hashed("SHA512-CRYPT").partition("}")[2]
    given = {
        "docker-mailserver": "{SHA512-CRYPT}" + sha512,
        "postfixadmin": sha512,
        "postfixadmin-b64": "{SHA512-CRYPT.B64}" + base64.b64encode(sha512.encode()).decode(),
        "vimbadmin": hashed("SHA256-CRYPT").partition("}")[2],
        "iredmail": hashed("SSHA512"),
        "iredmail-bcrypt": "{CRYPT}" + hashed("BLF-CRYPT").partition("}")[2],
        "mailu": hashed("BLF-CRYPT"),
        "modoboa": hashed("ARGON2ID"),
        "dovecot-pbkdf2": hashed("PBKDF2"),
        "dovecot-ssha256": hashed("SSHA256"),
        "weak-md5": hashed("MD5-CRYPT"),
        "weak-ssha": hashed("SSHA"),
    }
    file = tmp_path / "users"
    file.write_text("".join(f"{name}@{domain}:{text}::::::\n" for name, text in given.items()))
    words = ("directory", "import", "--from", "passwd-file", str(file), "--update", "-o", "json")
    done = json.loads(lab.postmaster(*words).stdout)
    assert done["without_password"] == []
    weak = {name for name in given if f"{name}@{domain} has a weak hash" in "\n".join(done["notes"])}
    assert weak == {"weak-md5", "weak-ssha"}

    def let_in(name: str, password: str) -> bool:
        config = str(lab.settings.dovecot.config)
        words = ["doveadm", "-c", config, "auth", "test", f"{name}@{domain}", password]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    refused = {"weak-md5"} if version() >= (2, 4) else set()
    assert {name for name in given if let_in(name, PASSWORD)} == set(given) - refused
    assert not let_in("modoboa", "wrong password")  # which takes Dovecot two seconds to say
