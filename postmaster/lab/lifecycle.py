"""Starting, looking at, stopping and removing a lab. Each is safe to repeat and after a crash."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from postmaster.address import parse_address, parse_domain
from postmaster.dovecot import doveadm
from postmaster.errors import NotFoundError, ServerError
from postmaster.files import make_folder, replace
from postmaster.lab import base
from postmaster.lab.layout import (
    ADDRESS,
    DOMAIN,
    POSTMASTER,
    SERVICES,
    TLS_SERVICES,
    Layout,
    check_path,
    is_free,
    pick_ports,
    settings_for,
)
from postmaster.postfix import control
from postmaster.process import run
from postmaster.settings import Settings, as_toml
from postmaster.setup.apply import write as write_setup
from postmaster.setup.options import SetupOptions
from postmaster.setup.plan import make_plan
from postmaster.setup.prove import greet
from postmaster.shell import word

STOP_PATIENCE = 15.0  # seconds until a server that does not end is killed

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Service:
    """A listener. `pid` is the server's master process, None where it does not run."""

    name: str
    host: str
    port: int
    tls: bool
    pid: int | None


@dataclass(frozen=True, slots=True)
class LabStatus:
    directory: Path
    settings_file: Path
    running: bool
    services: tuple[Service, ...]
    outbound_port: int  # where mail for elsewhere is sent; nobody listens there by default


def start(directory: Path, progress: Progress = lambda _: None) -> LabStatus:
    """Make the lab if it is new, and start what does not run. Raises ServerError, ProcessError."""
    layout = _layout(directory)
    _check_machine()
    check_path(layout.root)
    _make_folder(layout)
    with _alone(layout):
        if _running(layout) == (True, True):
            return status(directory)
        ports, fresh = _ports(layout)
        settings = settings_for(layout, ports)
        if fresh or not layout.settings_file.exists():
            progress("writing the base configuration")
            _end(layout)  # a half-running lab must not keep old ports
            base.write(layout, ports, doveadm.version())
            base.settle(layout)
            replace(layout.settings_file, as_toml(settings).encode(), 0o644)
        if not layout.certificate.exists():
            base.make_certificate(layout)
        progress("making the directory")
        _fill_directory(layout, settings)
        progress("wiring the directory into Postfix and Dovecot")
        options = SetupOptions(certificate=layout.certificate, key=layout.key)
        write_setup(make_plan(settings, options))
        base.settle(layout)
        progress("starting Postfix and Dovecot")
        if not _running(layout)[0]:
            control.start(layout.postfix)
        if not _running(layout)[1]:
            # After a crash the number in it may be anybody's, and Dovecot would take that for itself.
            layout.dovecot_pid.unlink(missing_ok=True)
            doveadm.start(layout.dovecot_config)
        for name in SERVICES:
            greet(settings, name, ports[name])
    return status(directory)


def status(directory: Path) -> LabStatus:
    """What the lab's services are and whether they run. Raises NotFoundError."""
    layout, ports = _existing(directory)
    postfix, dovecot = _pids(layout)
    pids = {name: postfix if name in ("smtp", "submission", "submissions") else dovecot for name in SERVICES}
    services = tuple(
        Service(name, ADDRESS, ports[name], name in TLS_SERVICES, pids[name]) for name in SERVICES
    )
    running = postfix is not None and dovecot is not None
    return LabStatus(layout.root, layout.settings_file, running, services, ports["outbound"])


def stop(directory: Path) -> LabStatus:
    """End the lab's own processes and nothing else. Raises NotFoundError."""
    layout, _ = _existing(directory)
    with _alone(layout):
        _end(layout)
    return status(directory)


def remove(directory: Path) -> None:
    """Stop the lab and delete its folder. Raises NotFoundError for a folder that is no lab."""
    layout, _ = _existing(directory)
    with _alone(layout):
        _end(layout)
        # rmtree never follows links; the marker goes last, so an interrupted removal can be repeated.
        for entry in sorted(layout.root.iterdir(), key=lambda path: path == layout.marker):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        layout.root.rmdir()


def _layout(directory: Path) -> Layout:
    return Layout(directory.absolute().resolve())


