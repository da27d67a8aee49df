"""Settings: defaults < file < environment < options, as frozen sections, one for each room.

The sections stand here and not in the rooms because this is the lowest floor: a room takes its own
section and nothing else. File: `--config FILE`, else `POSTMASTER_CONFIG`, else
`/etc/postmaster/postmaster.toml`, else the defaults alone. Each key is also an environment
variable (`POSTMASTER_POSTFIX_CONFIG_DIRECTORY`; paths are separated by `:`, texts by commas). An
unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postmaster.errors import SettingsError

if TYPE_CHECKING:
    from datetime import datetime

DEFAULT_FILE = Path("/etc/postmaster/postmaster.toml")
FILE_VARIABLE = "POSTMASTER_CONFIG"
PREFIX = "POSTMASTER_"


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """The truth."""

    url: str = "sqlite:////var/lib/postmaster/directory.db"
    password_file: str = ""  # with the password for a url without one; 0600
    hash_days: int = 90  # how long a replaced password's hash is kept for an undo
    replaced_days: int = 90  # how long a directory that a restore or copy replaced is kept in a file

    @property
    def file(self) -> Path | None:
        """The file of an SQLite truth, None for any other."""
        kind, _, path = self.url.partition(":///")
        return Path(path) if kind.startswith("sqlite") and path else None


@dataclass(frozen=True, slots=True)
class StateSettings:
    """What is not the directory's: backups of the servers' configuration."""

    directory: Path = Path("/var/lib/postmaster")


@dataclass(frozen=True, slots=True)
class LookupsSettings:
    """What servers read: published files and the groups that may read them, or a database's views."""

    directory: Path = Path("/var/lib/postmaster/lookups")
    postfix_group: str = "postfix"
    dovecot_group: str = "dovecot"
    source: str = "files"  # or database: the servers query the PostgreSQL that holds the truth
    postfix_url: str = ""  # how Postfix reaches the database; empty: as directory.url, as role postfix
    dovecot_url: str = ""

    @property
    def in_database(self) -> bool:
        """Whether the servers query a database rather than files of their own."""
        return self.source == "database"


@dataclass(frozen=True, slots=True)
class MailSettings:
    """Where mail is kept and who owns it."""

    root: Path = Path("/var/vmail")
    user: str = "vmail"
    postmaster: str = ""  # who gets undeliverable bounces; empty: setup wants --postmaster


@dataclass(frozen=True, slots=True)
class PostfixSettings:
    config_directory: Path = Path("/etc/postfix")


@dataclass(frozen=True, slots=True)
class DovecotSettings:
    config: Path = Path("/etc/dovecot/dovecot.conf")


