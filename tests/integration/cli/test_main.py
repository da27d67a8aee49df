"""The root: help, errors, exit statuses, completion, a closed pipe, what is loaded."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import postmaster
from postmaster.cli import state
from postmaster.cli.main import COMMANDS, app
from tests.tools.readable import readable

from .conftest import Cli

DOCS = Path(postmaster.__file__).parent.parent / "docs"


def commands(inside: Any = None, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command by its words, those inside of groups inside of groups too."""
    group: Any = inside or typer.main.get_command(app)
    for name in group.list_commands(None):
        command = group.commands[name]
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))
        else:
            yield (*before, name), command


ALL = [words for words, _ in commands()]


def test_the_commands_are_those_of_the_documentation() -> None:
    text = (DOCS / "commands.md").read_text()
    for words in ALL:
        assert f"postmaster {' '.join(words)}" in text, words


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_has_help_with_an_example_and_every_option_a_text(
    bare: Cli, words: tuple[str, ...]
) -> None:
    shown = bare(*words, "--help").out
    assert re.search(r"Examples?:", shown)
    assert f"postmaster {' '.join(words)}" in " ".join(shown.split())
    (command,) = [command for each, command in commands() if each == words]
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), parameter.name


def run(*arguments: str, **given: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "postmaster", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **given,
    )


def test_version_and_help() -> None:
    assert run("--version").stdout == f"postmaster {postmaster.__version__}\n"
    shown = run("--help").stdout
    assert all(re.search(rf"^  {name} ", shown, re.M) for name in COMMANDS)
    nothing = run()
    assert nothing.returncode == 2
    assert "Usage:" in nothing.stderr


_LOADED = """
import json, os, sys
os.environ["TERM"] = "dumb"
from postmaster.cli.main import main
sys.stdout = open(os.devnull, "w")
status = main(sys.argv[1:])
print(json.dumps([status, sorted(sys.modules)]), file=sys.stderr)
"""


def loaded(*arguments: str) -> tuple[int, set[str]]:
    """(exit status, the modules that a command loaded)."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    status, modules = json.loads(done.stderr.splitlines()[-1])
    return status, set(modules)


HEAVY = {"sqlalchemy", "alembic", "passlib", "argon2", "cryptography", "rich", "idna"}


def test_version_loads_nothing_heavy() -> None:
    status, modules = loaded("--version")
    assert status == 0
    assert modules & HEAVY == set()


def test_root_help_loads_no_command() -> None:
    status, modules = loaded("--help")
    assert status == 0
    assert modules & HEAVY == set()
    own = {name for name in modules if name.startswith("postmaster.cli.")}
    assert own == {"postmaster.cli.main", "postmaster.cli.lazy", "postmaster.cli.state"}


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_queue_list_loads_no_database_and_draws_without_rich(bare: Cli, form: str) -> None:
    _, modules = loaded("--config", str(bare.file), "queue", "list", "-o", form)
    assert "postmaster.queue.read" in modules
    assert modules & HEAVY == set()


def test_alembic_is_loaded_by_init_alone(cli: Cli) -> None:
    _, modules = loaded("--config", str(cli.file), "domain", "list")
    assert "sqlalchemy" in modules
    assert modules & {"alembic", "passlib", "argon2", "cryptography", "rich"} == set()


def test_completion_of_commands_addresses_and_domains(house: Cli) -> None:
    def complete(words: str) -> list[str]:
        environment = {
            **os.environ,
            "POSTMASTER_CONFIG": str(house.file),
            "_POSTMASTER_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }
        done = subprocess.run(
            [Path(sys.executable).with_name("postmaster")],
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
            check=False,
        )
        assert done.stderr == ""
        return done.stdout.split()

    assert set(complete("postmaster ")) >= set(COMMANDS)
    assert complete("postmaster dom") == ["domain"]
    assert set(complete("postmaster user ")) >= {"add", "list", "show", "password", "set", "remove"}
    assert complete("postmaster user show a") == ["amy@example.org"]
    assert complete("postmaster user show ") == ["amy@example.org", "bob@example.org"]
    assert complete("postmaster alias show ") == ["@example.org", "team@example.org"]
    assert complete("postmaster forward show ") == ["bob@example.org"]
    assert "example.org" in complete("postmaster domain show ex")
    assert complete("postmaster health check qu") == ["queue"]


def test_a_closed_pipe_is_quiet(house: Cli) -> None:
    for form in ("table", "json", "jsonl", "csv"):
        command = (
            f"{sys.executable} -m postmaster --config {house.file} user list -o {form} | head -c 1 >/dev/null"
        )
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=True)
        assert done.stderr == ""


def test_a_stream_that_is_closed_or_full_is_no_surprise(house: Cli) -> None:
    given = f"{sys.executable} -m postmaster --config {house.file} user show amy@example.org"
    full = "postmaster: the output cannot be written: No space left on device (make room, and run it again)\n"
    for redirection, status, said in (
        (">&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        (">/dev/full", 1, full),
    ):
        command = ["sh", "-c", f"{given} {redirection}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (status, said), redirection


def test_a_reader_who_has_seen_enough_is_no_failure(house: Cli) -> None:
    """Also where Typer meets the closed pipe first."""
    done = subprocess.Popen(
        [sys.executable, "-m", "postmaster", "--config", str(house.file), "user", "list", "-o", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},  # each line is written by itself
    )
    assert done.stdout is not None
    done.stdout.close()
    assert (done.wait(60), done.stderr.read() if done.stderr else b"") == (0, b"")
    if done.stderr:
        done.stderr.close()


@pytest.mark.parametrize("form", ["table", "json"])
def test_an_old_character_set_takes_every_text(house: Cli, form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "postmaster", "--config", str(house.file), "domain", "list", "-o", form],
        capture_output=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    text = done.stdout.decode("ascii")
    assert "b\\u00fccher.example" in text
    if form == "json":
        assert "bücher.example" in json.dumps(json.loads(text), ensure_ascii=False)


def test_json_is_asked_for_in_any_spelling(house: Cli) -> None:
    for spelling in (("-o", "json"), ("-ojson",), ("--output", "jsonl"), ("--output=json",)):
        assert house("user", "show", "nobody@example.org", *spelling, expect=1).error["code"] == "not_found"
    assert house("user", "show", *("-o", "json"), expect=2).error["code"] == "usage"


def test_debug_shows_the_traceback_and_each_program(bare: Cli) -> None:
    done = run("--config", str(bare.file), "--debug", "user", "list")
    assert "Traceback" in done.stderr
    assert "DirectoryError" in done.stderr
    plain = run("--config", str(bare.file), "user", "list")
    assert "Traceback" not in plain.stderr


def test_a_mistake_of_ours_is_one_line_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a\nmistake")

    monkeypatch.setattr(state.State, "directory", broken)
    told = cli("user", "list", expect=1)
    assert told.err == (
        "postmaster: unexpected RuntimeError: a mistake (run it with --debug and report what it shows)\n"
    )


def test_an_interruption(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(state.State, "directory", interrupted)
    assert cli("user", "list", expect=130).err == "interrupted\n"


def test_an_interruption_while_it_is_loaded_is_silent() -> None:
    """Python's own start-up it cannot be silent in."""
    slow = (
        "import builtins, time, postmaster.__main__ as program; real = builtins.__import__\n"
        "def waiting(name, *given, **more):\n"
        "    if name == 'postmaster.cli.main': print('loading', flush=True); time.sleep(30)\n"
        "    return real(name, *given, **more)\n"
        "builtins.__import__ = waiting\nprogram.run()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", slow], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "loading\n"
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert (child.returncode, said) == (-signal.SIGINT, "")


