"""The one place that starts programs: argument list, timeout, captured output, clear error.

No shell is ever involved. Secrets go through `stdin`, never through `argv`; what must not be seen
even in a debug trace is listed in `secrets` and masked there and in errors.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar

from postmaster.errors import ProcessError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

DEFAULT_TIMEOUT = 60.0  # seconds
SERVER_UMASK = 0o022
ERROR_LINES = 5  # how many last lines of a program's complaint an error repeats

#: Called with (argv, what happened) for each program run; `--debug` puts a printer here.
observers: list[Callable[[str, str], None]] = []


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that ran to its end: exit status and what it printed, as text."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    *,
    stdin: str | bytes | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    environment: Mapping[str, str] | None = None,
    expect: Sequence[int] | None = (0,),
    secrets: Sequence[str] = (),
    hint: str | None = None,
    whole: bool = False,
) -> Finished:
    """Run a program and give back what it said.

    `whole`: the program gets all of `stdin` or is not started, even where this process is killed meanwhile;
    through a pipe it could take a part for everything.
    `expect` lists the exit statuses that are no error (None: any). `timeout` is in seconds.
    Undecodable output bytes become surrogate escapes, so nothing is lost.
    Raises ProcessError when the program is missing, takes too long or ends otherwise.
    """
    data = stdin.encode() if isinstance(stdin, str) else stdin
    shown = masked(argv, secrets)
    given: dict[str, Any] = {"input": data if data is not None else b""}
    with ExitStack() as stack, _plain_errors(argv, shown, hint):
        if whole and data is not None:
            given = {"stdin": stack.enter_context(_in_memory(data))}
        done = subprocess.run(
            list(argv),
            **given,
            capture_output=True,
            timeout=timeout,
            env=None if environment is None else dict(environment),
            check=False,
        )
    result = Finished(
        tuple(argv),
        done.returncode,
        done.stdout.decode("utf-8", "surrogateescape"),
        done.stderr.decode("utf-8", "surrogateescape"),
    )
    _tell(shown, f"exit status {result.status}")
    if expect is not None and result.status not in expect:
        raise ProcessError(_complaint(result, secrets), hint=hint)
    return result


@contextmanager
def _in_memory(data: bytes) -> Iterator[IO[bytes]]:
    """A file that is nowhere on a disk, with this in it, to be read from its beginning."""
    with os.fdopen(os.memfd_create("stdin"), "w+b") as file:
        file.write(data)
        file.seek(0)
        yield file


class _Readings:
    """What functions gave while one reading lasts, by what they were asked."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.slots: dict[Hashable, tuple[threading.Lock, list[Any]]] = {}


_readings: _Readings | None = None


@contextmanager
def one_reading() -> Iterator[None]:
    """While the body runs, in any thread, what is `shared` is asked once for all who want it."""
    global _readings
    before, _readings = _readings, _Readings()
    try:
        yield
    finally:
        _readings = before


def is_one_reading() -> bool:
    return _readings is not None


def shared(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Ask for the same only once while `one_reading` lasts. For what only reads; nobody changes the result.

    An error is each asker's own: the next one asks again.
    """

    @wraps(function)
    def ask(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        readings = _readings
        if readings is None:
            return function(*args, **kwargs)
        key = (function, args, tuple(sorted(kwargs.items())))
        with readings.lock:
            lock, given = readings.slots.setdefault(key, (threading.Lock(), []))
        with lock:
            if not given:
                given.append(function(*args, **kwargs))
        result: Result = given[0]
        return result

    return ask


def start_daemon(argv: Sequence[str], *, timeout: float = DEFAULT_TIMEOUT, hint: str | None = None) -> None:
    """Run a program that leaves a server behind. Raises ProcessError.

    Its output goes to a file: the server inherits it, and a pipe would not end before the server does.
    It gets the usual umask, as a boot would start it; ours is for secrets.
    """
    import tempfile

    shown = masked(argv, ())
    with tempfile.TemporaryFile() as output:
        with _plain_errors(argv, shown, hint):
            done = subprocess.run(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=timeout,
                umask=SERVER_UMASK,
                check=False,
            )
        output.seek(0)
        said = output.read().decode("utf-8", "surrogateescape")
    _tell(shown, f"exit status {done.returncode}")
    if done.returncode != 0:
        raise ProcessError(_complaint(Finished(tuple(argv), done.returncode, "", said), ()), hint=hint)


@contextmanager
def stream(argv: Sequence[str], *, block: int = 0, hint: str | None = None) -> Iterator[Iterator[bytes]]:
    """Run a program and hand out its standard output without holding it all.

    It comes line by line, or with `block` in pieces of so many bytes.

    Raises ProcessError at the end of the block when the program failed. Leaving the block early
    ends the program quietly.
    """
    import tempfile  # here: few functions need it, and start-up counts

    shown = masked(argv, ())
    # A pipe that nobody reads could fill and stall the program, so complaints go to a file.
    with tempfile.TemporaryFile() as complaints:
        with _plain_errors(argv, shown, hint):
            child = subprocess.Popen(
                list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints
            )
        assert child.stdout is not None
        out, finished = child.stdout, False

        def lines() -> Iterator[bytes]:
            nonlocal finished
            yield from iter(lambda: out.read(block), b"") if block else out
            finished = True

        try:
            yield lines()
        finally:
            out.close()
            if not finished:
                child.terminate()
            status = child.wait()
            complaints.seek(0)
            stderr = complaints.read().decode("utf-8", "surrogateescape")
            _tell(shown, f"exit status {status}")
    if finished and status != 0:
        raise ProcessError(_complaint(Finished(tuple(argv), status, "", stderr), ()), hint=hint)


@contextmanager
def _plain_errors(argv: Sequence[str], shown: str, hint: str | None) -> Iterator[None]:
    """Turn what can go wrong with any program into one clear line."""
    try:
        yield
    except FileNotFoundError:
        raise ProcessError(
            f"the program {argv[0]} is not installed", hint=hint or "install the package that provides it"
        ) from None
    except PermissionError:
        raise ProcessError(f"the program {argv[0]} may not be run by this user", hint=hint) from None
    except subprocess.TimeoutExpired as error:
        _tell(shown, f"no end after {error.timeout:g} s")
        raise ProcessError(f"{argv[0]} did not finish within {error.timeout:g} s", hint=hint) from None


def masked(argv: Sequence[str], secrets: Sequence[str]) -> str:
    """The command line for people, with every secret in it replaced."""
    return _mask(" ".join(argv), secrets)


def _mask(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, "********")
    return text


def _complaint(result: Finished, secrets: Sequence[str]) -> str:
    said = (result.stderr.strip() or result.stdout.strip()).splitlines()[-ERROR_LINES:]
    text = "; ".join(line.strip() for line in said if line.strip())
    how = f"exit status {result.status}" if result.status >= 0 else f"signal {-result.status}"
    return _mask(f"{result.argv[0]} failed with {how}" + (f": {text}" if text else ""), secrets)


def _tell(command: str, outcome: str) -> None:
    for observer in observers:
        observer(command, outcome)


def children(pid: int) -> list[int]:
    """The processes that a process started; none where it is gone.

    From /proc/PID/task/TID/children (proc(5)); where the kernel has no such files, from all processes.
    """
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        return [each for each in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent(each) == pid]
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def _parent(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(text.rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None


def current_actor() -> str:
    """Who runs this command: the login behind sudo, else the user's name, else the uid."""
    import pwd

    behind = os.environ.get("SUDO_USER", "")
    if behind and behind.isprintable() and len(behind) <= 64:
        return behind
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
