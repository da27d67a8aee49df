"""A message in by submission and out by IMAP and POP3, with the time of each stage, and nothing left of it.

Where the settings name a reflector, a message goes out to it now and then, and its answer is awaited in
the same mailbox by the runs that follow.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from postmaster.errors import NotFoundError, PostmasterError, RightsError
from postmaster.files import replace
from postmaster.health.finding import OK, Context, Finding, Measure, Severity, bad
from postmaster.health.ranges import at_most
from postmaster.health.talk import (
    Listener,
    Refused,
    Talk,
    TlsBroken,
    WrongAnswer,
    any_certificate,
    listeners,
)
from postmaster.shell import word

if TYPE_CHECKING:
    from postmaster.health.probe import Trip

MEANING = "a message goes in by submission and comes out by IMAP and POP3"
CODES = {
    "submission-refused": "the message cannot be handed in",
    "not-delivered": "the message does not come to its mailbox in time",
    "imap-refused": "the message cannot be read by IMAP",
    "pop3-refused": "the message cannot be fetched by POP3",
    "round-trip-slow": "the message takes longer than the settings allow",
    "probe-account": "the account of the round trip cannot be used",
    "reflector-refused": "a message to the reflector is refused",
    "reflector-silent": "the reflector's answer does not come in time",
}
SETTINGS = (
    *("round_trip", "round_trip_warning", "probe_address", "probe_password_file"),
    *("reflector", "reflector_minutes", "reflector_warning"),
)
SHARE = 0.8  # of the deadline; the rest is for cleaning up
HEADER = "X-Postmaster-Probe"
PAUSE = 0.05  # seconds between two looks into the mailbox
PATIENCE = 0.5  # seconds after which the queue and the log are asked what holds it up
LEFT_OVER = 600  # seconds after which a message of ours in a lasting mailbox is another run's no more
NEWEST = 50  # messages of a mailbox that are looked at
LOG_LIMIT = 1 << 20  # bytes from a log's end

_FAILURES = (OSError, TlsBroken, WrongAnswer, Refused)
_SUBMISSION, _IMAP, _POP3 = ("submission", "submissions"), ("imap", "imaps"), ("pop3", "pop3s")
_match_token = re.compile(r"[0-9a-f]{32}").fullmatch
_find_queue_id = re.compile(r"queued as ([0-9A-Za-z]{5,32})").search
_bad = partial(bad, "round-trip")


def run(context: Context) -> Iterator[Finding]:
    """Nothing where the settings turn it off."""
    from postmaster.health import probe

    if not context.settings.health.round_trip:
        return
    ends = time.monotonic() + context.left(SHARE)
    try:
        with probe.trip(context.settings) as trip:
            one = _Round(context, trip, ends)
            yield from one.local()
            yield from one.reflected()
    except (NotFoundError, RightsError) as error:
        message = f"no round trip can be made: {error.message}"
        remedy = error.hint or "run it as root"
        yield Finding("round-trip", "account", "probe-account", Severity.unknown, message, remedy)


class _Round:
    """One run's messages."""

    def __init__(self, context: Context, trip: Trip, ends: float) -> None:
        self._settings, self._trip, self._ends = context.settings, trip, ends
        self._account = trip.account
        self._token = os.urandom(16).hex()
        self._queue_id = ""
        self._why = ""  # nothing came

    def local(self) -> Iterator[Finding]:
        """From the account to itself."""
        begun = time.monotonic()
        try:
            self._queue_id = self._send(self._account.address, self._token)
        except _FAILURES as error:
            remedy = "postmaster health check services processes; see the mail log"
            message = f"the message cannot be handed in: {_words(error)}"
            yield _bad("submission", "submission-refused", message, remedy)
            return
        self._trip.queued(self._queue_id)
        yield _good("submission", begun, "handed in")
        for names, look in ((_IMAP, self._by_imap), (_POP3, self._by_pop3)):
            name, listener = names[0], self._listener(names)
            if listener is None:
                continue
            begins = time.monotonic()
            try:
                has_come = look(listener)
            except _FAILURES as error:
                remedy = f"postmaster health check services; see Dovecot's log for {name}"
                yield _bad(name, f"{name}-refused", f"the message cannot be read: {_words(error)}", remedy)
                continue
            if not has_come:
                remedy = f"postmaster trace {word(self._queue_id or self._account.address)}"
                yield _bad(name, "not-delivered", f"the message did not come: {self._why}", remedy)
                return
            self._trip.queued("")  # it is not in the queue any more
            yield _good(name, begins, "read")
        took = Measure(
            "time", time.monotonic() - begun, "s", at_most(self._settings.health.round_trip_warning), None, 0
        )
        message = f"in and out again after {took.value:.2f} s"
        if took.severity:
            remedy = "postmaster queue summary; postmaster log report has the delays"
            yield _bad("total", "round-trip-slow", message, remedy, took.severity, (took,))
        else:
            yield Finding("round-trip", "total", OK, Severity.ok, message, measures=(took,))

    def reflected(self) -> Iterator[Finding]:
        """To the reflector and back, over several runs."""
        limits = self._settings.health
        if not limits.reflector:
            return
        listener = self._listener(_IMAP)
        if not self._account.lasting or listener is None:
            message = "an answer from elsewhere needs a mailbox that lasts, and IMAP"
            remedy = "postmaster health probe-account ADDRESS makes one for health.probe_address"
            yield _bad("reflector", "probe-account", message, remedy, Severity.unknown)
            return
        from postmaster.health import probe

        file = probe.folder(self._settings) / "reflector.json"
        waits = _Waiting.read(file)
        try:
            if waits is not None and waits.took is None:
                waits.took = self._answer(listener, waits)
                waits.write(file)
            if waits is None or not 0 <= time.time() - waits.sent < 60 * limits.reflector_minutes:
                sent = _Waiting(os.urandom(16).hex(), time.time())
                self._send(limits.reflector, sent.token)
                sent.write(file)
                waits = waits or sent  # what is known is of the one before
        except _FAILURES as error:
            message = f"a message to {limits.reflector} is refused: {_words(error)}"
            remedy = "postmaster setup apply lets the account send there; see the mail log"
            yield _bad("reflector", "reflector-refused", message, remedy, Severity.warning)
            return
        age = time.time() - waits.sent
        took = age if waits.took is None else waits.took
        measure = Measure("time", took, "s", at_most(60 * limits.reflector_warning), None, 0)
        if waits.took is None and measure.severity:
            message = f"no answer of {limits.reflector} for {age / 60:.0f} minutes"
            remedy = f"postmaster trace {word(limits.reflector)}: did the message leave, and what came back?"
            yield _bad("reflector", "reflector-silent", message, remedy, Severity.warning, (measure,))
            return
        message = "an answer is awaited" if waits.took is None else f"answered after {took:.0f} s"
        yield Finding("round-trip", "reflector", OK, Severity.ok, message, measures=(measure,))

    def _answer(self, listener: Listener, waits: _Waiting) -> float | None:
        """How long the answer took, None while it is not there. It is deleted."""
        with self._session(listener) as talk:
            talk.imap("SELECT INBOX")
            found = _search(talk, f"TEXT {waits.token}")
            if not found:
                return None
            from email.utils import parsedate_to_datetime

            lines = "\n".join(talk.imap(f"UID FETCH {found[0]} INTERNALDATE"))
            date = re.search(r'INTERNALDATE "([^"]{10,40})"', lines)
            came = (
                parsedate_to_datetime(date[1].strip().replace("-", " ")).timestamp() if date else time.time()
            )
            _delete(talk, found)
            return max(0.0, came - waits.sent)

    def _listener(self, names: tuple[str, str]) -> Listener | None:
        found = {one.name: one for one in listeners(self._settings.server)}
        return found.get(names[0]) or found.get(names[1])

    @contextmanager
    def _session(self, listener: Listener) -> Iterator[Talk]:
        """A conversation after TLS and login; the certificate is looked at elsewhere."""
        with Talk(self._settings.server.address, listener, self._ends) as talk:
            talk.start(any_certificate())
            talk.log_in(self._account.address, self._account.password)
            yield talk
            talk.quit()

    def _send(self, recipient: str, token: str) -> str:
        """Hand a message in; its queue ID."""
        listener = self._listener(_SUBMISSION)
        if listener is None:
            raise Refused("there is no listener for submission in the settings")
        with self._session(listener) as talk:
            # No bounce and no delay notice: nobody is there to read it, and it would be the postmaster's.
            quiet = " NOTIFY=NEVER" if "DSN" in talk.can else ""
            for command in (f"MAIL FROM:<{self._account.address}>", f"RCPT TO:<{recipient}>{quiet}"):
                code, text = talk.command(command)
                if code != 250:
                    raise Refused(text)
            text = talk.message(_content(self._account.address, recipient, token))
        found = _find_queue_id(text)
        return found[1] if found else ""

    def _looks(self) -> Iterator[None]:
        """A moment for each look into the mailbox, until it is known that nothing comes."""
        begun = asked = time.monotonic()
        while True:
            yield
            now = time.monotonic()
            self._why = f"it is not there after {now - begun:.1f} s"
            if now - asked > PATIENCE or now >= self._ends:
                asked = now
                why = self._hindrance()
                if why or now >= self._ends:
                    self._why = why or self._why
                    return
            time.sleep(PAUSE)

    def _by_imap(self, listener: Listener) -> bool:
        with self._session(listener) as talk:
            talk.imap("SELECT INBOX")
            for _ in self._looks():
                found = _search(talk, f"HEADER {HEADER} {self._token}")
                if found:
                    text = talk.imap(f"UID FETCH {found[0]} BODY.PEEK[TEXT]")
                    if not any(self._token in line for line in text):
                        raise Refused("its text is not what was sent")
                    left = []
                    if self._account.lasting:
                        left = _search(talk, f'HEADER {HEADER} "" OLDER {LEFT_OVER}')
                    _delete(talk, left if self._listener(_POP3) else [*left, *found])
                    return True
                talk.imap("NOOP")
        return False

    def _by_pop3(self, listener: Listener) -> bool:
        for _ in self._looks():
            with self._session(listener) as talk:
                count = talk.pop3("STAT")[0].split()[1]
                newest = int(count) if count.isdigit() else 0
                for number in range(newest, max(0, newest - NEWEST), -1):
                    if any(self._token in line for line in talk.pop3(f"TOP {number} 0", whole=True)):
                        text = talk.pop3(f"RETR {number}", whole=True)
                        if not any(line == self._token for line in text):
                            raise Refused("its text is not what was sent")
                        talk.pop3(f"DELE {number}")
                        talk.pop3("QUIT")  # only now it is deleted (RFC 1939)
                        return True
        return False

    def _hindrance(self) -> str:
        """What Postfix says of the message, from its log or its queue; nothing while it is on its way."""
        from postmaster.postfix.queue import Listing
        from postmaster.queue.read import find

        if not self._queue_id:
            return ""
        with suppress(PostmasterError, OSError):
            for message in find(self._settings, Listing(), [self._queue_id]):
                for recipient in message.recipients:
                    if recipient.delay_reason:
                        return f"it waits in the queue: {recipient.delay_reason[:200]}"
        with suppress(PostmasterError, OSError):
            return self._from_log()
        return ""

    def _from_log(self) -> str:
        from postmaster.postfix.events import Delivery
        from postmaster.postfix.log import parse_line
        from postmaster.postfix.logfiles import latest_lines

        for text in latest_lines(self._settings.log, self._settings.postfix, LOG_LIMIT):
            for line in reversed(text.splitlines()):
                if f": {self._queue_id}: to=<" in line and (parsed := parse_line(line)) is not None:
                    event = parsed.event
                    if isinstance(event, Delivery) and event.status != "sent":
                        return f"{event.status}: {(event.text or '')[:200]}"
        return ""


