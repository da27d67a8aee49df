"""How servers reach the look-ups in a PostgreSQL: hosts, database, role."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from postmaster.errors import SettingsError

PORT = 5432
SOCKETS = "/var/run/postgresql"  # Debian's

#: What stands for itself in Postfix's and Dovecot's files and in libpq's connection strings.
_PLAIN = re.compile(r"[A-Za-z0-9._~+/=@:,-]*")


@dataclass(frozen=True, slots=True)
class Database:
    """`hosts` are tried in turn; one that begins with `/` is a folder of Unix sockets."""

    hosts: tuple[tuple[str, int], ...]
    name: str
    user: str
    password: str

    @property
    def is_secret(self) -> bool:
        return bool(self.password)


def database(url: str, user: str, fallback: str) -> Database:
    """What a URL says, or where it is empty another one, less its user and password. Raises SettingsError.

    `postgresql://USER:PASSWORD@HOST:PORT,HOST2/DATABASE`, as libpq has it.
    """
    parts = urlsplit(url or fallback)
    if parts.scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise SettingsError(
            "lookups.source is database, and no URL names a PostgreSQL",
            hint="lookups.postfix_url and lookups.dovecot_url, or directory.url",
        )
    login, _, places = parts.netloc.rpartition("@")
    name, _, password = login.partition(":")
    places = places or parse_qs(parts.query).get("host", [SOCKETS])[0]
    found = Database(
        tuple(_host(place) for place in places.split(",")),
        unquote(parts.path.lstrip("/")),
        unquote(name) if url and name else user,
        unquote(password) if url else "",
    )
    for text in (found.name, found.user, found.password, *(host for host, _ in found.hosts)):
        if not _PLAIN.fullmatch(text):
            raise SettingsError(
                "the URL by which servers reach the database has characters that their files cannot hold",
                hint="letters, digits and . _ ~ + / = @ : , - are safe",
            )
    if not found.name:
        raise SettingsError("the URL by which servers reach the database names none")
    return found


def _host(place: str) -> tuple[str, int]:
    if place.startswith(("/", "%2F", "%2f")):
        return unquote(place), PORT
    host, colon, port = place.rpartition(":")
    if not colon or "]" in port:
        host, port = place, str(PORT)
    if not port.isdigit() or not 0 < int(port) < 65536 or not host:
        raise SettingsError(f"the URL by which servers reach the database has no host in {place!r}")
    return host.strip("[]"), int(port)
