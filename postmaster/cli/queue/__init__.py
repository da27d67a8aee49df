"""`postmaster queue`: one module per subject. They are loaded in the order in which help lists them."""

from __future__ import annotations

from postmaster.cli.queue import listing, show, summary, watch, act, trash, history  # isort: skip
from postmaster.cli.queue.group import app

__all__ = ["act", "app", "history", "listing", "show", "summary", "trash", "watch"]
