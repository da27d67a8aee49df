"""`postmaster health`: one module per subject, loaded when one of its commands is used."""

from __future__ import annotations

import typer

from postmaster.cli.lazy import lazy_group

_HERE = "postmaster.cli.health"
COMMANDS = {
    "check": (f"{_HERE}.check", "Run the checks and say what is wrong and what to do."),
    "list": (f"{_HERE}.listing", "The checks: what each looks at, its codes and thresholds."),
    "ack": (f"{_HERE}.ack", "Acknowledge problems: silent until a date, or until they get worse."),
    "unack": (f"{_HERE}.ack", "Take an acknowledgement back."),
    "acks": (f"{_HERE}.ack", "List the acknowledgements."),
    "digest": (f"{_HERE}.digest", "What is wrong, what changed, and the log in figures."),
    "history": (f"{_HERE}.history", "What began, got worse, got better or ended, and when."),
    "availability": (f"{_HERE}.history", "How long services were up, month by month."),
    "probe-account": (f"{_HERE}.probe", "Make the user of the round trip, with a password in a file."),
    "install": (f"{_HERE}.schedule", "Run the checks regularly, by systemd or cron."),
    "uninstall": (f"{_HERE}.schedule", "Take the timer or the crontab away again."),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    epilog="Example: postmaster health check",
)


@app.callback()
def health() -> None:
    """Whether mail works. The exit status is the monitoring plugins'.

    0 ok, 1 warning, 2 critical, 3 unknown, and errors.
    """
