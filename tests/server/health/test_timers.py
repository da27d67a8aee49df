"""What `health install` writes: units that systemd takes, a crontab that a real cron runs.

Each command runs in a mount name space of its own, where /etc/systemd/system and /etc/cron.d are folders
of the test: nothing of the machine is touched.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from postmaster.health import schedule
from postmaster.settings import as_toml
from tests.tools.building import settings_under
from tests.tools.documented import json_keys, key_paths
from tests.tools.mail import Lab, password_hash

#: $1 and $2 are lent as the folders of units and crontabs; then the command. No systemd runs there.
_ENTER = f"""
set -e
mkdir -p {schedule.UNITS} {schedule.CRONTAB.parent}
mount --bind "$1" {schedule.UNITS}
mount --bind "$2" {schedule.CRONTAB.parent}
mount -t tmpfs none /run
if [ -e /etc/crontab ]; then mount --bind /dev/null /etc/crontab; fi
shift 2
exec "$@"
"""
CAPABILITIES = "chown,dac_override,dac_read_search,fowner,kill,setgid,setuid,sys_ptrace"


@dataclass(frozen=True)
class Root:
    folder: Path
    settings_file: Path

    @property
    def units(self) -> Path:
        return self.folder / "units"

    @property
    def crontabs(self) -> Path:
        return self.folder / "cron.d"

    def enter(self, *command: str | Path) -> list[str]:
        return ["unshare", "-m", "sh", "-c", _ENTER, "sh", *map(str, (self.units, self.crontabs, *command))]

    def run(self, *command: str | Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.enter(*command), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == expect, f"{command}: {done.returncode} {done.stdout}{done.stderr}"
        return done

    def postmaster(self, *words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        command = (sys.executable, "-m", "postmaster", "--config", str(self.settings_file), "health")
        return self.run(*command, *words, expect=expect)

    def rows(self, *words: str) -> list[tuple[str, str]]:
        rows = json.loads(self.postmaster(*words, "-o", "json").stdout)
        assert all(key_paths(row) == json_keys("health install, uninstall") for row in rows)
        return [(row["action"], Path(row["path"]).name) for row in rows]


@pytest.fixture
def root(place: Callable[[], Path]) -> Root:
    folder = place()
    made = Root(folder, folder / "postmaster.toml")
    made.units.mkdir()
    made.crontabs.mkdir()
    settings = settings_under(folder)
    settings = replace(settings, mail=replace(settings.mail, postmaster="ops@example.org"))
    made.settings_file.write_text(as_toml(settings))
    return made


UNITS = [f"{name}.{kind}" for name in schedule.NAMES for kind in ("service", "timer")]


def test_the_units_are_what_systemd_wants(root: Root) -> None:
    assert root.rows("install", "--systemd", "--to", "amy@example.org") == [("written", n) for n in UNITS]
    done = root.run("systemd-analyze", "verify", "--man=no", *(schedule.UNITS / name for name in UNITS))
    assert (done.stdout, done.stderr) == ("", "")
    wants = root.units / "timers.target.wants"
    assert {link.name for link in wants.iterdir()} == set(schedule.TIMERS), "enabled"
    service = (root.units / "postmaster-health.service").read_text()
    assert f"--config {root.settings_file} health check --changes --every 300s -o mail --send" in service
    assert "Environment=POSTMASTER_HEALTH_REPORT_TO=amy@example.org" in service
    rated = root.run(
        *("systemd-analyze", "security", "--offline=true", "--json=short", "--no-pager"),
        *(schedule.UNITS / "postmaster-health.service",),
    )
    table = {row["name"]: row["set"] for row in json.loads(rated.stdout)}
    for name in ("PrivateTmp=", "ProtectKernelModules=", "RestrictRealtime=", "LockPersonality="):
        assert table[name], name


def test_installing_again_changes_what_differs_alone(root: Root) -> None:
    root.postmaster("install", "--systemd")
    assert root.rows("install", "--systemd") == [("kept", name) for name in UNITS]
    changed = {name: action for action, name in root.rows("install", "--systemd", "--every", "10m")}
    assert [name for name, action in changed.items() if action == "written"] == [
        "postmaster-health.service",
        "postmaster-health.timer",
    ]
    assert "OnUnitActiveSec=600s" in (root.units / "postmaster-health.timer").read_text()


def test_one_kind_takes_the_other_s_place(root: Root) -> None:
    root.postmaster("install", "--systemd")
    rows = root.rows("install", "--cron")
    assert rows == [("written", "postmaster-health"), *(("removed", name) for name in UNITS)]
    left = [path.name for path in root.units.rglob("*") if not path.is_dir()]
    assert left == []
    crontab = root.crontabs / "postmaster-health"
    assert crontab.stat().st_mode & 0o777 == 0o644
    assert root.rows("install", "--systemd")[-1] == ("removed", "postmaster-health")
    assert not crontab.exists()


def test_what_is_installed_can_be_taken_away(root: Root) -> None:
    root.postmaster("install", "--systemd")
    assert "not done without being told" in root.postmaster("uninstall", expect=3).stderr
    assert root.rows("uninstall", "--dry-run") == [("removed", name) for name in UNITS]
    assert (root.units / UNITS[0]).exists()
    assert root.rows("uninstall", "--yes") == [("removed", name) for name in UNITS]
    assert [path for path in root.units.rglob("*") if not path.is_dir()] == []
    done = root.postmaster("uninstall", "--yes")
    assert "nothing to remove" in done.stderr


def test_what_is_not_ours_stays(root: Root) -> None:
    mine = root.crontabs / "postmaster-health"
    mine.write_text("# by hand\n")
    told = root.postmaster("install", "--cron", expect=3)
    assert "is there and not ours" in told.stderr
    assert root.rows("uninstall", "--yes") == []
    assert mine.read_text() == "# by hand\n"
    root.postmaster("install", "--systemd")
    assert mine.read_text() == "# by hand\n"


def test_a_dry_run_prints_the_files_and_writes_none(root: Root) -> None:
    shown = root.postmaster("install", "--cron", "--dry-run", "--every", "15m", "--daily", "6:30").stdout
    assert "*/15 * * * * root " in shown
    assert "\n30 6 * * * root " in shown
    assert list(root.crontabs.iterdir()) == []
    assert "[Timer]" in root.postmaster("install", "--systemd", "--dry-run").stdout
    assert list(root.units.iterdir()) == []


def test_without_systemd_cron_is_used(root: Root) -> None:
    assert root.rows("install", "--dry-run") == [("written", "postmaster-health")]


def test_nobody_to_send_to_is_refused(root: Root) -> None:
    root.settings_file.write_text(as_toml(settings_under(root.folder)))
    assert "nobody is named" in root.postmaster("install", "--cron", expect=3).stderr
    assert list(root.crontabs.iterdir()) == []


def _with(lab: Lab, **health: Any) -> Path:
    """The lab's settings with others for health, and a state of their own."""
    settings = lab.settings
    folder = lab.root / "health"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    file = folder / "postmaster.toml"
    file.write_text(
        as_toml(
            replace(
                settings,
                health=replace(settings.health, flap=1, disk_free_warning=101.0, **health),
                state=replace(settings.state, directory=folder),
            )
        )
    )
    return file


