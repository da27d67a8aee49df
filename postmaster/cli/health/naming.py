"""Completion of names that several health commands take."""

from __future__ import annotations

import typer

from postmaster.cli.state import state_of
from postmaster.errors import PostmasterError


def check_names(incomplete: str) -> list[str]:
    from postmaster.health.checks import NAMES

    return [name for name in NAMES if name.startswith(incomplete)]


def problem_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Open problems, as `health ack` names them."""
    from postmaster.health.state import open_state

    try:
        with open_state(state_of(ctx).settings.state) as state:
            return [name for name in map("/".join, state.known()) if name.startswith(incomplete)]
    except PostmasterError:
        return []


def acknowledged_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Acknowledged problems, as `health unack` names them."""
    import time

    from postmaster.health.state import open_state

    try:
        with open_state(state_of(ctx).settings.state) as state:
            found = state.acknowledgements(time.time())
            return [name for name in map("/".join, found) if name.startswith(incomplete)]
    except PostmasterError:
        return []
