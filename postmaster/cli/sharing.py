"""Options that several commands share: declared once, and handed to a command as one value."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from typing import Any

Command = Callable[..., None]
#: Name -> (Typer's annotation, default).
Options = Mapping[str, tuple[Any, Any]]


def share(
    command: Command,
    options: Options,
    taken: Collection[str],
    fill: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    first: bool,
) -> Command:
    """A command with these options, before or after its own.

    It has the parameters `taken` instead of them; `fill` makes those of what was given.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [one for one in signature.parameters.values() if one.name not in taken]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in options.items()
    ]

    @wraps(command)
    def with_options(**given: Any) -> None:
        filled = fill({name: given[name] for name in options})
        command(**{one.name: given[one.name] for one in own}, **filled)

    context = [one for one in own if one.name == "context"]
    rest = [one for one in own if one.name != "context"]
    parameters = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for one in (*context, *((*shared, *rest) if first else (*rest, *shared)))
    ]
    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {one.name: one.annotation for one in parameters}
    return with_options
