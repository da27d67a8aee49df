"""A Debian of any release under one folder, as bare as its installer leaves it, to run things in.

Each command runs in a mount and process name space of its own: what is mounted for it is gone with it,
and so is every process that it left behind. Nothing is cached.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

CHECKOUT = Path(__file__).parents[2]
NOT_COPIED = (
    ".git",
    ".venv",
    ".nox",
    ".cache",
    ".*_cache",
    ".hypothesis",
    ".coverage*",
    "__pycache__",
    "dist",
)
SOURCE = "/src"  # where the checkout is in the root
INSTALL_SECONDS = 900

#: $1 is the root; the folders and files to lend follow, then `--`, then the command.
_ENTER = """
set -e
root=$1; shift
mount --bind "$root" "$root" # so that what runs in it may have mounts of its own
mount -t proc proc "$root/proc"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
while [ "$1" != -- ]; do
    mount --bind "$1" "$root$1"
    mount -o remount,bind,ro "$root$1"
    shift
done
shift
exec chroot "$root" "$@"
"""
#: $1 is the root. Name spaces of its own for all of it, the network too: its servers listen on their usual
#: ports. Name=systemd beside the unified hierarchy is what a kernel with both gives systemd.
_BOOT = """
set -e
root=$1
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/run"
if [ -d /sys/fs/cgroup/unified ]; then
    mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
    mkdir "$root/sys/fs/cgroup/unified" "$root/sys/fs/cgroup/systemd"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
    mount -t cgroup -o none,name=systemd,xattr cgroup "$root/sys/fs/cgroup/systemd"
else
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
fi
exec env -i container=other PATH="$PATH" chroot "$root" /lib/systemd/systemd --unit=multi-user.target
"""
_BOOT_SECONDS = 120
_HOLD_SERVICES = "#!/bin/sh\nexit 101\n"


def missing_for_roots() -> str | None:
    """Why no clean root can be made here, None where it can."""
    if os.geteuid() != 0:
        return "a clean root needs root"
    missing = [name for name in ("debootstrap", "unshare", "chroot", "apt-get") if not shutil.which(name)]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return None if mirror() else "apt names no Debian mirror (apt-get update?)"


def mirror() -> str | None:
    """Where this machine gets Debian itself from."""
    wanted = ("Created-By: Packages", "Component: main", "Origin: Debian", "Label: Debian")
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted],
        capture_output=True,
        text=True,
        check=True,
    )
    return next(iter(done.stdout.split()), None)


@dataclass(frozen=True)
class CleanRoot:
    path: Path
    environment: dict[str, str]
    lent: tuple[str, ...]

    def run(
        self, *command: str, timeout: float = 600, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the root, in the checkout; what it said is one text."""
        enter = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child"]
        inside = ["env", "-C", SOURCE, *command]
        return subprocess.run(
            [*enter, "sh", "-c", _ENTER, "enter", str(self.path), *self.lent, "--", *inside],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            env={**self.environment, **environment},
            check=False,
        )

    def must(self, *command: str, timeout: float = 600, **environment: str) -> str:
        done = self.run(*command, timeout=timeout, **environment)
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout


@dataclass(frozen=True)
class Booted:
    """A root in which systemd is the first process; `first` is its number on this machine."""

    root: CleanRoot
    first: int

    def run(self, *command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command among its services."""
        enter = ["nsenter", "--target", str(self.first), "--all", "--root", "--wdns=/"]
        return subprocess.run(
            [
                *enter,
                "env",
                "-i",
                *(f"{key}={value}" for key, value in self.root.environment.items()),
                *command,
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def must(self, *command: str, timeout: float = 120) -> str:
        done = self.run(*command, timeout=timeout)
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout


@contextmanager
def booted(root: CleanRoot) -> Iterator[Booted]:
    """Start the root's systemd, and end it with all that it started. Its network is loopback alone."""
    spaces = ("--mount", "--propagation=private", "--pid", "--uts", "--ipc", "--net", "--cgroup")
    process = subprocess.Popen(
        ["unshare", *spaces, "--fork", "--kill-child", "sh", "-c", _BOOT, "boot", str(root.path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + _BOOT_SECONDS
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while True:
            assert process.poll() is None, "systemd ended"
            assert time.monotonic() < end, "systemd did not start"
            first = children.read_text().split()
            if first:
                here = Booted(root, int(first[0]))
                asked = here.run("systemctl", "is-system-running", "--wait", timeout=_BOOT_SECONDS)
                if asked.stdout.strip() in (
                    "running",
                    "degraded",
                ):  # degraded: a unit that wants a real machine
                    break
            time.sleep(0.2)
        yield here
    finally:
        process.kill()
        process.wait()


@contextmanager
def clean_root(suite: str, *packages: str) -> Iterator[CleanRoot]:
    """A root of a Debian release with the checkout and no more than these packages in addition."""
    source = mirror()
    assert source is not None
    # On a disk: it is large, and has devices.
    folder = Path(tempfile.mkdtemp(prefix=f"postmaster-{suite}-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        include = ",".join(("ca-certificates", *packages))
        made = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={include}", suite, str(folder), source],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
        assert made.returncode == 0, made.stdout[-3000:]
        yield _furnish(folder)
    finally:
        shutil.rmtree(folder)


def _furnish(folder: Path) -> CleanRoot:
    """The checkout, and this machine's way to the network: name servers, proxies, pip's settings."""
    for name in ("resolv.conf", "hosts"):
        shutil.copyfile(Path("/etc", name), folder / "etc" / name)
    policy = folder / "usr" / "sbin" / "policy-rc.d"
    policy.write_text(_HOLD_SERVICES)
    policy.chmod(0o755)
    dump = ["apt-config", "dump", "Acquire::http", "Acquire::https"]
    proxies = subprocess.run(dump, capture_output=True, text=True, check=True).stdout
    (folder / "etc" / "apt" / "apt.conf.d" / "90host").write_text(proxies)
    shutil.copytree(CHECKOUT, folder / SOURCE.lstrip("/"), ignore=shutil.ignore_patterns(*NOT_COPIED))
    environment, lent = _pip_settings()
    for path in lent:
        there = folder / path.lstrip("/")
        if Path(path).is_dir():
            there.mkdir(parents=True, exist_ok=True)
        else:
            there.parent.mkdir(parents=True, exist_ok=True)
            there.touch()
    kept = {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")}
    basic = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    return CleanRoot(folder, {**kept, **environment, **basic, "LC_ALL": "C.UTF-8"}, lent)


def _pip_settings() -> tuple[dict[str, str], tuple[str, ...]]:
    """What pip is told on this machine, as environment variables, and the files and folders they name."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    environment, lent = dict[str, str](), dict[str, None]()
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2].replace("-", "_").upper()
        text = value.strip("'\"").replace("\\n", " ")
        environment[f"PIP_{name}"] = text
        for word in text.split():
            address = urlsplit(word)
            # An index's pages name files beside the index.
            path = Path(address.path).parent if address.scheme == "file" else Path(word)
            if path.is_absolute() and path.exists():
                lent[str(path)] = None
    return environment, tuple(lent)
