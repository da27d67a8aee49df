"""The command in processes of its own that begin with everything loaded.

A parent that has loaded the package forks for each command: a real process with its own descriptors,
environment, folder and end; what is spared is the start of Python and its imports, most of what a short
command costs. What is loaded when, and the start itself, are for tests that start Python.

Run as a program with the number of a socket: `python -m tests.tools.loaded 3`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import postmaster
from tests.tools.readable import readable

CHECKOUT = Path(__file__).parents[2]
LARGEST = 1 << 20  # bytes of a request: the arguments and the environment

#: Loaded inside functions, by most commands.
LATE = (
    *("alembic.command", "argon2", "passlib.context", "passlib.handlers.argon2", "passlib.handlers.bcrypt"),
    *("rich.console", "rich.progress", "rich.table", "sqlalchemy.dialects.sqlite", "cryptography.x509"),
    *("dns.resolver", "ruamel.yaml", "imaplib", "poplib", "smtplib", "concurrent.futures.thread"),
)


class Loaded:
    """The client of one such parent; it ends with `end`, or when this process ends."""

    def __init__(self) -> None:
        self._link, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            self._parent = subprocess.Popen(
                [sys.executable, "-m", __name__, str(there.fileno())],
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
                cwd=CHECKOUT,
            )

    def run(
        self, arguments: Sequence[str], *, stdin: str, timeout: float, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """As subprocess.run does, with the output as text. Safe in several threads."""
        wish = json.dumps([list(arguments), dict(environment), str(Path.cwd())]).encode()
        told, tell = os.pipe()
        with (
            os.fdopen(told, "rb", 0) as telling,
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            given.write(stdin.encode())
            given.seek(0)
            try:
                socket.send_fds(self._link, [wish], [given.fileno(), out.fileno(), err.fileno(), tell])
            finally:
                os.close(tell)
            pid = int(telling.readline())
            if not readable([telling], timeout):
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(arguments), timeout)
            status = int(telling.readline())
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode())
            return subprocess.CompletedProcess(list(arguments), status, *said)

    def end(self) -> None:
        self._link.close()
        self._parent.wait(30)


def _serve(link: socket.socket) -> None:
    ours = (one.name for one in pkgutil.walk_packages(postmaster.__path__, "postmaster."))
    for name in (*ours, *LATE):
        if not name.endswith("__main__"):
            importlib.import_module(name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait
    while True:
        wish, descriptors, _, _ = socket.recv_fds(link, LARGEST, 4)
        if not wish:
            return
        if os.fork() == 0:
            link.close()
            _wait_for_a_child(json.loads(wish), descriptors)
        for one in descriptors:
            os.close(one)


def _wait_for_a_child(wish: Any, descriptors: list[int]) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, tell = descriptors
    pid = os.fork()
    if pid == 0:
        os.close(tell)
        arguments, environment, folder = wish
        _become(arguments, environment, folder, streams)
    os.write(tell, b"%d\n" % pid)
    os.write(tell, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os._exit(0)


def _become(arguments: list[str], environment: dict[str, str], folder: str, streams: list[int]) -> NoReturn:
    for number, one in enumerate(streams):
        os.dup2(one, number)
        os.close(one)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv[1:] = arguments
    from postmaster.cli.main import run

    run()
    raise AssertionError


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
