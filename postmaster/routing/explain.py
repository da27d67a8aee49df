"""Explaining one address: the door, the expansion, the destinations, local delivery, and all again.

Nothing is sent and nothing is changed. What is said is what Postfix would do now, by its own configuration
and tables; the directory only gives the rules their names.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from postmaster.address import Address
from postmaster.errors import PostmasterError, ServerError
from postmaster.postfix.tables import Difference
from postmaster.postfix.tokens import quote, unquote
from postmaster.routing import destination, hops, local, reception
from postmaster.routing.caveats import caveats
from postmaster.routing.expansion import Expansion, canonical, expand
from postmaster.routing.hops import Explanation, Hop, Problem, ResolveDifference, Verdict
from postmaster.routing.naming import Naming
from postmaster.routing.server import Server, open_server
from postmaster.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: What a hop takes over from the way of the message that it was sent in as.
_OF_THE_END = (
    *("rule", "reason", "table", "key", "domain_class", "transport", "next_hop", "sender", "problem"),
    "hops",
)

MOST_HOPS = 5000  # that one explanation has; local aliases have no limit of their own


@dataclass(frozen=True, slots=True)
class _Resubmitted:
    """An address that local(8) sends in anew, the hop for it, and how often already."""

    address: str
    hop: Hop
    before: tuple[str, ...]  # recipients of the messages before it
    sender: str
    hops: int


class Explainer:
    """Explains addresses by one moment of a server; answers of tables are kept, so a new one sees changes."""

    def __init__(self, server: Server, truth: Connection | None) -> None:
        self._server = server
        self._naming = Naming(server, truth)
        self._differences: list[Difference | ResolveDifference] = []
        self._count = 0
        self._waiting: list[_Resubmitted] = []
        self._hops = 0  # of the message that is followed now

    def explain(self, address: str, sender: str = "", *, live: bool = True) -> Explanation:
        """Explain an address in external form. `live` compares with the running server."""
        self._differences, self._count, self._waiting, self._hops = [], 0, [], 0
        given = unquote(address)
        verdict = reception.judge(self._server, given, sender)
        main = self._way(given, sender)
        if verdict.code >= 400:
            _at_the_door(main.tree, verdict)
        copies = [self._copy(one, sender, why) for one, why in self._automatic(given, sender)]
        self._follow()
        problems = [*self._problems(main), *(p for copy in copies for p in self._problems(copy))]
        asked: list[str] = []
        notes: list[str] = []
        if live and self._server.running:
            try:
                self._differences += self._server.tables.differences()
                asked.append("tables")
            except ServerError as error:
                notes.append(f"the running server could not be asked: {error.message}")
        if self._server.rewriter is not None and self._server.rewriter.answers:
            asked.append("rewrite")
        if not self._server.running:
            notes.append("Postfix does not run: this is what its configuration says")
        is_refused = verdict.code >= 400 or main.failure is not None
        recipients = (
            [] if is_refused else [*main.recipients, *(r for copy in copies for r in copy.recipients)]
        )
        return Explanation(
            address,
            sender,
            verdict,
            main.tree,
            tuple(copy.tree for copy in copies),
            tuple(dict.fromkeys(quote(one) for one in recipients)),
            tuple(problems),
            tuple(self._differences),
            tuple(asked),
            self._server.limits,
            tuple(notes),
        )

    def _way(self, address: str, sender: str, before: tuple[str, ...] = ()) -> Expansion:
        """The expansion of an address, with the destination of every end and what follows there."""
        found = expand(self._server, self._naming, address)
        if len(found.ends) > 1:
            ends = [end for end, _ in found.ends[:MOST_HOPS]]
            for maps in ("virtual_mailbox_maps", "relocated_maps"):
                self._server.addressing.prepare(self._server.parameters[maps], ends)
        for end, hop in found.ends:
            self._count += 1
            if self._count > MOST_HOPS:
                hop.rule, hop.problem = hops.NOWHERE, hops.LIMIT
                hop.reason = f"more than {MOST_HOPS} ends: not followed any further"
                continue
            kept = hop.kept_copy
            recipient, difference = destination.settle(self._server, end, hop, sender)
            if difference is not None:
                self._differences.append(difference)
            if kept:
                hop.reason = f"kept copy: {hop.reason}"
            if hop.rule == hops.LOCAL_MAILBOX:
                local.deliver(self._server, recipient, hop, partial(self._resubmit, sender), before)
        return found

    def _resubmit(
        self, sender: str, address: str, hop: Hop, before: tuple[str, ...], new_sender: str | None
    ) -> None:
        """Note an address that local(8) sends in anew; it is followed later, as many may be in a row."""
        sender = sender if new_sender is None else new_sender
        self._waiting.append(_Resubmitted(address, hop, before, sender, self._hops + 1))

    def _follow(self) -> None:
        """Follow what was sent in anew: all of cleanup's tables count again."""
        most = int(self._server.parameters["hopcount_limit"] or 50)
        while self._waiting:
            one = self._waiting.pop(0)
            self._count += 1
            hop, self._hops = one.hop, one.hops
            if one.hops + 1 >= most or self._count > MOST_HOPS:  # each adds a Received header to the first
                hop.rule, hop.problem = hops.NOWHERE, hops.LIMIT
                hop.reason = f"more than {MOST_HOPS} ends: not followed any further"
                if one.hops + 1 >= most:
                    hop.reason = f"{most} messages one after another: returned to its sender (too many hops)"
                continue
            found = self._way(one.address, one.sender, one.before)
            top = found.tree
            if found.failure is not None and top.problem is None:
                top.problem, top.reason = hops.LIMIT, found.failure
            for name in _OF_THE_END:
                setattr(hop, name, getattr(top, name))
            # What was sent in anew at the top of that way belongs to this hop now.
            self._waiting = [replace(two, hop=hop) if two.hop is top else two for two in self._waiting]

    def _automatic(self, address: str, sender: str) -> list[tuple[str, str]]:
        """(address in internal form, parameter) of copies that Postfix makes by itself.

        Each table gives one address: a list is one address with commas in its local part, as in Postfix.
        """
        given, find = self._server.parameters, self._server.addressing.find
        found = []
        try:
            if sender and (match := find(given["sender_bcc_maps"], unquote(sender))):
                found.append((match.answer, "sender_bcc_maps"))
            if given["always_bcc"]:
                found.append((given["always_bcc"], "always_bcc"))
            recipient, _ = canonical(self._server, address, Hop(address))
            if match := find(given["recipient_bcc_maps"], recipient):
                found.append((match.answer, "recipient_bcc_maps"))
        except ServerError:
            return found
        return found

    def _copy(self, address: str, sender: str, why: str) -> Expansion:
        found = self._way(address, sender)
        found.tree.reason = f"automatic copy ({why}): {found.tree.reason}"
        return found

    def _problems(self, way: Expansion) -> list[Problem]:
        found = [
            Problem(hop.problem, hop.address, hop.reason)
            for _, hop in way.tree.walk()
            if hop.problem is not None
        ]
        if way.failure is not None and not found:
            found.append(Problem(hops.LIMIT, way.tree.address, way.failure))
        return found


