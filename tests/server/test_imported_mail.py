"""A user of another system logs in with the old password and finds the old mail, where it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.tools.mail import Lab, password_hash


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
