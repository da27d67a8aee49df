"""Faults of a lab's servers: each is made when it is entered and mended when it is left."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from postmaster.dovecot import doveadm
from postmaster.lab import base
from postmaster.lab.layout import Layout
from postmaster.postfix import control
from tests.tools.certificates import Issued
from tests.tools.mail import Lab


@contextmanager
def dovecot_stopped(lab: Lab) -> Iterator[None]:
    config = lab.settings.dovecot.config
    subprocess.run(["doveadm", "-c", str(config), "stop"], check=True)
    try:
        yield
    finally:
        doveadm.start(config)


@contextmanager
def postfix_stopped(lab: Lab) -> Iterator[None]:
    directory = lab.settings.postfix.config_directory
    control.stop(directory)
    try:
        yield
    finally:
        control.start(directory)


@contextmanager
def gone(path: Path) -> Iterator[None]:
    """A file or socket that is not in its place for a while."""
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


@contextmanager
def _restored(lab: Lab, *names: str) -> Iterator[None]:
    """Files of the configuration as they were, afterwards."""
    for name in names:
        shutil.copy2(lab.root / name, lab.root / f"{name}.kept")
    try:
        yield
    finally:
        for name in names:
            (lab.root / f"{name}.kept").replace(lab.root / name)


@contextmanager
def _reloaded(reload: Callable[[Lab], None], lab: Lab) -> Iterator[None]:
    """A server that reads its configuration again, afterwards."""
    try:
        yield
    finally:
        reload(lab)


def reload_postfix(lab: Lab) -> None:
    base.settle(Layout(lab.root))
    control.reload(lab.settings.postfix.config_directory)


def reload_dovecot(lab: Lab) -> None:
    """Until those who waited for clients before are gone: they take one more, to say that they shut down."""
    config = lab.settings.dovecot.config
    master = doveadm.master_pid(config)
    before = _waiting(master) if master else set()
    doveadm.reload(config)
    ends = time.monotonic() + 5
    while master and before & _waiting(master) and time.monotonic() < ends:
        time.sleep(0.05)


def _waiting(master: int) -> set[int]:
    """The processes of Dovecot's that clients talk to first."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
            if rest.split()[1] == str(master) and (name == "lmtp" or name.endswith("-login")):
                found.add(int(stat.parent.name))
    return found


@contextmanager
def postfix_with(
    lab: Lab, *parameters: str, services: Mapping[str, str] | None = None, **options: str
) -> Iterator[None]:
    """Other parameters in main.cf (`name = value`), entries of master.cf, and options of listeners.

    `services={"flush/unix": "flush unix …"}`, `submission="name=value name=value"`.
    """
    given = ["-c", str(lab.settings.postfix.config_directory)]
    with _reloaded(reload_postfix, lab), _restored(lab, "postfix/main.cf", "postfix/master.cf"):
        if parameters:
            subprocess.run(["postconf", *given, "-e", *parameters], check=True)
        for key, entry in (services or {}).items():
            subprocess.run(["postconf", *given, "-M", f"{key} = {entry}"], check=True)
        for name, words in options.items():
            for parameter in words.split():
                subprocess.run(["postconf", *given, "-P", f"{lab.port(name)}/inet/{parameter}"], check=True)
        reload_postfix(lab)
        yield


@contextmanager
def dovecot_with(lab: Lab, text: str) -> Iterator[None]:
    """More at the end of dovecot.conf, where the last word counts."""
    with _reloaded(reload_dovecot, lab), _restored(lab, "dovecot/dovecot.conf"):
        file = lab.root / "dovecot" / "dovecot.conf"
        file.write_text(f"{file.read_text()}{text}\n")
        reload_dovecot(lab)
        yield


def put(lab: Lab, issued: Issued) -> None:
    issued.write(lab.root / "tls" / "certificate.pem", lab.root / "tls" / "key.pem")


@contextmanager
def served(lab: Lab, issued: Issued, *, reloaded: bool = True) -> Iterator[None]:
    """Another certificate in the place of the lab's; with `reloaded` both servers know."""
    files = [lab.root / "tls" / name for name in ("certificate.pem", "key.pem")]
    before = [file.read_bytes() for file in files]
    put(lab, issued)
    if reloaded:
        reload_both(lab)
    try:
        yield
    finally:
        for file, content in zip(files, before, strict=True):
            file.write_bytes(content)
        reload_both(lab)


def reload_both(lab: Lab) -> None:
    reload_postfix(lab)
    reload_dovecot(lab)
