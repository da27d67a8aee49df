"""`postmaster local`: one module per subject, loaded when one of its commands is used."""

from __future__ import annotations

from postmaster.cli.lazy import lazy_app

app = lazy_app(
    __name__,
    "Mail of the system's own accounts, delivered by local(8).",
    example="postmaster local alias set root amy@example.org",
    commands={
        "alias": ("alias", "Aliases of local users: /etc/aliases."),
        "forward": ("forward", "Forward files of local users: ~/.forward."),
    },
)