def _at_the_door(tree: Hop, verdict: Verdict) -> None:
    """Mark the tree of an address that is refused before anything of what it says can happen."""
    if tree.problem is None:
        tree.problem = hops.CLOSED if verdict.code >= 500 else hops.UNREADABLE
        tree.reason = f"refused at the door; else: {tree.reason}"
    elif tree.problem == hops.DEAD_END and not tree.hops:
        tree.reason = f"refused at the door: {verdict.text}"


def explain(settings: Settings, address: Address, sender: Address | None = None) -> Explanation:
    """Explain one address. Raises ProcessError where there is no Postfix, RightsError for who may not read.

    The directory is opened as it is, without publishing first: what the servers see now is what counts.
    """
    with ExitStack() as stack:
        server = stack.enter_context(open_server(settings))
        truth, notes = open_truth(settings, stack)
        explained = Explainer(server, truth).explain(address.ascii, sender.ascii if sender else "")
        return replace(explained, notes=(*explained.notes, *caveats(server, address.domain), *notes))


def open_truth(settings: Settings, stack: ExitStack) -> tuple[Connection | None, list[str]]:
    """(a read of the directory as it is, None where there is none; notes). The stack closes it."""
    from postmaster.directory.database import open_directory
    from postmaster.directory.publish import is_behind

    try:
        directory = stack.enter_context(open_directory(settings, publish=False))
        behind = is_behind(settings.lookups, directory.read, directory.engine)
        truth = stack.enter_context(directory.read())
    except PostmasterError as error:
        return None, [f"rules have no names of the directory: {error.message}"]
    if behind:
        return truth, [
            "the look-ups are behind the directory, which servers do not see yet: postmaster publish"
        ]
    return truth, []
