"""A directory to be moved, and all that a database has of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import psycopg

from postmaster.directory import postgresql, schema
from postmaster.directory.migrate import initialise
from postmaster.settings import Settings
from tests.tools.building import open_builder


def house(settings: Settings) -> Settings:
    """A directory with something in every table, and with ids that were given away and are gone."""
    initialise(settings)
    with open_builder(settings) as make:
        make.domain("example.org")
        make.domain("example.net", "example.org")
        for name in ("amy", "bob", "o'neil"):
            make.user(f"{name}@example.org")
        make.alias("team@example.org", "amy@example.org", "x@elsewhere.test")
        make.alias("all@example.org", "amy@example.org")
        make.app_password("amy@example.org", "phone")
        make.grant("bob@example.org", "team@example.org")
        make.until("bob@example.org", 86400)
        make.remove("alias", "team@example.org")
        make.user("gone@example.org")
        make.remove("user", "gone@example.org")
        with make.directory.change(reason="ü\x1b[2J\u202e") as change:
            row = {"account_id": 77, "mail_id": "m", "address": "a@b.test", "mail": "trash"}
            change.insert(schema.removed_mailbox, {**row, "removed_at": change.now})
    return settings


def content(settings: Settings) -> dict[str, list[Any]]:
    """Every row of every table as the driver gives it, and the ids given away last."""
    file = settings.directory.file
    if file is not None:
        with closing(sqlite3.connect(file)) as connection:
            query = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
            names = [name for (name,) in connection.execute(query)]
            return {name: sorted(connection.execute(f'SELECT * FROM "{name}"'), key=repr) for name in names}
    with psycopg.connect(**postgresql.connection_parameters(settings)) as server:
        found = {
            name: sorted(server.execute(f'SELECT * FROM "{name}"'.encode()).fetchall(), key=repr)
            for name in schema.metadata.tables
        }
        for (name,) in server.execute("SELECT sequencename FROM pg_sequences ORDER BY 1").fetchall():
            query = f'SELECT last_value - (NOT is_called)::int FROM "{name}"'
            found[name] = server.execute(query.encode()).fetchall()
        return found
