"""The look-up tables that Postfix reads: map files over the views of `postfix.db`, or of a PostgreSQL.

Every table is read through proxymap: a direct `sqlite:` table in a chrooted daemon can return
uncommitted rows, and a daemon that meets a lock dies with its client's session (`dict_sqlite.c`).

In a query Postfix replaces `%s` (the key), `%u` and `%d` (its local part and domain) and doubles
`'` in them, so each stands in single quotes. A key without a domain suppresses a query that has
`%d`, one without a local part (`@example.org`) a query that has `%u` (sqlite_table(5)).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from postmaster.address import EXTENSION_SEPARATOR
from postmaster.served import Database

SCHEMA = "postfix"  # of the views in PostgreSQL
FOLDER = "postmaster"  # in Postfix's configuration directory

_SEPARATOR = f"'{EXTENSION_SEPARATOR}'"
#: Where the extension begins, as Postfix splits (`split_addr.c`): at the first separator, never at the start.
_SPLIT = f"instr(substr('%u', 2) || {_SEPARATOR}, {_SEPARATOR})"
_BASE = f"substr('%u', 1, {_SPLIT})"
_EXTENSION = f"substr('%u', {_SPLIT} + 1)"


def kind(source: str) -> str:
    """The type of our tables for a value of lookups.source."""
    return "pgsql" if source == "database" else "sqlite"


@dataclass(frozen=True, slots=True)
class Map:
    """A table: the name of its file (without `.cf`) and the query that answers one key."""

    name: str
    query: str

    def file(self, config_directory: Path) -> Path:
        return config_directory / FOLDER / f"{self.name}.cf"

    def table(self, config_directory: Path, kind: str = "sqlite") -> str:
        """How a parameter names it. `kind` is sqlite or pgsql."""
        return f"proxy:{kind}:{self.file(config_directory)}"

    def text(self, source: Path | Database) -> str:
        """The file's content: for a look-up file, or for the database that has the same views."""
        begin = "# Written by postmaster; the next `postmaster setup apply` writes it again.\n"
        if isinstance(source, Path):
            return f"{begin}dbpath = {source}\nquery = {self.query}\n"
        hosts = " ".join(
            f"unix:{host}" if host.startswith("/") else f"inet:{host}:{port}" for host, port in source.hosts
        )
        password = f"password = {source.password}\n" if source.password else ""
        # libpq takes a name with `=` in it for a connection string (PQsetdbLogin). A URL in `hosts` would do
        # as well, but Postfix logs it, password and all, when the host is away (dict_pgsql.c).
        words = " ".join(f"{name}={value}" for name, value in (("dbname", source.name), *source.options))
        return (
            f"{begin}hosts = {hosts}\nuser = {source.user}\n{password}dbname = {words}\n"
            f"query = {self.query_in_postgresql}\n"
        )

    @property
    def query_in_postgresql(self) -> str:
        return self.query.replace("instr(", "strpos(").replace(" FROM ", f" FROM {SCHEMA}.")


MAILBOX_DOMAINS = Map("mailbox_domains", "SELECT domain FROM virtual_mailbox_domain WHERE domain = '%s'")
ALIAS_DOMAINS = Map("alias_domains", "SELECT domain FROM virtual_alias_domain WHERE domain = '%s'")
MAILBOXES = Map("mailboxes", "SELECT address FROM virtual_mailbox WHERE local_part = '%u' AND domain = '%d'")
#: Answers `user+tag@domain` as well, so that the tag is kept for targets here and not sent elsewhere.
ALIASES = Map(
    "aliases",
    f"SELECT CASE is_local WHEN 1 THEN target_local || {_EXTENSION} ELSE target_local END"
    f" || '@' || target_domain FROM virtual_alias WHERE local_part = {_BASE} AND domain = '%d'",
)
CATCH_ALLS = Map("catch_alls", "SELECT target FROM catch_all WHERE domain = '%d' AND '%s' = '@%d'")
CLOSED_RECIPIENTS = Map(
    "closed_recipients", "SELECT action FROM recipient_access WHERE local_part = '%u' AND domain = '%d'"
)
#: Postfix stops at the first key that is found, so an address names those who have its whole domain too.
SENDER_OWNERS = Map(
    "sender_owners",
    f"SELECT login FROM sender_login WHERE local_part IN ({_BASE}, '') AND domain = '%d'",
)
SENDING_LOGINS = Map("sending_logins", "SELECT action FROM submission_login WHERE login = '%s'")

MAPS = (
    MAILBOX_DOMAINS,
    ALIAS_DOMAINS,
    MAILBOXES,
    ALIASES,
    CATCH_ALLS,
    CLOSED_RECIPIENTS,
    SENDER_OWNERS,
    SENDING_LOGINS,
)
