"""What is shown of files that hold a database's password."""

from __future__ import annotations

from pathlib import Path

from postmaster.postfix import maps
from postmaster.served import database
from postmaster.setup.plan import PlannedFile, _file_differences


def planned(path: Path, password: str) -> PlannedFile:
    url = f"postgresql://postfix:{password}@db/mail?sslpassword={password}"
    return PlannedFile(path, maps.MAILBOXES.text(database(url, "postfix", "")), 0o640)


def test_no_password_is_shown_and_another_one_is_still_a_difference(tmp_path: Path) -> None:
    path = tmp_path / "mailboxes.cf"
    new = planned(path, "geheim-2")
    assert "geheim-2" in new.content
    path.write_text(planned(path, "geheim-1").content)
    (found,) = _file_differences((new,))
    shown = "\n".join([new.shown, found.before or "", found.after, *found.lines()])
    assert "geheim" not in shown
    assert "+password = ******** (another)" in found.lines()
    assert "query = SELECT address" in new.shown
    path.write_text(new.content)
    assert _file_differences((new,)) == []
