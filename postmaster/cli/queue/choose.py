"""What every queue command shares: the words and options that choose messages.

`@choosing` gives a command these options and hands it one `Chosen` instead: the filter that all of
them make together, where to read from, which instances. Nothing chosen is a `node` of None; a
command that acts must refuse that, as it would mean the whole queue. A command with a parameter `last`
gets the last word apart.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.cli.sharing import Command, Options, share
from postmaster.cli.state import state_of
from postmaster.errors import UsageError

if TYPE_CHECKING:
    from postmaster.postfix.queue import Listing
    from postmaster.queue.expression import Node, Test
    from postmaster.queue.message import Message
    from postmaster.settings import Settings

HINT = "put the whole filter in single quotes, as in 'sender=*@shop.example and reason~\"too many\"'"


_SIGNS = set("()=~<>!")  # what makes a word a part of a filter


class Source(StrEnum):
    spool = "spool"
    postqueue = "postqueue"


class Queue(StrEnum):
    maildrop = "maildrop"
    incoming = "incoming"
    active = "active"
    deferred = "deferred"
    hold = "hold"
    corrupt = "corrupt"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which messages, and where to read them."""

    node: Node | None = None  # None: nothing was said, so every message
    ids: tuple[str, ...] = ()  # the IDs among the words, to tell which of them are not there
    source: str | None = None  # None: the spool where it may be read, else postqueue
    instances: tuple[str, ...] = ()  # empty: all
    only_ids: bool = False  # whether the words are all IDs: then nothing else need be read

    def needs(self) -> frozenset[str]:
        """What must be read of a message to choose by it."""
        if self.node is None:
            return frozenset()
        from postmaster.queue.expression import needs

        return needs(self.node)


def complete_words(incomplete: str) -> list[str]:
    """Fields with an operator, and the queues after `queue=`."""
    from postmaster.queue.fields import FIELDS, TEXTS

    field, equals, begun = incomplete.partition("=")
    if equals:
        return [f"queue={one}" for one in Queue if field == "queue" and one.startswith(begun)]
    names = [name for name in FIELDS if name.startswith(incomplete)]
    return [f"{name}{'=' if FIELDS[name].kind in TEXTS else '>'}" for name in names]


Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ID… | FILTER]",
        help="Queue IDs (- reads them from standard input), or a filter: 'sender=*@shop.example and age>2h'.",
        autocompletion=complete_words,
        show_default=False,
    ),
]
SenderOption = Annotated[
    str | None,
    typer.Option("--sender", metavar="PATTERN", help="Sender: an address, @domain, * for any text."),
]
RecipientOption = Annotated[
    str | None,
    typer.Option(
        "--recipient", metavar="PATTERN", help="Any recipient: an address, @domain, * for any text."
    ),
]
OlderOption = Annotated[str | None, typer.Option("--older", metavar="TIME", help="Older than 30m, 2h, 3d.")]
LargerOption = Annotated[str | None, typer.Option("--larger", metavar="SIZE", help="Larger than 500K, 5M.")]
ReasonOption = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Deferred for a reason with this text in it.")
]
QueueOption = Annotated[list[Queue] | None, typer.Option("--queue", help="In this queue; may be repeated.")]
SourceOption = Annotated[
    Source | None,
    typer.Option(
        "--source", help="Read the spool (root) or ask postqueue; by itself the best that is allowed."
    ),
]
InstanceOption = Annotated[
    list[str] | None,
    typer.Option("--instance", metavar="NAME", help="Only this Postfix instance; may be repeated."),
]

_OPTIONS: Options = {
    "words": (Words, None),
    "sender": (SenderOption, None),
    "recipient": (RecipientOption, None),
    "older": (OlderOption, None),
    "larger": (LargerOption, None),
    "reason": (ReasonOption, None),
    "queue": (QueueOption, None),
    "source": (SourceOption, None),
    "instance": (InstanceOption, None),
}


def choosing(command: Command) -> Command:
    """Give a command the options above. It takes what they say as its parameter `chosen`."""
    with_last = "last" in inspect.signature(command).parameters

    def fill(given: dict[str, Any]) -> dict[str, Any]:
        if not with_last:
            return {"chosen": choose(**given)}
        *given["words"], last = given["words"] or [""]
        return {"chosen": choose(**given), "last": last}

    return share(command, _OPTIONS, ("chosen", "last"), fill, first=True)


