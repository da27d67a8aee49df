"""Passwords that were refused lately, as the servers' logs have them.

Postfix's line for each refused SMTP login, and Dovecot's for each session that ended with refused ones; of
one login no more than one of them. At most READ bytes at the end of each log are looked at.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace

from postmaster.settings import Settings

READ = 8 << 20  # bytes of each log
DISTINCT = 10_000  # clients, or logins, that are told apart

_LINE = re.compile(rb"^[^\n]*(?:authentication failed|auth failed,)[^\n]*$", re.MULTILINE)


@dataclass(slots=True)
class Refusals:
    """`is_whole`: whether all lines of the time were looked at."""

    number: int = 0
    clients: Counter[str] = field(default_factory=Counter)
    logins: Counter[str] = field(default_factory=Counter)
    is_whole: bool = True

    def add(self, number: int, client: str | None, login: str | None) -> None:
        self.number += number
        for counted, key in ((self.clients, client), (self.logins, login)):
            if key and (key in counted or len(counted) < DISTINCT):
                counted[key] += number


def since(settings: Settings, moment: float) -> Refusals:
    """Those since a moment. Raises NotFoundError where there is no log that may be read."""
    from postmaster.dovecot.events import LoginEnd
    from postmaster.postfix.events import AuthFailure
    from postmaster.postfix.stamps import Clock
    from postmaster.trace import sources
    from postmaster.trace.blocks import blocks
    from postmaster.trace.lines import parse

    found = Refusals()
    moment = float(int(moment))  # stamps of the usual form have no fractions
    period, notes = sources.Period(moment), sources.Notes()
    for log in sources.find(settings):
        for source in sources.within([one for one in log if not one.program], period):
            if source.weight > READ and source.is_plain:
                source = replace(source, begin=(source.end or source.size) - READ)
                found.is_whole = False
            clock = Clock(source.reference)
            for block in blocks(source, period, notes):
                for raw in _LINE.findall(block):
                    line = parse(raw.decode("utf-8", "replace"), clock)
                    if line is None or line.time < moment:
                        continue
                    match line.event:
                        case AuthFailure():
                            found.add(1, line.event.address, line.event.username)
                        case LoginEnd() if line.event.failures:
                            found.add(line.event.failures, line.event.address, line.event.user)
    found.is_whole = found.is_whole and not notes.problems
    return found
