"""The root of the command line: global options, errors, exit statuses.

Every refusal leaves here as one line on standard error (and the error's detail, if it has one, below
it), or as a JSON object where JSON was asked for.
Exit statuses: 0 done, 1 refused or failed, 2 wrong usage, 3 done in part, 4 differences or findings,
130 interrupted; `health check` has the monitoring plugins' own.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from postmaster import __version__
from postmaster.cli.lazy import ClickException, NoArgsIsHelpError, lazy_group, usage_hint
from postmaster.cli.state import State, pasted, remember_file
from postmaster.errors import PostmasterError
from postmaster.files import remedy

COMMANDS = {
    "init": ("postmaster.cli.init", "Make or upgrade the directory and the look-ups."),
    "domain": ("postmaster.cli.domain", "Domains and alias domains."),
    "user": ("postmaster.cli.user", "Users: mailboxes, logins, switches."),
    "alias": ("postmaster.cli.alias", "Aliases and catch-alls."),
    "forward": ("postmaster.cli.forward", "Users' mail sent on to other addresses."),
    "sender": ("postmaster.cli.sender", "Who may send as which address."),
    "address": ("postmaster.cli.address", "Where mail for an address goes, hop by hop."),
    "directory": (
        "postmaster.cli.directory",
        "The directory as a whole: check, export, import, apply, backup.",
    ),
    "local": ("postmaster.cli.local", "Mail of the system's own accounts: /etc/aliases, ~/.forward."),
    "history": ("postmaster.cli.history", "Who changed what in the directory, when and why."),
    "undo": ("postmaster.cli.undo", "Take back changes of the directory."),
    "publish": ("postmaster.cli.publish", "Bring the servers' look-ups up to date."),
    "setup": ("postmaster.cli.setup", "Wire the directory into Postfix and Dovecot."),
    "lab": ("postmaster.cli.lab", "A private, throwaway Postfix and Dovecot."),
    "queue": ("postmaster.cli.queue", "Messages waiting in Postfix's queue."),
    "trace": ("postmaster.cli.trace", "What became of a message."),
    "log": ("postmaster.cli.log", "The mail log in figures."),
    "health": ("postmaster.cli.health", "Whether mail works."),
}

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_NO_FILE = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR)
LONGEST = 2000  # characters of an error: what was given is repeated in it, however long it was
INTERRUPTED = 130  # Typer makes a keyboard interrupt this status by itself

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    rich_markup_mode=None,
    add_completion=True,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each command has its own help with examples: postmaster user add --help",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"postmaster {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", help="Settings file (else POSTMASTER_CONFIG, /etc/postmaster)."
        ),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and each program that is run.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Administer a Postfix and Dovecot mail server: accounts, queue, health."""
    context.obj = State(config, debug)
    remember_file(config)
    if debug:
        from postmaster import process

        process.observers.append(lambda command, outcome: print(f"+ {command}: {outcome}", file=sys.stderr))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives back the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    os.umask(0o077)  # whatever is written without a mode of its own is for its owner alone
    debug = "--debug" in given
    if (sys.stdout.encoding or "").lower() not in ("utf-8", "utf8"):
        from postmaster.render.escape import write_all

        write_all(sys.stdout)
    try:
        status = app(given, prog_name="postmaster", standalone_mode=False)
        sys.stdout.flush()
        if status == INTERRUPTED:
            print("interrupted", file=sys.stderr)
        return status if isinstance(status, int) else 0
    except NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return _usage_status(given)
    except ClickException as error:
        return _fail(
            given, "usage", _one_line(error.format_message()), usage_hint(error), _usage_status(given)
        )
    except PostmasterError as error:
        if debug:
            raise
        text = _one_line(error.message)
        status = error.plugin_status if _is_health(given) else error.exit_status
        return _fail(given, error.code, text, error.hint, status, error.detail)
    except BrokenPipeError:
        return _end_quietly()
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # Typer makes it this
            return _end_quietly()
        raise
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.errno in (*_NO_ROOM, *_NO_FILE):
            where = _one_line(str(error.filename or "the output"))[-200:]
            text = f"{where} cannot be {'used' if error.errno in _NO_FILE else 'written'}: {error.strerror}"
            return _fail(given, "failed", text, remedy(error), _status(given, 1))
        text = f"unexpected {type(error).__name__}: {_one_line(str(error))[:300]}"
        return _fail(
            given, "unexpected", text, "run it with --debug and report what it shows", _status(given, 1)
        )
    finally:
        remember_file(None)


def _end_quietly() -> int:
    """The reader has seen enough (`| head`). Python would complain once more when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _fail(
    arguments: list[str], code: str, message: str, hint: str | None, status: int, detail: str | None = None
) -> int:
    message = message if len(message) <= LONGEST else f"{message[:LONGEST]}…"
    if _wants_json(arguments):
        from postmaster.render.output import as_json

        error: dict[str, Any] = {"code": code, "message": message, "hint": hint}
        if detail is not None:
            error["detail"] = detail
        print(as_json({"error": error}), file=sys.stderr)
    else:
        from postmaster.render.escape import printable

        print(
            f"postmaster: {printable(message)}" + (f" ({printable(pasted(hint))})" if hint else ""),
            file=sys.stderr,
        )
        for line in (detail or "").splitlines():
            print(printable(line), file=sys.stderr)
    return status


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _wants_json(arguments: list[str]) -> bool:
    """Whether JSON was asked for; looked up here, as a wrong usage is never parsed to its end."""
    for at, word in enumerate(arguments):
        value = arguments[at + 1] if word in ("-o", "--output") and at + 1 < len(arguments) else ""
        for prefix in ("--output=", "-o"):
            if word.startswith(prefix) and word != prefix:
                value = value or word[len(prefix) :]
        if value in ("json", "jsonl"):
            return True
    return False


def _is_health(arguments: list[str]) -> bool:
    words = [word for word in arguments if not word.startswith("-")]
    return "health" in words[:2]


def _usage_status(arguments: list[str]) -> int:
    return _status(arguments, 2)


def _status(arguments: list[str], status: int) -> int:
    """Monitoring reads 1 and 2 as warning and critical: for it, every error of ours is unknown (3)."""
    return 3 if _is_health(arguments) else status


def run() -> None:
    """The program, once it is loaded (`__main__.py`).

    Ends without taking the interpreter down object by object, a seventh of a short command's time: by
    now every file is closed, and nothing waits for the interpreter's end.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # while this was loaded; now it is told
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _prepare_streams()
    status = main()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # what could be told of it main() has told
            stream.flush()
    os._exit(status)


def _prepare_streams() -> None:
    """Have the three streams, whoever started us: a service may give none, nor does `>&-`."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
