"""What the servers' configuration should be, what it is, and how the two differ.

`make_plan` reads and changes nothing. A plan holds whole file contents and single parameters; what it
does not name stays as it is. Servers are asked through postconf and doveconf, so macros, includes and
defaults count as they do for the servers themselves.
"""

from __future__ import annotations

import difflib
import os
import pwd
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from postmaster import served
from postmaster.address import Address, parse_address
from postmaster.directory.postgresql import check_secret
from postmaster.dovecot import configuration as dovecot
from postmaster.dovecot import doveadm
from postmaster.errors import AddressError, ServerError
from postmaster.postfix import configuration as postfix
from postmaster.postfix import maps, postconf
from postmaster.postfix.postconf import Service
from postmaster.settings import Settings
from postmaster.setup.options import SetupOptions

_PASSWORD = re.compile(r"(\b\w*password *= *)\S+")  # libpq's, as Postfix and Dovecot have them


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file as it should be. `group` may read it; 0 stands for root."""

    path: Path
    content: str
    mode: int
    group: int = 0

    @property
    def shown(self) -> str:
        """The content for people: no password in it."""
        return _hidden(self.content)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it should be. `before` is None where there is nothing yet."""

    what: str  # a path, a parameter's or a service's name
    kind: str  # file, parameter, service
    before: str | None
    after: str
    merged: bool = False  # a list that keeps what the administrator put in

    def lines(self) -> list[str]:
        """A unified difference, for people."""
        return list(
            difflib.unified_diff(
                [] if self.before is None else self.before.splitlines(),
                self.after.splitlines(),
                f"{self.what} (now)",
                f"{self.what} (wanted)",
                lineterm="",
            )
        )


@dataclass(frozen=True, slots=True)
class Plan:
    settings: Settings
    options: SetupOptions
    files: tuple[PlannedFile, ...]
    parameters: dict[str, str]
    merged: frozenset[str]
    services: tuple[Service, ...]
    differences: tuple[Difference, ...]
    certificate: Path
    key: Path

    @property
    def config_directory(self) -> Path:
        return self.settings.postfix.config_directory

    @property
    def touched(self) -> tuple[Path, ...]:
        """Every file that applying it may write."""
        return (
            self.config_directory / "main.cf",
            self.config_directory / "master.cf",
            *(file.path for file in self.files),
        )


def make_plan(settings: Settings, options: SetupOptions) -> Plan:
    """Compare what should be with what is. Raises ServerError, ProcessError, AddressError."""
    directory = settings.postfix.config_directory
    if (version := postconf.version()) < postfix.OLDEST:
        raise ServerError(
            f"Postfix {'.'.join(map(str, version))} is not supported",
            hint=f"{'.'.join(map(str, postfix.OLDEST))} and later are",
        )
    explicit = postconf.explicit(directory)
    certificate, key = _certificate(explicit, options)
    known = postconf.known_parameters()
    present_services = postconf.services(directory)
    wish = postfix.Wish(
        config_directory=directory,
        server=settings.server,
        certificate=certificate,
        key=key,
        postmaster=postmaster_address(settings, options, explicit),
        probe=settings.health.probe_address,
        reflector=settings.health.reflector,
        tables=maps.kind(settings.lookups.source),
    )
    owned = postfix.owned_parameters(wish, known)
    merged = postfix.merged_parameters(wish, explicit, postconf.values(directory, ["proxy_read_maps"]))
    parameters = {**owned, **merged}
    services = tuple(postfix.wanted_services(wish, present_services))
    files = tuple(_files(settings, options, wish))
    differences = (
        *_file_differences(files),
        *_parameter_differences(directory, parameters, frozenset(merged), explicit),
        *_service_differences(services, present_services),
    )
    return Plan(
        settings, options, files, parameters, frozenset(merged), services, differences, certificate, key
    )


def postmaster_address(
    settings: Settings, options: SetupOptions, explicit: Mapping[str, str]
) -> Address | None:
    """Who gets undeliverable bounces: the option's word, else the settings', else who gets them now.

    `explicit` is what main.cf sets.
    """
    if options.postmaster is not None:
        return options.postmaster
    if settings.mail.postmaster:
        return parse_address(settings.mail.postmaster)
    with suppress(AddressError):
        return parse_address(explicit.get("2bounce_notice_recipient", ""))
    return None  # a bare name, or one with a parameter in it, is nobody of the directory's


def _certificate(explicit: dict[str, str], options: SetupOptions) -> tuple[Path, Path]:
    if (options.certificate is None) != (options.key is None):
        raise ServerError("a certificate and its key go together", hint="give both --certificate and --key")
    if options.certificate is not None and options.key is not None:
        return options.certificate.absolute(), options.key.absolute()
    certificate = explicit.get("smtpd_tls_cert_file", "")
    key = explicit.get("smtpd_tls_key_file", "") or certificate
    if not certificate or "$" in key:
        raise ServerError(
            "there is no certificate to serve", hint="name one with --certificate FILE --key FILE"
        )
    return Path(certificate), Path(key)