@dataclass(slots=True)
class _Waiting:
    """A message to the reflector. `took` is None while no answer has come."""

    token: str
    sent: float
    took: float | None = None

    @staticmethod
    def read(file: Path) -> _Waiting | None:
        try:
            found = _Waiting(**json.loads(file.read_text()))
            is_sound = _match_token(found.token) and isinstance(found.sent, int | float)
        except (OSError, ValueError, TypeError):
            return None
        return found if is_sound else None

    def write(self, file: Path) -> None:
        replace(file, json.dumps(asdict(self)).encode(), 0o600)


def _content(sender: str, recipient: str, token: str) -> str:
    from email.utils import format_datetime

    domain = sender.rpartition("@")[2]
    to_itself = (
        "Auto-Submitted: auto-generated\n" if sender == recipient else ""
    )  # a reflector would not answer
    return (
        f"From: <{sender}>\nTo: <{recipient}>\nSubject: postmaster health {token}\n"
        f"Date: {format_datetime(datetime.now(UTC))}\nMessage-ID: <{token}@{domain}>\n"
        f"{HEADER}: {token}\n{to_itself}\nA message of `postmaster health check round-trip`.\n\n{token}\n"
    )


def _search(talk: Talk, what: str) -> list[str]:
    words = [word for line in talk.imap(f"UID SEARCH {what}") for word in line.split()[2:]]
    return [word for word in words if word.isdigit()]


def _delete(talk: Talk, uids: list[str]) -> None:
    if uids:
        talk.imap(f"UID STORE {','.join(uids[:NEWEST])} +FLAGS.SILENT (\\Deleted)")
        talk.imap("EXPUNGE")


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _good(subject: str, begun: float, words: str) -> Finding:
    took = Measure("time", time.monotonic() - begun, "s", minimum=0)
    return Finding(
        "round-trip", subject, OK, Severity.ok, f"{words} after {took.value:.3f} s", measures=(took,)
    )
