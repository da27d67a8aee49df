"""The fixtures of the directory's tests: a directory, and the command line."""

from __future__ import annotations

from tests.integration.cli.conftest import bare, cli, house

__all__ = ["bare", "cli", "house"]
