"""One line of a mail log: when, where, which program of which instance, and the event in it.

Lines have the usual form of `postfix/forms.py` or, in Dovecot's own file,
`STAMP SERVICE(USER)<PID><SESSION>: LEVEL: TEXT`. Lines of other programs are foreign and give nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from postmaster.dovecot import events as dovecot
from postmaster.postfix import events as postfix
from postmaster.postfix import shapes
from postmaster.postfix.forms import match_head
from postmaster.postfix.stamps import STAMP, Clock


@dataclass(frozen=True, slots=True)
class Line:
    """`instance` is the first part of the tag; `event` Postfix's or Dovecot's; `raw` the line as it was.

    `place` is where it stands: number of the log, of its file, byte. With the time it gives the order.
    """

    time: float
    host: str
    instance: str
    program: str
    pid: str
    event: postfix.Event | dovecot.Event
    raw: str
    place: tuple[int, int, int] = (0, 0, 0)

    @property
    def order(self) -> tuple[float, tuple[int, int, int]]:
        return self.time, self.place


_match_dovecot = re.compile(
    rf"({STAMP}) (?=[a-z][a-z0-9-]{{1,40}}(?:\([^()\n]*+\))?(?:<\d{{1,10}}>)?(?:<[^<>\s]{{0,100}}>)?: "
    r"(?:Info|Warning|Error|Fatal|Panic|Debug): )",
    re.ASCII,
).match


def parse(raw: str, clock: Clock) -> Line | None:
    """The line, without its end, as a Line; None when it is neither Postfix's nor Dovecot's."""
    found = match_head(raw)
    if found is not None:
        stamp, host, tag, pid = found.groups()
        first, slash, _ = tag.partition("/")
        program = tag.rpartition("/")[2]
        if slash and program in shapes.PROGRAMS:
            when = clock.seconds(stamp)
            if when is None:
                return None
            return Line(when, host, first, program, pid or "", shapes.parse(program, raw[found.end() :]), raw)
        if tag == "dovecot":
            when = clock.seconds(stamp)
            if when is None:
                return None
            return Line(when, host, tag, tag, pid or "", dovecot.parse(raw[found.end() :]), raw)
    found = _match_dovecot(raw)
    if found is None:
        return None
    when = clock.seconds(found[1])
    if when is None:
        return None
    return Line(when, "", "dovecot", "dovecot", "", dovecot.parse(raw[found.end() :]), raw)
