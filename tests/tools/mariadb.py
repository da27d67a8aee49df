"""A MariaDB of the tests' own: under one folder, on a free loopback port and a socket, as user mysql.

It is started and stopped here, and never touches the system's databases.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER = "mysql"
_PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb", "mariadb-dump")
_START = 60.0  # seconds; a loaded machine takes ten


def missing_for_mariadb() -> str | None:
    """Why there can be no MariaDB here, None where there can."""
    if os.geteuid() != 0:
        return "not root"
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


@dataclass(frozen=True)
class Mariadb:
    """`reader` may read every database over TCP with the password `secret`, as a URL says it."""

    folder: Path
    port: int

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    def url(self, database: str) -> str:
        return f"mysql://reader:secret@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: str) -> str:
        return f"mysql+pymysql://root@localhost/{database}?unix_socket={self.socket}"

    def execute(self, statement: str) -> str:
        return self._run("mariadb", "-B", "-N", "-e", statement)

    def create(self, database: str) -> None:
        self.execute(f"CREATE DATABASE `{database}` CHARACTER SET utf8mb4")

    def dump(self, database: str, *options: str) -> str:
        return self._run("mariadb-dump", *options, database)

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [program, "--no-defaults", f"--socket={self.socket}", "-u", "root", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def running_mariadb(mark: str) -> Iterator[Mariadb]:
    """A server while the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix=f"{mark}-my-"))
    shutil.chown(folder, USER, USER)
    folder.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        made = Mariadb(folder, free.getsockname()[1])
    common = ["--no-defaults", f"--datadir={folder}/data", f"--user={USER}"]
    try:
        subprocess.run(
            ["mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=True,
        )
        small = ["--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0", "--skip-log-bin"]
        where = [f"--socket={made.socket}", f"--port={made.port}", "--bind-address=127.0.0.1"]
        files = [f"--pid-file={folder}/pid", f"--log-error={folder}/log"]
        with subprocess.Popen(
            ["mariadbd", *common, *where, *files, *small], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as server:
            try:
                _wait(made, server)
                made.execute("CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'secret'")
                made.execute("GRANT SELECT ON *.* TO reader@'127.0.0.1'")
                yield made
            finally:
                server.terminate()
                server.wait(30)
    finally:
        shutil.rmtree(folder)


def _wait(made: Mariadb, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START
    while True:
        try:
            made.execute("SELECT 1")
        except AssertionError:
            assert server.poll() is None, (made.folder / "log").read_text()
            assert time.monotonic() < until, (made.folder / "log").read_text()
            time.sleep(0.1)
        else:
            return