def _mails(lab: Lab, login: str, count: int, seconds: float) -> list[str]:
    ends = time.monotonic() + seconds
    while True:
        found = [message.as_string() for message in lab.mailbox(login)]
        if len(found) >= count or time.monotonic() > ends:
            return found
        time.sleep(0.5)


def test_the_service_can_do_its_work_in_its_fence(lab: Lab, domain: str) -> None:
    """Without the rights that the unit takes, and those that systemd may take, changes reach someone."""
    with lab.change() as make:
        make.user(f"ops@{domain}", password_hash=password_hash())
    file = _with(lab, report_to=f"ops@{domain}")
    fence = ["setpriv", "--no-new-privs", f"--bounding-set=-all,+{CAPABILITIES.replace(',', ',+')}"]
    words = ["health", "check", "machine", "queue", "--changes", "--every", "60s", "-o", "mail", "--send"]
    command = [*fence, sys.executable, "-m", "postmaster", "--config", str(file), *words]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = _mails(lab, f"ops@{domain}", 1, 30)
    assert len(found) == 1
    assert "Auto-Submitted: auto-generated" in found[0]


@pytest.mark.full
@pytest.mark.timeout(300)
def test_a_real_cron_runs_the_crontab(lab: Lab, domain: str, root: Root) -> None:
    """Every minute; what began is told once, by mail, although the problem stays."""
    with lab.change() as make:
        make.user(f"ops@{domain}", password_hash=password_hash())
    file = _with(lab)
    used = replace(root, settings_file=file)
    used.postmaster("install", "--cron", "--every", "1m", "--to", f"ops@{domain}")
    enter = root.enter("cron", "-f", "-L", "15")
    enter[1:2] = ["-m", "-p", "--fork", "--kill-child"]
    with subprocess.Popen(enter) as cron:
        try:
            first = _mails(lab, f"ops@{domain}", 1, 90)
            time.sleep(65)
            second = _mails(lab, f"ops@{domain}", 1, 1)
        finally:
            cron.kill()  # unshare waits on; what it started goes with it
    with closing(sqlite3.connect(file.parent / "health.db")) as connection:
        (runs,) = connection.execute("SELECT count(*) FROM run WHERE every = 60").fetchone()
    assert runs >= 2
    assert len(first) == len(second) == 1, "told once"
