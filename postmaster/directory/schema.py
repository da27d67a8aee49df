"""The tables of the truth, in one MetaData.

A domain is hosted, or is an alias of a hosted one. Users and aliases share one name space: each
is a row in `address`, unique by domain and local part; a user has an `account` row with the same
id beside it. Where mail goes is a `target` row of the address it is for: an alias has at least
one, a user with a forward too. A catch-all is an alias with an empty local part.

`until` is when an address, or a user's forward, ends by itself: the look-ups compare it with the clock.
An account may have app passwords, each for some protocols, and grants to send as other addresses. What
is left of a user who is gone, the mail above all, is a row in `removed_mailbox` until it is purged.

Ids are never used again (AUTOINCREMENT), so look-ups and journal entries stay unambiguous.
`migrations/` makes these tables; a test holds the two together.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

#: The revision of `migrations/` that this code works with.
REVISION = "0002"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


# SQLite gives AUTOINCREMENT to INTEGER keys only, PostgreSQL wants 64 bits.
_Id = BigInteger().with_variant(Integer(), "sqlite")
# Compared and sorted by bytes, as SQLite does, whatever the locale of a PostgreSQL database.
_Text = Text().with_variant(Text(collation="C"), "postgresql")

domain = Table(
    "domain",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", _Text, nullable=False, unique=True),  # A-label, lower case
    Column("alias_of_id", _Id, ForeignKey("domain.id"), index=True),
    Column("created_at", DateTime, nullable=False),  # UTC
    sqlite_autoincrement=True,
)

address = Table(
    "address",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("domain_id", _Id, ForeignKey("domain.id"), nullable=False),
    Column("local_part", _Text, nullable=False),  # lower case; empty: the domain's catch-all
    Column("kind", _Text, nullable=False),
    Column("created_at", DateTime, nullable=False),
    Column("until", DateTime),  # UTC; NULL: for good
    UniqueConstraint("domain_id", "local_part"),
    CheckConstraint("kind IN ('user', 'alias')", name="kind"),
    CheckConstraint("local_part <> '' OR kind = 'alias'", name="catch_all"),
    sqlite_autoincrement=True,
)

account = Table(
    "account",
    metadata,
    Column("id", _Id, ForeignKey("address.id"), primary_key=True, autoincrement=False),
    Column("mail_id", _Text, nullable=False, unique=True),  # names the mail folder, for good
    Column("name", _Text, nullable=False),
    Column("password", _Text, nullable=False),  # {SCHEME}hash; empty: there is none, nobody logs in by it
    Column("login", Boolean, nullable=False),
    Column("imap", Boolean, nullable=False),
    Column("pop3", Boolean, nullable=False),
    Column("send", Boolean, nullable=False),
    Column("receive", Boolean, nullable=False),
    Column("keep_copy", Boolean, nullable=False),  # of what is forwarded; of no effect without targets
    Column("quota", BigInteger),  # bytes; NULL: none
    Column("locked_at", DateTime),  # UTC; NULL: not locked
    Column("forward_until", DateTime),  # UTC, of the account's targets; NULL: for good
)

target = Table(
    "target",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("source_id", _Id, ForeignKey("address.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("local_part", _Text, nullable=False),  # external form, with its extension
    Column("base", _Text, nullable=False),  # the local part without its extension
    Column("domain", _Text, nullable=False),  # A-label; hosted here or anywhere
    UniqueConstraint("source_id", "position"),
    UniqueConstraint("source_id", "local_part", "domain"),
    Index(None, "domain", "base"),
    sqlite_autoincrement=True,
)

app_password = Table(
    "app_password",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("account_id", _Id, ForeignKey("account.id"), nullable=False),
    Column("name", _Text, nullable=False),
    Column("sha256", _Text, nullable=False, unique=True),  # hexadecimal, of 128 random bits or more
    Column("imap", Boolean, nullable=False),
    Column("pop3", Boolean, nullable=False),
    Column("send", Boolean, nullable=False),
    Column("created_at", DateTime, nullable=False),
    UniqueConstraint("account_id", "name"),
    sqlite_autoincrement=True,
)

sender_grant = Table(
    "sender_grant",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("account_id", _Id, ForeignKey("account.id"), nullable=False),
    Column("domain_id", _Id, ForeignKey("domain.id"), nullable=False),
    Column("local_part", _Text, nullable=False),  # lower case, no extension; empty: the whole domain
    Column("created_at", DateTime, nullable=False),
    UniqueConstraint("account_id", "domain_id", "local_part"),
    Index(None, "domain_id", "local_part"),
    sqlite_autoincrement=True,
)

removed_mailbox = Table(
    "removed_mailbox",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("account_id", _Id, nullable=False),  # it had; never used again
    Column("mail_id", _Text, nullable=False, unique=True),
    Column("address", _Text, nullable=False),  # it had, with an A-label
    Column("mail", _Text, nullable=False),  # where the folder belongs now
    Column("removed_at", DateTime, nullable=False),
    CheckConstraint("mail IN ('trash', 'keep', 'delete')", name="mail"),
    sqlite_autoincrement=True,
)

journal = Table(
    "journal",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("made_at", DateTime, nullable=False, index=True),
    Column("actor", _Text, nullable=False),
    Column("command", _Text, nullable=False),
    Column("reason", _Text),
    Column("undoes", _Text),  # JSON list of entries; NULL: no undo
    sqlite_autoincrement=True,
)

journal_row = Table(
    "journal_row",
    metadata,
    Column("entry_id", _Id, ForeignKey("journal.id"), primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("table_name", _Text, nullable=False),
    Column("row_id", _Id, nullable=False),
    Column("before", _Text),  # JSON object; NULL: the row was not there
    Column("after", _Text),  # JSON object; NULL: the row is gone
    Column("has_hash", Boolean, nullable=False),  # of a password, that is to be taken out in time
    Index(None, "table_name", "row_id"),
    # Of rows with a hash alone: the migration says so, as saying it here loads both dialects at each start.
    Index("ix_journal_row_hashed", "entry_id"),
)

#: The tables whose rows are journalled, by name; parents before children.
JOURNALLED = {
    table.name: table
    for table in (domain, address, account, target, app_password, sender_grant, removed_mailbox)
}

#: Table -> its column with what lets somebody in.
HASHES = {"account": "password", "app_password": "sha256"}