def test_settings_that_do_not_fit_are_wrong_usage(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("[mail]\nroot = 5\n")
    done = run("--config", str(file), "user", "list")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert run("--config", str(tmp_path / "none"), "user", "list").returncode == 2
    health = run("--config", str(file), "health", "check")
    assert health.returncode == 3  # for monitoring, 2 would be critical
    assert run("health", "check", "nonsense").returncode == 3
    assert run("health", "chek").returncode == 3
    assert run("health").returncode == 3


def on_a_terminal(arguments: list[str], *talk: tuple[str, str]) -> tuple[int, str]:
    """(exit status, the screen) of the command on a terminal: waits for each question, types its answer."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "postmaster", *arguments])
    screen, answered, waiting = b"", 0, list(talk)
    try:
        while True:
            if waiting and waiting[0][0].encode() in screen[answered:]:
                answered = len(screen)
                os.write(terminal, f"{waiting.pop(0)[1]}\n".encode())
            if not readable([terminal], 60):
                raise AssertionError(f"no word for a minute after {screen!r}")
            data = os.read(terminal, 4096)
            if not data:
                break
            screen += data
    except OSError:  # how Linux says that the other side is gone
        pass
    finally:
        os.close(terminal)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status, screen.decode()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_questions_on_a_terminal(house: Cli) -> None:
    config = ["--config", str(house.file)]
    remove = [*config, "user", "remove", "bob@example.org"]
    status, screen = on_a_terminal(remove, ("[y/N]: ", "n"))
    assert status == 130
    assert "Remove the user bob@example.org?" in screen
    house("user", "show", "bob@example.org")
    status, _ = on_a_terminal(remove, ("[y/N]: ", "y"))
    assert status == 0
    house("user", "show", "bob@example.org", expect=1)
    secret = "a good password"
    change = [*config, "user", "password", "amy@example.org"]
    status, screen = on_a_terminal(
        change, ("New password for amy@example.org: ", secret), ("Repeat for confirmation: ", secret)
    )
    assert status == 0
    assert "ARGON2ID" in screen
    assert secret not in screen
    status, screen = on_a_terminal([*config, "user", "list"])
    assert "\x1b[1m" in screen  # a bold heading: rich drew it
