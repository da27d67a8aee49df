"""The directory: domains, addresses, accounts, targets, and the journal."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "domain",
        sa.Column("id", _id(), nullable=False),
        sa.Column("name", _text(), nullable=False),
        sa.Column("alias_of_id", _id()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_domain"),
        sa.UniqueConstraint("name", name="uq_domain_name"),
        sa.ForeignKeyConstraint(["alias_of_id"], ["domain.id"], name="fk_domain_alias_of_id_domain"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_domain_alias_of_id", "domain", ["alias_of_id"])
    op.create_table(
        "address",
        sa.Column("id", _id(), nullable=False),
        sa.Column("domain_id", _id(), nullable=False),
        sa.Column("local_part", _text(), nullable=False),
        sa.Column("kind", _text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_address"),
        sa.ForeignKeyConstraint(["domain_id"], ["domain.id"], name="fk_address_domain_id_domain"),
        sa.UniqueConstraint("domain_id", "local_part", name="uq_address_domain_id_local_part"),
        sa.CheckConstraint("kind IN ('user', 'alias')", name="ck_address_kind"),
        sa.CheckConstraint("local_part <> '' OR kind = 'alias'", name="ck_address_catch_all"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "account",
        sa.Column("id", _id(), autoincrement=False, nullable=False),
        sa.Column("mail_id", _text(), nullable=False),
        sa.Column("name", _text(), nullable=False),
        sa.Column("password", _text(), nullable=False),
        sa.Column("login", sa.Boolean(), nullable=False),
        sa.Column("imap", sa.Boolean(), nullable=False),
        sa.Column("pop3", sa.Boolean(), nullable=False),
        sa.Column("send", sa.Boolean(), nullable=False),
        sa.Column("receive", sa.Boolean(), nullable=False),
        sa.Column("keep_copy", sa.Boolean(), nullable=False),
        sa.Column("quota", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_account"),
        sa.ForeignKeyConstraint(["id"], ["address.id"], name="fk_account_id_address"),
        sa.UniqueConstraint("mail_id", name="uq_account_mail_id"),
    )
    op.create_table(
        "target",
        sa.Column("id", _id(), nullable=False),
        sa.Column("source_id", _id(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("local_part", _text(), nullable=False),
        sa.Column("base", _text(), nullable=False),
        sa.Column("domain", _text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_target"),
        sa.ForeignKeyConstraint(["source_id"], ["address.id"], name="fk_target_source_id_address"),
        sa.UniqueConstraint("source_id", "position", name="uq_target_source_id_position"),
        sa.UniqueConstraint(
            "source_id", "local_part", "domain", name="uq_target_source_id_local_part_domain"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_target_domain_base", "target", ["domain", "base"])
    op.create_table(
        "journal",
        sa.Column("id", _id(), nullable=False),
        sa.Column("made_at", sa.DateTime(), nullable=False),
        sa.Column("actor", _text(), nullable=False),
        sa.Column("command", _text(), nullable=False),
        sa.Column("reason", _text()),
        sa.PrimaryKeyConstraint("id", name="pk_journal"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "journal_row",
        sa.Column("entry_id", _id(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("table_name", _text(), nullable=False),
        sa.Column("row_id", _id(), nullable=False),
        sa.Column("before", _text()),
        sa.Column("after", _text()),
        sa.PrimaryKeyConstraint("entry_id", "position", name="pk_journal_row"),
        sa.ForeignKeyConstraint(["entry_id"], ["journal.id"], name="fk_journal_row_entry_id_journal"),
    )


def downgrade() -> None:
    for table in ("journal_row", "journal", "target", "account", "address", "domain"):
        op.drop_table(table)
