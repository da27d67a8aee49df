"""A command group that loads a subcommand's module only when that subcommand is used, and bounds its numbers.

The one file that touches Typer's vendored Click: its names are private and move between versions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any

from typer import Typer
from typer import main as typer_main
from typer._click.core import Command, Context
from typer._click.exceptions import ClickException, NoArgsIsHelpError, UsageError
from typer._click.formatting import HelpFormatter
from typer._click.types import FloatParamType, FloatRange, IntParamType, IntRange
from typer.core import TyperGroup

__all__ = [
    "ClickException",
    "Context",
    "NoArgsIsHelpError",
    "UsageError",
    "lazy_app",
    "lazy_group",
    "usage_hint",
]


LARGEST = 2**63 - 1  # as a number in a database, and as a limit of the iterators
LONGEST = 1e9  # seconds; the system's own calls take no more


class _Bounded:
    """Of a type of numbers: no more than databases and the system's calls can take."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        given: Any = super()
        found = given.convert(value, param, ctx)
        most = LARGEST if isinstance(found, int) else LONGEST
        if not -most <= found <= most:  # so is what is no number at all (nan)
            given.fail(f"{str(value)[:60]} is out of range.", param, ctx)
        return found


class _Int(_Bounded, IntParamType): ...


class _IntRange(_Bounded, IntRange): ...


class _Float(_Bounded, FloatParamType): ...


class _FloatRange(_Bounded, FloatRange): ...


_BOUNDED: dict[type, Any] = {
    IntParamType: _Int,
    IntRange: _IntRange,
    FloatParamType: _Float,
    FloatRange: _FloatRange,
}


def _bound(command: Any) -> None:
    """Bound every number that a command or the commands of a group take."""
    for parameter in command.params:
        kind = type(parameter.type)
        if kind in _BOUNDED:
            parameter.type = _BOUNDED[kind](**vars(parameter.type))
    commands = getattr(command, "commands", {})
    if not isinstance(commands, _Commands):  # which bounds what it loads
        for inner in commands.values():
            _bound(inner)


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
            _bound(command)
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


def lazy_app(package: str, text: str, example: str, commands: Mapping[str, tuple[str, str]]) -> Typer:
    """The app of a noun whose commands lie in the modules of a package, one module per subject.

    `commands` is name -> (module in the package, one line of help), `text` the noun's own help.
    """
    stubs = {name: (f"{package}.{module}", line) for name, (module, line) in commands.items()}
    return Typer(
        cls=lazy_group(stubs),
        callback=lambda: None,  # without one Typer takes an app that has no command yet for none at all
        rich_markup_mode=None,
        add_completion=False,
        no_args_is_help=True,
        help=text,
        epilog=f"Example: {example}",
    )


def usage_hint(error: ClickException) -> str | None:
    """Where the right words stand, for a wrong usage."""
    context = getattr(error, "ctx", None)
    return None if context is None else f"see: {context.command_path} --help"