def _files(settings: Settings, options: SetupOptions, wish: postfix.Wish) -> list[PlannedFile]:
    tables, users = _source(settings, "postfix"), _source(settings, "dovecot")
    mode, group = _rights(tables, settings.lookups.postfix_group)
    wanted = [
        PlannedFile(one.file(wish.config_directory), one.text(tables), mode, group) for one in maps.MAPS
    ]
    account = mail_account(settings)
    config = settings.dovecot.config
    ours = dovecot.files(
        dovecot.Wish(
            version=doveadm.version(),
            config=config,
            source=users,
            queue_directory=Path(postconf.value(wish.config_directory, "queue_directory")),
            server=settings.server,
            mail_root=settings.mail.root,
            mail_user=settings.mail.user,
            mail_group=account[2] if account else settings.mail.user,
            mail_uid=account[0] if account else 500,
            certificate=wish.certificate,
            key=wish.key,
            postmaster=wish.postmaster.ascii if wish.postmaster else "",
            hostname=settings.server.hostname,
            keep_system_logins=options.keep_system_logins,
            postfix_user=postconf.value(wish.config_directory, "mail_owner"),
        )
    )
    mode, group = _rights(users, settings.lookups.dovecot_group)
    wanted += [PlannedFile(path, content, mode, group) for path, content in ours.items()]
    present = _read(config)
    if present is None:
        raise ServerError(f"there is no {config}", hint=doveadm.HINT)
    wanted.append(PlannedFile(config, dovecot.with_includes(present, config.parent), 0o644))
    return wanted


def _source(settings: Settings, server: str) -> Path | served.Database:
    """Where a server finds its look-ups."""
    lookups = settings.lookups
    if not lookups.in_database:
        return lookups.directory / f"{server}.db"
    url: str = getattr(lookups, f"{server}_url")
    found = served.database(url, server, settings.directory.url)
    if found.is_secret:
        check_secret(settings.file, f"POSTMASTER_LOOKUPS_{server.upper()}_URL")
    return found


def _rights(source: Path | served.Database, group: str) -> tuple[int, int]:
    """(mode, group) of a file that names the source: with a password, for the server's own group."""
    if isinstance(source, Path) or not source.is_secret:
        return 0o644, 0
    import grp

    try:
        return 0o640, grp.getgrnam(group).gr_gid
    except KeyError:
        raise ServerError(f"there is no group {group}", hint="see the settings of lookups") from None


def mail_account(settings: Settings) -> tuple[int, int, str] | None:
    """(uid, gid, group name) of the account that owns mail, None where it is missing."""
    import grp

    try:
        entry = pwd.getpwnam(settings.mail.user)
        return entry.pw_uid, entry.pw_gid, grp.getgrgid(entry.pw_gid).gr_name
    except KeyError:
        return None


def _file_differences(files: tuple[PlannedFile, ...]) -> list[Difference]:
    found = []
    for file in files:
        before = _read(file.path)
        if before != file.content:
            shown = None if before is None else _hidden(before)
            after = file.shown if file.shown != shown else _hidden(file.content, "******** (another)")
            found.append(Difference(str(file.path), "file", shown, after))
    return found


def _hidden(text: str, what: str = "********") -> str:
    """A file of ours for people: no password in it."""
    return _PASSWORD.sub(rf"\1{what}", text)


def _parameter_differences(
    directory: Path, wanted: dict[str, str], merged: frozenset[str], explicit: dict[str, str]
) -> list[Difference]:
    in_force = postconf.values(directory, [name for name in wanted if name not in explicit])
    found = []
    for name, after in wanted.items():
        before = explicit.get(name, in_force.get(name))
        if before is None or before.split() != after.split():
            found.append(Difference(name, "parameter", before, after, name in merged))
    return found


def _service_differences(wanted: tuple[Service, ...], present: dict[str, str]) -> list[Difference]:
    return [
        Difference(service.key, "service", present.get(service.key), service.entry())
        for service in wanted
        if present.get(service.key) != _as_postconf_prints(service)
    ]


def _as_postconf_prints(service: Service) -> str:
    """`postconf -M` drops the spaces inside braces, and braces that it need not have."""
    words = [service.name, service.type, *service.fields]
    for name, value in service.options:
        words += ["-o", f"{{{name}={value}}}" if " " in value else f"{name}={value}"]
    return " ".join(words)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ServerError(
            f"{path} cannot be read: {error.strerror}",
            hint="run it as root" if os.geteuid() else None,
        ) from error
