"""Writes docs/commands.md from the command line itself: `make docs`.

The page is what our own tree says: usage, description, arguments, options, examples. Documentation
generators for Click cannot read the Click that Typer brings along, so the tree is walked here. The same
tree gives the same text; a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from postmaster.cli.main import COMMANDS, app

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"

_HEAD = """\
# Commands

This page is made from the commands themselves by `make docs`. Each command shows the same with `--help`
(or `-h`). What holds for all of them (output formats, errors, exit statuses, questions) is in
[conventions.md](conventions.md).
"""


def page() -> str:
    """The whole page."""
    root: Any = typer.main.get_command(app)
    parts = [_HEAD, "## postmaster", _usage(("postmaster",), root, "COMMAND"), _text(root.help)]
    parts += _parameters(root)
    for name in COMMANDS:
        command = root.commands[name]
        words = ("postmaster", name)
        parts.append(f"## {' '.join(words)}")
        if not hasattr(command, "commands"):
            parts += _command(words, command)
            continue
        parts += _group(words, command)
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _group(words: tuple[str, ...], group: Any) -> Iterator[str]:
    yield _text(group.help)
    if group.invoke_without_command:
        yield from _parameters(group)
    for verb, inner in group.commands.items():
        yield f"### {' '.join((*words, verb))}"
        if hasattr(inner, "commands"):
            yield from _group((*words, verb), inner)
        else:
            yield from _command((*words, verb), inner)


def _command(words: tuple[str, ...], command: Any) -> Iterator[str]:
    yield _usage(words, command)
    yield _text(command.help)
    yield from _parameters(command)
    label, *examples = _examples(command.epilog or "")
    if examples:
        yield f"{label}:\n\n" + _block("\n".join(examples))


def _usage(words: tuple[str, ...], command: Any, last: str = "") -> str:
    given = [_argument(one) for one in command.params if one.param_type_name == "argument"]
    options = ["[OPTIONS]"] if any(one.param_type_name == "option" for one in command.params) else []
    return _block(" ".join([*words, *options, *given, last]).strip())


def _parameters(command: Any) -> Iterator[str]:
    for kind, heading in (("argument", "Arguments"), ("option", "Options")):
        lines = [
            f"- `{_argument(one) if kind == 'argument' else _option(one)}`: {_text(one.help)}{_more(one)}"
            for one in command.params
            if one.param_type_name == kind and not one.hidden
        ]
        if lines:
            yield f"{heading}:\n\n" + "\n".join(lines)


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return name if parameter.required else f"[{name}]"


def _option(parameter: Any) -> str:
    choices = getattr(parameter.type, "choices", None)
    value = parameter.metavar or ("|".join(map(_plain, choices)) if choices else parameter.type.name.upper())
    names = ", ".join(parameter.opts)
    if parameter.secondary_opts:
        return f"{names}, {', '.join(parameter.secondary_opts)}"
    return names if parameter.is_flag else f"{names} {value}"


def _more(parameter: Any) -> str:
    """What the usage line cannot say: the default, and whether it may come again."""
    if parameter.param_type_name != "option":
        return ""
    if parameter.secondary_opts:
        default = {True: parameter.opts[0], False: parameter.secondary_opts[0]}.get(parameter.default)
        return f" Default: `{default}`." if default else ""
    if parameter.multiple:
        return " May be given several times."
    if parameter.is_flag or parameter.default in (None, (), []):
        return ""
    return f" Default: `{_plain(parameter.default)}`."


def _plain(value: Any) -> str:
    return str(value.value if isinstance(value, Enum) else value)


def _examples(epilog: str) -> list[str]:
    """The label of an epilog, and its examples."""
    label, _, rest = epilog.partition(": ")
    return [label, *(rest.split("; ") if label == "Examples" else [rest])] if rest else [label]


def _text(text: str | None) -> str:
    """Paragraphs on a line each, as Markdown wants no given width."""
    paragraphs = re.split(r"\n\s*\n", (text or "").strip())
    return "\n\n".join(" ".join(one.split()) for one in paragraphs)


def _block(text: str) -> str:
    return f"```\n{text}\n```"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
