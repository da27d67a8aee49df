"""The URL of a PostgreSQL, as libpq has it: `postgresql://USER:PASSWORD@HOST:PORT,HOST2/DATABASE?OPTION=VALUE`.

Several hosts are tried in turn; one that begins with `/` (or `%2F`) is a folder of Unix sockets. No error
and no text for people made here has a password in it, wherever in the URL it stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from postmaster.errors import SettingsError

SCHEMES = ("postgresql", "postgres")
HIDDEN = "***"

_HOST = re.compile(r"(?:\[([^\[\]@]+)\]|([^:\[\]@]*))(?::([0-9]+))?")

#: Options of libpq that say again what has its own place in the URL.
_PARTS = ("host", "port", "user", "password", "dbname")


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """What a URL says; an empty text, no port and no hosts stand for what is not said."""

    hosts: tuple[tuple[str, int | None], ...]
    name: str
    user: str
    password: str
    options: tuple[tuple[str, str], ...]

    @property
    def has_password(self) -> bool:
        return bool(self.password) or any(is_secret(name) for name, _ in self.options)

    @property
    def shown(self) -> str:
        """For people: never with a password."""
        login = quote(self.user) + (f":{HIDDEN}" if self.password else "")
        places = ",".join(_place(host) + (f":{port}" if port else "") for host, port in self.hosts)
        told = "&".join(f"{name}={quote(value)}" for name, value in self.options if not is_secret(name))
        at = "@" if login else ""
        return f"postgresql://{login}{at}{places}/{quote(self.name)}" + (f"?{told}" if told else "")


def is_secret(option: str) -> bool:
    """Whether an option of libpq is a password: password, sslpassword, and what may yet come."""
    return "password" in option.lower()


def scheme(url: str) -> str:
    """What a URL begins with, less the name of a driver; empty where it is none."""
    begin, colon, _ = url.partition("://")
    return begin.partition("+")[0] if colon else ""


def parse(url: str) -> DatabaseUrl:
    """Raises SettingsError, which never repeats the URL."""
    try:
        return _parse(url)
    except ValueError:
        raise SettingsError(
            "this is not the URL of a PostgreSQL",
            hint="postgresql://USER@HOST/DATABASE; in a password / ? # @ % : are %2F %3F %23 %40 %25 %3A",
        ) from None


def _parse(url: str) -> DatabaseUrl:
    parts = urlsplit(url)
    if scheme(url) not in SCHEMES or parts.fragment or not url.isprintable():
        raise ValueError
    login, _, places = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    given: dict[str, list[str]] = {}
    for option in filter(None, parts.query.split("&")):
        name, equals, value = option.partition("=")
        if not equals or not name:
            raise ValueError
        given.setdefault(unquote(name), []).append(unquote(value))
    if given.pop("ssl", None) == ["true"]:  # JDBC's word, which libpq takes too
        given["sslmode"] = ["require"]
    said = {name: ",".join(given.pop(name)) for name in _PARTS if name in given}
    places = said.get("host", places)
    hosts = [_host(place) for place in places.split(",")] if places else []
    if "port" in said:
        ports = said["port"].split(",")
        if len(ports) not in (1, len(hosts or [""])):
            raise ValueError
        hosts = [
            (host, port or _port(ports[at % len(ports)]))
            for at, (host, port) in enumerate(hosts or [("", None)])
        ]
    return DatabaseUrl(
        tuple(hosts),
        said.get("dbname", unquote(parts.path.removeprefix("/"))),
        said.get("user", unquote(user)),
        said.get("password", unquote(password)),
        tuple((name, ",".join(values)) for name, values in given.items()),
    )


def _host(place: str) -> tuple[str, int | None]:
    found = _HOST.fullmatch(place)
    if found is None or not place:
        raise ValueError
    return unquote(found[1] or found[2]), _port(found[3]) if found[3] else None


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise ValueError
    return int(text)


def _place(host: str) -> str:
    return f"[{host}]" if ":" in host else quote(host, safe="")
