"""The group that every `postmaster queue` command registers itself with."""

from __future__ import annotations

import typer

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Messages waiting in Postfix's queue.",
    epilog="Example: postmaster queue list",
)
