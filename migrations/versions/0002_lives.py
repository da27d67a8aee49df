"""Ends by date, locked accounts, app passwords, grants to send, removed mailboxes; undo and its hashes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("address", sa.Column("until", sa.DateTime()))
    op.add_column("account", sa.Column("locked_at", sa.DateTime()))
    op.add_column("account", sa.Column("forward_until", sa.DateTime()))
    op.create_table(
        "app_password",
        sa.Column("id", _id(), nullable=False),
        sa.Column("account_id", _id(), nullable=False),
        sa.Column("name", _text(), nullable=False),
        sa.Column("sha256", _text(), nullable=False),
        sa.Column("imap", sa.Boolean(), nullable=False),
        sa.Column("pop3", sa.Boolean(), nullable=False),
        sa.Column("send", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_app_password"),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_app_password_account_id_account"),
        sa.UniqueConstraint("sha256", name="uq_app_password_sha256"),
        sa.UniqueConstraint("account_id", "name", name="uq_app_password_account_id_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sender_grant",
        sa.Column("id", _id(), nullable=False),
        sa.Column("account_id", _id(), nullable=False),
        sa.Column("domain_id", _id(), nullable=False),
        sa.Column("local_part", _text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sender_grant"),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_sender_grant_account_id_account"),
        sa.ForeignKeyConstraint(["domain_id"], ["domain.id"], name="fk_sender_grant_domain_id_domain"),
        sa.UniqueConstraint(
            "account_id", "domain_id", "local_part", name="uq_sender_grant_account_id_domain_id_local_part"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_sender_grant_domain_id_local_part", "sender_grant", ["domain_id", "local_part"])
    op.create_table(
        "removed_mailbox",
        sa.Column("id", _id(), nullable=False),
        sa.Column("account_id", _id(), nullable=False),
        sa.Column("mail_id", _text(), nullable=False),
        sa.Column("address", _text(), nullable=False),
        sa.Column("mail", _text(), nullable=False),
        sa.Column("removed_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_removed_mailbox"),
        sa.UniqueConstraint("mail_id", name="uq_removed_mailbox_mail_id"),
        sa.CheckConstraint("mail IN ('trash', 'keep', 'delete')", name="ck_removed_mailbox_mail"),
        sqlite_autoincrement=True,
    )
    op.add_column("journal", sa.Column("undoes", _text()))
    op.create_index("ix_journal_made_at", "journal", ["made_at"])
    # The default is for the rows that are there; every new one says it.
    op.add_column(
        "journal_row", sa.Column("has_hash", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.execute("UPDATE journal_row SET has_hash = true WHERE table_name = 'account'")
    op.create_index("ix_journal_row_table_name_row_id", "journal_row", ["table_name", "row_id"])
    op.create_index(
        "ix_journal_row_hashed",
        "journal_row",
        ["entry_id"],
        sqlite_where=sa.text("has_hash"),
        postgresql_where=sa.text("has_hash"),
    )


def downgrade() -> None:
    # What no longer has a column must not open again.
    op.execute("UPDATE account SET login = false WHERE locked_at IS NOT NULL OR password = ''")
    ended = "SELECT id FROM address WHERE until <= CURRENT_TIMESTAMP"
    op.execute(f"UPDATE account SET login = false, receive = false WHERE id IN ({ended})")
    for index in ("ix_journal_row_hashed", "ix_journal_row_table_name_row_id"):
        op.drop_index(index, "journal_row")
    op.drop_column("journal_row", "has_hash")
    op.drop_index("ix_journal_made_at", "journal")
    op.drop_column("journal", "undoes")
    for table in ("removed_mailbox", "sender_grant", "app_password"):
        op.drop_table(table)
    op.drop_column("account", "forward_until")
    op.drop_column("account", "locked_at")
    op.drop_column("address", "until")