@dataclass(frozen=True, slots=True)
class LogSettings:
    files: tuple[Path, ...] = ()  # empty: asked of Postfix, then /var/log/mail.log


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What is kept of queue actions: copies of deleted messages, and the record of who did what."""

    trash_days: int = 7  # how long a deleted message can be restored
    trash_free_space: int = 1024  # MiB that must stay free where copies are kept
    history_days: int = 365  # how long actions are remembered
    lock_wait: float = 30.0  # seconds that an action waits for a delivery under way to end


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where this server's listeners are. A port of 0 means there is no such listener."""

    address: str = "127.0.0.1"
    hostname: str = ""  # in Dovecot's greeting and notices; empty: the machine's name
    smtp_port: int = 25
    submission_port: int = 587
    submissions_port: int = 465
    imap_port: int = 143
    imaps_port: int = 993
    pop3_port: int = 110
    pop3s_port: int = 995
    lmtp_port: int = 0  # Dovecot's LMTP is a Unix socket in Postfix's queue directory
    sieve_port: int = 0


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """Deadlines in seconds, thresholds as counts, hours, or percent of free space."""

    deadline: float = 10.0
    flap: int = 2  # runs in a row before a problem speaks, and before it is over
    history_days: int = 400  # how long runs, changes and measures are remembered
    queue_warning: int = 100
    queue_critical: int = 1000
    queue_age_warning: float = 6.0
    queue_age_critical: float = 48.0
    disk_free_warning: float = 15.0
    disk_free_critical: float = 5.0
    answer_warning: float = 2.0  # seconds that a listener takes to greet
    answer_critical: float = 6.0
    certificate_warning: float = 21.0  # days that a certificate is still good
    certificate_critical: float = 7.0
    certificate_names: tuple[str, ...] = ()  # that it must have; empty: server.hostname, else Postfix's
    ca_file: str = ""  # certificates that are trusted besides the system's, in PEM form
    log_minutes: float = 15.0  # how far back the log is read at least
    restarts_warning: int = 2  # of a server in that time
    round_trip: bool = True
    round_trip_warning: float = 5.0  # seconds for a message in and out
    probe_address: str = ""  # a user for the round trip; empty: one that exists meanwhile alone
    probe_password_file: str = ""  # empty: below state.directory
    reflector: str = ""  # an address elsewhere that answers
    reflector_minutes: float = 60.0  # from one message to it to the next
    reflector_warning: float = 15.0  # minutes that its answer may take
    webmail_url: str = ""
    report_to: str = ""  # empty: mail.postmaster
    report_from: str = ""  # empty: the recipient
    report_way: str = "sendmail"
    report_secret: str = ""  # a file with the password
    fallback: str = ""
    fallback_to: str = ""  # empty: as report_to
    fallback_secret: str = ""
    queue_growth_warning: int = 100  # messages more than at the run before
    queue_growth_critical: int = 1000
    queue_hold_warning: float = 72.0  # hours on hold
    queue_stale: float = 1.0  # hours after which what was cut off counts as left over
    sample: int = 20  # users and aliases that the servers are asked about; every domain is
    quota_warning: float = 95.0  # percent
    quota_users: int = 500  # users with a quota that are looked at
    soundness: int = 20_000  # addresses up to which the whole directory is checked; 0: never
    login_failures_warning: int = 100  # since the run before
    login_failures_critical: int = 1000
    dns: bool = True
    resolver: tuple[str, ...] = ()  # ADDRESS or ADDRESS@PORT; empty: the system's
    addresses: tuple[str, ...] = ()  # that the world knows this server by; empty: Postfix's and the machine's
    dkim_selectors: tuple[str, ...] = ()
    dkim_keys: tuple[str, ...] = ()  # [DOMAIN/]SELECTOR=FILE of a signing key
    blocklists: tuple[str, ...] = ()  # of addresses
    domain_blocklists: tuple[str, ...] = ()
    memory_free_warning: float = 10.0  # percent
    memory_free_critical: float = 5.0
    swap_used_warning: float = 80.0  # percent
    load_warning: float = 4.0  # for each core, over five minutes
    load_critical: float = 10.0
    clock: bool = True  # off where the host keeps the time
    backup_path: str = ""  # a file or a folder with the backups in it; empty: none is looked for
    backup_age_warning: float = 26.0  # hours
    backup_age_critical: float = 74.0


