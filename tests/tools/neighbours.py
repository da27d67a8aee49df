"""The databases of other mail systems, made as those systems make them, to be read from.

Tables and columns with their kinds and defaults are those of the named version or file; in each database they
get the types of its own, as there. A table that no reader looks at is here where its rows have to be named.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Engine,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    create_engine,
)

Tables = Mapping[str, list[dict[str, Any]]]

_LONG_AGO = datetime(2020, 1, 2, 3, 4, 5)
_NEVER = datetime(9999, 12, 31)
#: Letter -> type, and what a column has where a row does not say: the value its system writes.
_KINDS: dict[str, tuple[Any, Any]] = {
    "k": (Integer, None),
    "s": (String(255), ""),
    "t": (Text, ""),
    "i": (Integer, 0),
    "l": (BigInteger, 0),
    "n": (SmallInteger, 0),
    "N": (SmallInteger, 1),
    "b": (Boolean, False),
    "B": (Boolean, True),
    "d": (DateTime, _LONG_AGO),
    "D": (DateTime, _NEVER),
}

#: System -> table -> `column:kind`; `?` is NULL where a row does not say, `!` the primary key.
SCHEMAS: dict[str, dict[str, str]] = {
    # PostfixAdmin 3.3.13 (database version 1847), as upgrade.php leaves it.
    "postfixadmin": {
        "admin": "username:s! password:s superadmin:b created:d modified:d active:B phone:s email_other:s",
        "domain": "domain:s! description:s aliases:i mailboxes:i maxquota:l quota:l transport:s backupmx:b"
        " created:d modified:d active:B password_expiry:i",
        "alias_domain": "alias_domain:s! target_domain:s created:d modified:d active:B",
        "mailbox": "username:s! password:s name:s maildir:s quota:l local_part:s domain:s created:d"
        " modified:d active:B phone:s email_other:s token:s token_validity:d password_expiry:d?",
        "alias": "address:s! goto:t domain:s created:d modified:d active:B",
        "vacation": "email:s! subject:s body:t activefrom:d activeuntil:d cache:t domain:s interval_time:i"
        " created:d modified:d active:B",
    },
    # ViMbAdmin 3 (database version 1), doctrine2/xml.
    "vimbadmin": {
        "admin": "id:k! username:s? password:s super:b active:B created:d modified:d?",
        "domain": "id:k! domain:s description:s? max_aliases:i alias_count:l max_mailboxes:i mailbox_count:l"
        " max_quota:l quota:l transport:s backupmx:b active:B homedir:s? maildir:s? uid:i? gid:i?"
        " created:d modified:d?",
        "mailbox": "id:k! username:s password:s name:s? alt_email:s? quota:l local_part:s active:b"
        " access_restriction:s homedir:s? maildir:s? uid:l? gid:l? homedir_size:l? maildir_size:l? size_at:d?"
        " delete_pending:b created:d modified:d? Domain_id:l?",
        "alias": "id:k! address:s goto:t active:B created:d modified:d? Domain_id:l?",
        "archive": "id:k! username:s status:s archived_at:d status_changed_at:d data:t Domain_id:l?",
        "mailbox_pref": "id:k! attribute:s ix:i op:s value:t expire:l Mailbox_id:l?",
    },
    # iRedMail, samples/iredmail/iredmail.mysql and iredmail.pgsql.
    "iredmail": {
        "admin": "username:s! password:s name:s language:s created:d modified:d expired:D active:N",
        "domain": "domain:s! description:t disclaimer:t aliases:i mailboxes:i maillists:i maxquota:l quota:l"
        " transport:s backupmx:n settings:t created:d modified:d expired:D active:N",
        "alias_domain": "alias_domain:s! target_domain:s created:d modified:d active:N",
        "mailbox": "username:s! password:s name:s language:s mailboxformat:s mailboxfolder:s"
        " storagebasedirectory:s storagenode:s maildir:s quota:l domain:s transport:s department:s rank:s"
        " employeeid:s isadmin:n isglobaladmin:n enablesmtp:N enablesmtpsecured:N enablepop3:N"
        " enablepop3secured:N enablepop3tls:N enableimap:N enableimapsecured:N enableimaptls:N"
        " enabledeliver:N enablelda:N enablemanagesieve:N enablemanagesievesecured:N enablesieve:N"
        " enablesievesecured:N"
        " enablesievetls:N enableinternal:N enabledoveadm:N enablelib-storage:N enablequota-status:N"
        " enableindexer-worker:N enablelmtp:N enabledsync:N enablesogo:N allow_nets:t? disclaimer:t"
        " settings:t passwordlastchange:d created:d modified:d expired:D active:N",
        "alias": "address:s! name:s accesspolicy:s domain:s created:d modified:d expired:D active:N",
        "forwardings": "id:k! address:s forwarding:s domain:s dest_domain:s is_maillist:n is_list:n"
        " is_forwarding:n is_alias:n active:N",
        "maillists": "id:k! address:s domain:s transport:s accesspolicy:s maxmsgsize:l name:s description:t?"
        " mlid:s is_newsletter:n settings:t? created:d modified:d expired:D active:N",
    },
    # Mailu, core/admin/mailu/models.py.
    "mailu": {
        "domain": "created_at:d updated_at:d? comment:s? name:s! max_users:i max_aliases:i max_quota_bytes:l"
        " signup_enabled:b",
        "alternative": "created_at:d updated_at:d? comment:s? name:s! domain_name:s?",
        "user": "created_at:d updated_at:d? comment:s? localpart:s password:s quota_bytes:l "
        "quota_bytes_used:l global_admin:b enabled:B enable_imap:B enable_pop:B allow_spoofing:b"
        " forward_enabled:b"
        " forward_destination:s? forward_keep:B reply_enabled:b reply_subject:s? reply_body:t?"
        " reply_startdate:d reply_enddate:d displayed_name:s spam_enabled:B spam_mark_as_read:B"
        " spam_threshold:i change_pw_next_login:b domain_name:s email:s!",
        "alias": "created_at:d updated_at:d? comment:s? localpart:s wildcard:b destination:t domain_name:s"
        " email:s!",
        "token": "created_at:d updated_at:d? comment:s? id:k! user_email:s password:s ip:s?",
    },
    # Modoboa 2.12.0, its migrations of `core` and `admin`.
    "modoboa": {
        "core_user": "id:k! is_superuser:b username:s first_name:s last_name:s email:s is_staff:b is_active:B"
        " date_joined:d is_local:B password:s last_login:d? master_user:b language:s phone_number:s?"
        " secondary_email:s? _parameters:t totp_enabled:b webauthn_enabled:b",
        "admin_domain": "id:k! enabled:B type:s creation:d last_modification:d enable_dns_checks:B"
        " default_mailbox_quota:i quota:i transport_id:i? dkim_key_length:i? dkim_key_selector:s"
        " dkim_private_key_path:s dkim_public_key:t enable_dkim:b message_limit:i? name:s"
        " last_dns_check_execution:d?",
        "admin_domainalias": "id:k! name:s enabled:B target_id:i creation:d last_modification:d",
        "admin_mailbox": "id:k! address:s quota:i use_domain_quota:b domain_id:i user_id:i creation:d"
        " last_modification:d message_limit:i? is_send_only:b",
        "admin_alias": "id:k! address:s enabled:B internal:b domain_id:i? description:t expire_at:d?"
        " creation:d last_modification:d",
        "modoboa_admin_aliasrecipient": "id:k! alias_id:i r_alias_id:i? r_mailbox_id:i? address:s",
        "admin_senderaddress": "id:k! address:s mailbox_id:i",
        "core_log": "id:k! date_created:d message:t level:s logger:s",
    },
    # Mail-in-a-Box, setup/mail-users.sh, since users have quotas.
    "mailinabox": {
        "users": "id:k! email:s password:s extra:s? privileges:s quota:s",
        "aliases": "id:k! source:s destination:t permitted_senders:t?",
        "mfa": "id:k! user_id:i type:s secret:s mru_token:s? label:s?",
        "auto_aliases": "id:k! source:s destination:t permitted_senders:t?",
    },
}


def fill(engine: Engine, system: str, rows: Tables, prefix: str = "") -> None:
    """Make a system's tables in a database, with these rows; what all their names begin with."""
    metadata = MetaData()
    made = {name: Table(prefix + name, metadata, *_columns(text)) for name, text in SCHEMAS[system].items()}
    metadata.create_all(engine)
    with engine.begin() as connection:
        for name, table in made.items():
            defaults = {column.name: column.info["default"] for column in table.columns}
            for number, row in enumerate(rows.get(name, []), 1):
                values = {**defaults, **({"id": number} if "id" in defaults else {}), **row}
                connection.execute(table.insert(), values)


def _columns(text: str) -> list[Column[Any]]:
    found = []
    for one in text.split():
        name, _, kind = one.partition(":")
        of, default = _KINDS[kind[0]]
        column: Column[Any] = Column(
            name,
            of,
            primary_key="!" in kind,
            nullable="?" in kind,
            autoincrement=False,
            info={"default": None if "?" in kind else default},
        )
        found.append(column)
    return found


def sqlite_file(file: Path, system: str, rows: Tables, prefix: str = "") -> Path:
    """A system's database in SQLite, which may be there already."""
    engine = create_engine(f"sqlite:///{file}")
    fill(engine, system, rows, prefix)
    engine.dispose()
    return file


def sqlite_dump(file: Path) -> Path:
    """What sqlite3's `.dump` writes of a database, beside it."""
    to = file.with_suffix(".sql")
    with closing(sqlite3.connect(file)) as connection:
        to.write_text("\n".join(connection.iterdump()))
    return to
