"""PostfixAdmin itself, as Debian packs it: its set-up makes the tables, its command line the accounts.

`prepare.sh packages_full` unpacks the package below `.cache`; a copy of it is configured for one database.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_UNPACKED = Path(__file__).parents[2] / ".cache" / "postfixadmin"
_EXTENSIONS = ("mbstring", "mysqli", "pdo_mysql", "pdo_pgsql", "pdo_sqlite")


def missing_for_postfixadmin() -> str | None:
    """Why there can be no PostfixAdmin here, None where there can."""
    if not _UNPACKED.is_dir():
        return "the package postfixadmin is not unpacked"
    if shutil.which("php") is None:
        return "not installed: php"
    known = subprocess.run(["php", "-m"], capture_output=True, text=True, check=True).stdout.lower().split()
    missing = [name for name in _EXTENSIONS if name not in known]
    return f"php lacks {', '.join(missing)}" if missing else None


@dataclass(frozen=True)
class PostfixAdmin:
    folder: Path

    def setting(self, **values: str) -> None:
        """Add to its configuration, as an administrator does in config.local.php."""
        with (self.folder / "config.local.php").open("a") as opened:
            for name, value in values.items():
                text = value.replace("\\", "\\\\").replace("'", "\\'")
                opened.write(f"$CONF['{name}'] = '{text}';\n")

    def __call__(self, *words: str) -> str:
        """A command of postfixadmin-cli."""
        said = self._php("scripts/postfixadmin-cli.php", *words)
        assert "has been" in said, said
        return said

    def upgrade(self) -> None:
        self._php("upgrade.php", at=self.folder / "public")

    def _php(self, script: str, *words: str, at: Path | None = None) -> str:
        done = subprocess.run(
            ["php", "-d", "display_errors=0", "-d", "log_errors=0", script, *words],
            cwd=at or self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


def make_postfixadmin(folder: Path, **database: str) -> PostfixAdmin:
    """Set up on this database: `type`, `name`; of a server `host`, `port`, `user`, `password`, `socket`."""
    share = folder / "postfixadmin"
    ignored = shutil.ignore_patterns("config.inc.php", "config.local.php", "templates_c")
    shutil.copytree(_UNPACKED / "usr/share/postfixadmin", share, symlinks=True, ignore=ignored)
    (share / "templates_c").mkdir()
    configuration = (_UNPACKED / "etc/postfixadmin/config.inc.php").read_text().splitlines(keepends=True)
    # Debian's file asks another for the database, which its installation makes.
    (share / "config.inc.php").write_text("".join(one for one in configuration if "dbconfig" not in one))
    (share / "config.local.php").write_text("<?php\n$CONF['configured'] = true;\n")
    made = PostfixAdmin(share)
    made.setting(**{f"database_{name}": value for name, value in database.items()})
    made.setting(quota="YES", alias_domain="YES", emailcheck_resolve_domain="NO", encrypt="php_crypt:SHA512")
    made.upgrade()
    return made
