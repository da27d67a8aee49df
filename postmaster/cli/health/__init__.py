"""`postmaster health`: one module per subject, loaded when one of its commands is used."""

from __future__ import annotations

from postmaster.cli.lazy import lazy_app

app = lazy_app(
    __name__,
    "Whether mail works. The exit status is the monitoring plugins'.\n\n"
    "0 ok, 1 warning, 2 critical, 3 unknown, and errors.",
    example="postmaster health check",
    commands={
        "check": ("check", "Run the checks and say what is wrong and what to do."),
        "list": ("listing", "The checks: what each looks at, its codes and thresholds."),
        "ack": ("ack", "Acknowledge problems: silent until a date, or until they get worse."),
        "unack": ("ack", "Take an acknowledgement back."),
        "acks": ("ack", "List the acknowledgements."),
        "digest": ("digest", "What is wrong, what changed, and the log in figures."),
        "history": ("history", "What began, got worse, got better or ended, and when."),
        "availability": ("history", "How long services were up, month by month."),
        "probe-account": ("probe", "Make the user of the round trip, with a password in a file."),
        "install": ("schedule", "Run the checks regularly, by systemd or cron."),
        "uninstall": ("schedule", "Take the timer or the crontab away again."),
    },
)
