"""How servers reach the look-ups in a PostgreSQL: hosts, database, role, options of libpq."""

from __future__ import annotations

import re
from dataclasses import dataclass

from postmaster.database_url import SCHEMES, is_secret, parse, scheme
from postmaster.errors import SettingsError

PORT = 5432
SOCKETS = "/var/run/postgresql"  # Debian's

#: What stands for itself in Postfix's and Dovecot's files and in libpq's connection strings.
_PLAIN = re.compile(r"[A-Za-z0-9._~+/=@:,-]*")

#: A host that is gone answers nothing at all, and without these a server waits minutes for it before it
#: tries the next: until it answers (seconds), until it acknowledges what it was sent (milliseconds; less
#: than the 5 seconds that Dovecot gives all hosts together).
_PATIENCE = {"connect_timeout": "5", "tcp_user_timeout": "3000"}

#: Options that belong to the user of a URL, and not to the servers' roles.
_OWN = ("passfile", "sslcert", "sslkey", "service", "options", "application_name")


@dataclass(frozen=True, slots=True)
class Database:
    """`hosts` are tried in turn; one that begins with `/` is a folder of Unix sockets."""

    hosts: tuple[tuple[str, int], ...]
    name: str
    user: str
    password: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def is_secret(self) -> bool:
        return bool(self.password) or any(is_secret(name) for name, _ in self.options)


def database(url: str, user: str, fallback: str) -> Database:
    """What a URL says; of the other one, where it is empty, what is not its user's own.

    Raises SettingsError.
    """
    if scheme(url or fallback) not in SCHEMES:
        raise SettingsError(
            "lookups.source is database, and no URL names a PostgreSQL",
            hint="lookups.postfix_url and lookups.dovecot_url, or directory.url",
        )
    parts = parse(url or fallback)
    options = {name: value for name, value in parts.options if url or not (name in _OWN or is_secret(name))}
    found = Database(
        tuple((host or SOCKETS, port or PORT) for host, port in parts.hosts or (("", None),)),
        parts.name,
        parts.user if url and parts.user else user,
        parts.password if url else "",
        tuple({**_PATIENCE, **options}.items()),
    )
    words = (found.name, found.user, found.password, *(host for host, _ in found.hosts))
    for text in (*words, *(word for option in found.options for word in option)):
        if not _PLAIN.fullmatch(text):
            raise SettingsError(
                "the URL by which servers reach the database has characters that their files cannot hold",
                hint="letters, digits and . _ ~ + / = @ : , - are safe",
            )
    if not found.name:
        raise SettingsError("the URL by which servers reach the database names none")
    return found
