"""A command group that loads a subcommand's module only when that subcommand is used.

The one file that touches Typer's vendored Click: its names are private and move between versions.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any

from typer import main as typer_main
from typer._click.core import Command, Context
from typer._click.exceptions import ClickException, NoArgsIsHelpError, UsageError
from typer._click.formatting import HelpFormatter
from typer.core import TyperGroup

__all__ = ["ClickException", "Context", "NoArgsIsHelpError", "UsageError", "lazy_group", "usage_hint"]


class _Commands(MutableMapping[str, Command]):
    """Name -> command, imported at first use."""

    def __init__(self, modules: dict[str, str]) -> None:
        self._modules = modules
        self._loaded: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        if name not in self._loaded:
            command: Any = typer_main.get_command(import_module(self._modules[name]).app)
            # A module may hold several of the group's commands, or be a group of its own.
            command = getattr(command, "commands", {}).get(name, command)
            command.name = name
            self._loaded[name] = command
        return self._loaded[name]

    def __setitem__(self, name: str, command: Command) -> None:
        self._loaded[name] = command
        self._modules.setdefault(name, "")

    def __delitem__(self, name: str) -> None:
        del self._modules[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


def lazy_group(stubs: dict[str, tuple[str, str]]) -> type[TyperGroup]:
    """A group class over `name -> (module, one line of help)`. Each module has a Typer `app`.

    The app is a group, a single command, or holds the command by its name among others.
    """

    class LazyGroup(TyperGroup):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            self.commands = _Commands({name: module for name, (module, _) in stubs.items()})

        def list_commands(self, ctx: Context) -> list[str]:
            return list(stubs)

        def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
            with formatter.section("Commands"):
                formatter.write_dl([(name, text) for name, (_, text) in stubs.items()])

    return LazyGroup


def usage_hint(error: ClickException) -> str | None:
    """Where the right words stand, for a wrong usage."""
    context = getattr(error, "ctx", None)
    return None if context is None else f"see: {context.command_path} --help"