def choose(
    words: Sequence[str] | None = None,
    sender: str | None = None,
    recipient: str | None = None,
    older: str | None = None,
    larger: str | None = None,
    reason: str | None = None,
    queue: Sequence[Queue] | None = None,
    source: Source | None = None,
    instance: Sequence[str] | None = None,
) -> Chosen:
    """What the words and options choose together: all of them must hold. Raises FilterError."""
    place, names = None if source is None else source.value, tuple(instance or ())
    if not words and queue is None and all(one is None for one in (sender, recipient, older, larger, reason)):
        return Chosen(source=place, instances=names)  # a list of everything need not load the filter
    from postmaster.queue.expression import all_of, any_of, check_source, term

    nodes, ids, only_ids = _from_words(list(words or []))
    if sender is not None:
        nodes.append(term("sender", "=", _pattern(sender, "--sender")))
    if recipient is not None:
        nodes.append(term("recipient", "=", _pattern(recipient, "--recipient")))
    if older is not None:
        nodes.append(_amount("age", older, "--older"))
    if larger is not None:
        nodes.append(_amount("size", larger, "--larger"))
    if reason is not None:
        nodes.append(term("reason", "=", f"*{reason}*"))
    queues = any_of(term("queue", "=", one.value) for one in queue or ())
    node = all_of([*nodes, queues] if queues is not None else nodes)
    if node is not None and place is not None:
        check_source(node, place)
    return Chosen(node, ids, place, names, only_ids)


def chosen_test(settings: Settings, chosen: Chosen) -> Test | None:
    """The filter as a test, None where nothing was chosen. Raises FilterError where it cannot be answered."""
    if chosen.node is None:
        return None
    import time

    from postmaster.postfix.instances import chosen as instances
    from postmaster.queue.content import header_reader
    from postmaster.queue.expression import check_source, compile_filter, needs_spool
    from postmaster.queue.read import source_of

    if needs_spool(chosen.node):  # only then it matters, and to find out starts a program
        for one in instances(settings.postfix.config_directory, chosen.instances):
            check_source(chosen.node, source_of(one, chosen.source))
    return compile_filter(chosen.node, time.time(), header_reader(settings))


def where(settings: Settings, chosen: Chosen) -> dict[str, Any]:
    """What the functions of `queue/read.py` want to know of the choice."""
    return {
        "test": chosen_test(settings, chosen),
        "test_need": chosen.needs(),
        "source": chosen.source,
        "instances": chosen.instances,
    }


def read_chosen(
    context: typer.Context, chosen: Chosen, listing: Listing, needed: frozenset[str] | None = None
) -> Iterator[Message]:
    """The chosen messages; `needed` is what the command reads of them, None for all there is."""
    from postmaster.queue.message import ALL
    from postmaster.queue.read import find, select

    settings = state_of(context).settings
    need = ALL if needed is None else needed
    given = where(settings, chosen)
    if not chosen.only_ids:
        return select(settings, listing, need=need, **given)
    test = given.pop("test")
    del given["test_need"]
    found = find(settings, listing, chosen.ids, need=need | chosen.needs(), **given)
    return found if test is None else filter(test, found)


def _from_words(words: list[str]) -> tuple[list[Node], tuple[str, ...], bool]:
    """The filters that the words make, the IDs among them, and whether there is nothing else.

    Words that are all IDs or addresses mean any of them; other words are one filter that the shell
    split at its spaces.
    """
    from postmaster.queue.expression import FilterError, any_of, parse, parse_word
    from postmaster.queue.tree import KEYWORDS

    if words == ["-"]:
        words = sys.stdin.read().split()
        if not words:
            raise UsageError("no queue ID on standard input", hint="one a line, as in: echo ID | … -")
        if wrong := [word for word in words if parse_word(word) is None]:
            raise UsageError(f"{wrong[0][:100]} on standard input is no queue ID", hint="one a line")
    if not words:
        return [], (), False
    singles = [parse_word(word) for word in words]
    found = [one for one in singles if one is not None]
    if len(found) == len(words):
        together = any_of(found)
        assert together is not None
        ids = tuple(dict.fromkeys(one.value for one in found if hasattr(one, "value")))
        return [together], ids, all(hasattr(one, "value") for one in found)
    try:
        return [parse(" ".join(words))], (), False
    except FilterError as error:
        if found and not any(word.lower() in KEYWORDS or set(word) & _SIGNS for word in words):
            unknown = words[singles.index(None)][:100]
            raise FilterError(
                f"{unknown} is no queue ID or address", hint="postmaster queue list shows what is there"
            ) from None
        if len(words) > 1:
            raise FilterError(error.message, hint=HINT, detail=error.detail) from None
        raise


def _amount(field: str, text: str, option: str) -> Node:
    from postmaster.queue.expression import FilterError, term

    try:
        return term(field, ">", text)
    except FilterError as error:
        raise FilterError(f"{option} {text}: {error.message}") from None


def _pattern(text: str, option: str) -> str:
    """What people mean by a sender: an address, `@domain`, a pattern, or nothing for a bounce."""
    if text.startswith("@"):
        return f"*{text}"
    if text in ("", "<>") or any(c in text for c in "@*?"):
        return text
    raise UsageError(
        f"{option} {text} is no address",
        hint=f"{option} @{text} for a domain, {option} '{text}@*' for a name",
    )