def _existing(directory: Path) -> tuple[Layout, dict[str, int]]:
    layout = _layout(directory)
    ports = base.read_marker(layout)
    if ports is None or not {*SERVICES, "outbound"} <= ports.keys():
        raise NotFoundError(
            f"{directory} is no lab", hint=f"postmaster lab start {word(directory)} makes one"
        )
    return layout, ports


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise ServerError(
            "a lab needs root: Postfix and Dovecot start as root", hint="sudo postmaster lab start DIR"
        )
    for program, package in (("postfix", "postfix"), ("dovecot", "dovecot-core")):
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            raise ServerError(f"{program} is not installed", hint=f"apt-get install {package}")
    if "sqlite" not in run(["postconf", "-m"]).stdout.split():
        raise ServerError("Postfix has no SQLite tables", hint="apt-get install postfix-sqlite")


def _make_folder(layout: Layout) -> None:
    root = layout.root
    try:
        is_strange = root.exists() and base.read_marker(layout) is None
        if is_strange and (not root.is_dir() or any(entry.name != "lock" for entry in root.iterdir())):
            raise ServerError(f"{root} is there and is no lab", hint="name a folder that is new or empty")
        make_folder(root, 0o755)
        root.chmod(0o755)
    except OSError as error:
        raise ServerError(f"{root} cannot be made: {error.strerror}") from error


def _ports(layout: Layout) -> tuple[dict[str, int], bool]:
    """The lab's ports and whether they are new: those of before, unless one was taken meanwhile."""
    names = (*SERVICES, "outbound")
    known = base.read_marker(layout)
    postfix, dovecot = _running(layout)
    is_usable = (
        postfix
        or dovecot
        or (known is not None and all(is_free(known[name]) for name in SERVICES if name in known))
    )
    if known is not None and set(names) <= known.keys() and is_usable:
        return known, False
    ports = pick_ports(names)
    base.write_marker(layout.marker, ports)
    return ports, True


def _fill_directory(layout: Layout, settings: Settings) -> None:
    from postmaster.directory import domains, passwords, users
    from postmaster.directory.database import open_directory
    from postmaster.directory.migrate import initialise
    from postmaster.setup.apply import make_mail_account

    initialise(settings)
    make_mail_account(settings)
    with open_directory(settings, command="lab start") as directory:
        with directory.read() as reading:
            if any(one.name.ascii == DOMAIN for one in domains.list_all(reading)):
                return
        password = passwords.generate_password()
        replace(layout.password, f"{password}\n".encode(), 0o600)
        with directory.change() as change:
            domains.add(change, parse_domain(DOMAIN))
            hashed = passwords.hash_password(password)
            users.add(change, parse_address(POSTMASTER), password_hash=hashed, name="Postmaster")


def _pids(layout: Layout) -> tuple[int | None, int | None]:
    """(Postfix's master, Dovecot's master), each only if it is this lab's own."""
    return (
        _own(layout.spool / "pid" / "master.pid", "environ", f"MAIL_CONFIG={layout.postfix}"),
        _own(layout.dovecot_pid, "cmdline", str(layout.dovecot_config)),
    )


def _own(file: Path, where: str, mark: str) -> int | None:
    """The process of a pid file, if it carries the lab's mark; a pid may have come to someone else."""
    try:
        pid = int(file.read_text())
        return pid if mark.encode() in Path(f"/proc/{pid}/{where}").read_bytes().split(b"\0") else None
    except (OSError, ValueError):
        return None


def _running(layout: Layout) -> tuple[bool, bool]:
    postfix, dovecot = _pids(layout)
    return postfix is not None, dovecot is not None


def _end(layout: Layout) -> None:
    """End both masters and whom they started, with the signal that the servers' own `stop` sends.

    `postfix stop` looks only once a second whether it is over. Postfix goes first: Dovecot's auth waits
    for those who ask it.
    """
    for pid in _pids(layout):
        if pid is not None:
            _end_group(pid)


def _end_group(master: int) -> None:
    begun, asked = time.monotonic(), False
    while left := _group(master):
        is_late = time.monotonic() - begun > STOP_PATIENCE
        for pid in left if is_late else [] if asked else [master]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if is_late else signal.SIGTERM)
        asked = True
        time.sleep(0.05)


def _group(master: int) -> list[int]:
    """A master and the daemons in its process group that run; who waits for a parent to notice does not."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if state != "Z" and str(master) in (folder.name, group):
                found.append(int(folder.name))
    return found


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    descriptor = os.open(layout.root / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ServerError(
            f"another command is at work on {layout.root}", hint="wait until it has ended"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)