@dataclass(frozen=True, slots=True)
class Settings:
    directory: DirectorySettings = field(default_factory=DirectorySettings)
    state: StateSettings = field(default_factory=StateSettings)
    lookups: LookupsSettings = field(default_factory=LookupsSettings)
    mail: MailSettings = field(default_factory=MailSettings)
    postfix: PostfixSettings = field(default_factory=PostfixSettings)
    dovecot: DovecotSettings = field(default_factory=DovecotSettings)
    log: LogSettings = field(default_factory=LogSettings)
    queue: QueueSettings = field(default_factory=QueueSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    file: Path | None = None  # the file these came from, None when only defaults apply


_SECTIONS: dict[str, type] = {
    "directory": DirectorySettings,
    "state": StateSettings,
    "lookups": LookupsSettings,
    "mail": MailSettings,
    "postfix": PostfixSettings,
    "dovecot": DovecotSettings,
    "log": LogSettings,
    "queue": QueueSettings,
    "server": ServerSettings,
    "health": HealthSettings,
}


def days_before(moment: datetime, days: int) -> datetime:
    """So many days before a moment; of more than there are dates for, a thousand years."""
    from datetime import timedelta

    return moment - timedelta(days=min(days, 365_000))


def load_settings(file: Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. `file` is what `--config` named. Raises SettingsError."""
    chosen, required = file, True
    if chosen is None and environment.get(FILE_VARIABLE):
        chosen = Path(environment[FILE_VARIABLE])
    if chosen is None:
        chosen, required = DEFAULT_FILE, False
    values: dict[str, dict[str, Any]] = {name: {} for name in _SECTIONS}
    used = _read_file(chosen, required, values)
    _read_environment(environment, values)
    sections = {name: _SECTIONS[name](**given) for name, given in values.items()}
    return Settings(**sections, file=chosen if used else None)


def as_toml(settings: Settings) -> str:
    """The settings that differ from the defaults, as the text of a settings file."""
    import json  # a TOML basic string and a JSON string agree on the characters we write

    def value(item: Any) -> str:
        if isinstance(item, Path | str):
            return json.dumps(str(item), ensure_ascii=False).replace("\x7f", "\\u007f")
        if isinstance(item, tuple):
            return "[" + ", ".join(value(one) for one in item) + "]"
        return json.dumps(item)

    blocks = []
    for name, kind in _SECTIONS.items():
        section, default = getattr(settings, name), kind()
        lines = [
            f"{f.name} = {value(getattr(section, f.name))}"
            for f in fields(kind)
            if getattr(section, f.name) != getattr(default, f.name)
        ]
        if lines:
            blocks.append("\n".join([f"[{name}]", *lines]))
    return "\n\n".join(blocks) + "\n"


def _read_file(file: Path, required: bool, values: dict[str, dict[str, Any]]) -> bool:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        if required:
            raise SettingsError(f"the settings file {file} does not exist") from None
        return False
    except OSError as error:
        raise SettingsError(f"the settings file {file} cannot be read: {error.strerror}") from None
    import tomllib

    try:
        content = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {file} is not TOML: {error}") from None
    for section, keys in content.items():
        if section not in _SECTIONS:
            raise _unknown(f"[{section}]", [f"[{name}]" for name in _SECTIONS], f"in {file}")
        if not isinstance(keys, dict):
            raise SettingsError(f"{section} in {file} must be a section: [{section}]")
        known = {f.name: f for f in fields(_SECTIONS[section])}
        for key, given in keys.items():
            if key not in known:
                raise _unknown(
                    f"{section}.{key}",
                    [f"{s}.{f.name}" for s, kind in _SECTIONS.items() for f in fields(kind)],
                    f"in {file}",
                )
            values[section][key] = _convert(given, str(known[key].type), f"{section}.{key} in {file}")
    return True


def _read_environment(environment: Mapping[str, str], values: dict[str, dict[str, Any]]) -> None:
    names = {
        f"{PREFIX}{section}_{f.name}".upper(): (section, f)
        for section, kind in _SECTIONS.items()
        for f in fields(kind)
    }
    for variable, given in environment.items():
        if not variable.startswith(PREFIX) or variable == FILE_VARIABLE:
            continue
        if variable not in names:
            raise _unknown(variable, list(names), "in the environment")
        section, known = names[variable]
        values[section][known.name] = _convert(given, str(known.type), variable)


def _convert(given: Any, kind: str, where: str) -> Any:
    """A value from TOML or the environment as the type that the section declares."""
    try:
        if kind == "str" and isinstance(given, str):
            return given
        if kind == "Path" and isinstance(given, str) and given:
            return Path(given)
        if kind == "tuple[Path, ...]":
            items = [i for i in given.split(":") if i] if isinstance(given, str) else given
            if isinstance(items, list) and all(isinstance(i, str) and i for i in items):
                return tuple(Path(i) for i in items)
        if kind == "tuple[str, ...]":
            items = [i.strip() for i in given.split(",") if i.strip()] if isinstance(given, str) else given
            if isinstance(items, list) and all(isinstance(i, str) and i for i in items):
                return tuple(items)
        if kind == "bool":
            if isinstance(given, bool):
                return given
            if isinstance(given, str) and given.lower() in ("true", "false"):
                return given.lower() == "true"
        if kind in ("int", "float") and isinstance(given, str | int | float) and not isinstance(given, bool):
            number = float(given) if kind == "float" else int(given)
            if number >= 0 and (kind == "float" or not isinstance(given, float)):
                return number
    except ValueError:
        pass
    raise SettingsError(f"{where} has a value that does not fit: {given!r} (expected {kind})")


def _unknown(name: str, known: list[str], where: str) -> SettingsError:
    import difflib

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return SettingsError(
        f"unknown setting {name} {where}",
        hint=f"did you mean {near[0]}?" if near else "docs/settings.md lists the known ones",
    )
