"""A PostgreSQL of the tests' own: under one folder, on a free loopback port, without fsync.

It is started and stopped here, as user postgres, and never touches the system's clusters. Databases are
copied from a template that was migrated once: a copy takes a tenth of a second.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

USER = "postgres"


def binaries() -> Path | None:
    """The newest PostgreSQL's programs, which Debian keeps out of the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def missing_for_postgresql() -> str | None:
    """Why there can be no PostgreSQL here, None where there can."""
    if os.geteuid() != 0:
        return "not root"
    return None if binaries() else "the package postgresql is not installed"


@dataclass
class Cluster:
    folder: Path
    port: int

    def url(self, database: str, user: str = USER) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.folder}"
            " -c fsync=off -c full_page_writes=off -c max_connections=60 -c log_min_messages=fatal"
        )
        run_as_postgres("pg_ctl", "-D", self.data, "-w", "-l", self.folder / "log", "-o", options, "start")

    def stop(self) -> None:
        run_as_postgres("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")

    def create(self, database: str, template: str = "template0") -> None:
        # Half of the work that the log of a copy, block by block, would be.
        self.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}" STRATEGY file_copy')

    def drop(self, database: str) -> None:
        self.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run a statement as the cluster's owner; the rows it gives."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    @property
    def data(self) -> Path:
        return self.folder / "data"


def run_as_postgres(program: str, *arguments: object) -> str:
    programs = binaries()
    assert programs is not None
    become = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [*become, str(programs / program), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.strip()


@contextmanager
def running_cluster(mark: str) -> Iterator[Cluster]:
    """A cluster while the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix=f"{mark}-pg-"))
    folder.chmod(0o755)
    try:
        made = make_cluster(folder)
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder)


@contextmanager
def standby_of(primary: Cluster) -> Iterator[Cluster]:
    """A cluster that follows another one, while the block lasts."""
    folder = primary.folder / "standby"
    folder.mkdir()
    shutil.chown(folder, USER, USER)
    standby = Cluster(folder, _free_port())
    try:
        where = ("-h", "127.0.0.1", "-p", primary.port, "-U", USER)
        run_as_postgres(
            "pg_basebackup", *where, "-D", standby.data, "-R", "-X", "stream", "-c", "fast", "--no-sync"
        )
        standby.data.chmod(0o700)
        standby.start()
        try:
            yield standby
        finally:
            standby.stop()
    finally:
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def make_cluster(folder: Path) -> Cluster:
    """A running cluster in a new folder that every user may pass through."""
    shutil.chown(folder, USER, USER)
    cluster = Cluster(folder, _free_port())
    run_as_postgres(
        "initdb", "-D", cluster.data, "--auth=trust", "--encoding=UTF8", "--no-sync", "--locale=C.UTF-8"
    )
    cluster.start()
    return cluster
