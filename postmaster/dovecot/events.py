"""Dovecot's log lines as typed events: mail saved, Sieve actions, logins, refused passwords.

`parse(text)` takes what stands after the time stamp (in Dovecot's own file) or after `dovecot[PID]: ` (in
syslog): `service(user)<pid><session>: message`. It gives one event, `Unknown` for a line that no shape
here fits. `str(event)` is a line that parses into an equal event. Nothing in a line can make it fail, and
every pattern is linear.

Source: Dovecot 2.3 and 2.4, `src/login-common/client-common.c`, `src/auth/auth-request.c`,
`src/lib-lda/mail-deliver.c`; Pigeonhole, `src/lib-sieve/sieve-result.c`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LINE_LIMIT = 16 << 10  # characters of a line that are looked at


@dataclass(frozen=True, slots=True)
class Origin:
    """Which process spoke, for whom: `lmtp(amy@example.org)<4711><session>`."""

    service: str
    user: str | None = None
    pid: str | None = None
    session: str | None = None
    level: str | None = None

    def __str__(self) -> str:
        head = self.service
        if self.user is not None:
            head += f"({self.user})"
        if self.pid is not None:
            head += f"<{self.pid}>"
        if self.session is not None:
            head += f"<{self.session}>"
        return f"{head}: {self.level}: " if self.level else f"{head}: "


class Event:
    """What one line says. Each kind below is frozen and prints as the line it came from."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Unknown(Event):
    """A line that has none of the shapes here."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Remark(Event):
    """A line about the daemons or a session that says nothing of a message or a password."""

    origin: Origin
    text: str

    def __str__(self) -> str:
        return f"{self.origin}{self.text}"


@dataclass(frozen=True, slots=True)
class Fault(Event):
    """A complaint; `origin.level` is Warning, Error, Fatal or Panic."""

    origin: Origin
    text: str

    def __str__(self) -> str:
        return f"{self.origin}{self.text}"


@dataclass(frozen=True, slots=True)
class Mail(Event):
    """What became of a message in a mailbox's own hands.

    `action` is saved, failed, forwarded, discarded, rejected, replied, notified; `what` the mailbox or the
    address, `text` the line's own words.
    """

    origin: Origin
    message_id: str
    action: str
    what: str
    text: str
    sieve: bool = False

    def __str__(self) -> str:
        return f"{self.origin}{'sieve: ' * self.sieve}msgid={self.message_id}: {self.text}"


@dataclass(frozen=True, slots=True)
class Login(Event):
    """A login that was let in."""

    origin: Origin
    words: str
    user: str
    fields: str

    def __str__(self) -> str:
        return f"{self.origin}{self.words}: user=<{self.user}>, {self.fields}"

    @property
    def method(self) -> str | None:
        return _field(self.fields, "method")

    @property
    def address(self) -> str | None:
        return _field(self.fields, "rip")

    @property
    def session(self) -> str | None:
        found = _field(self.fields, "session")
        return found.strip("<>") if found else None


@dataclass(frozen=True, slots=True)
class LoginEnd(Event):
    """A session that ended before a login; `failures` is how many passwords were refused in it."""

    origin: Origin
    words: str
    failures: int
    user: str
    fields: str

    def __str__(self) -> str:
        return f"{self.origin}{self.words}: user=<{self.user}>, {self.fields}"

    @property
    def address(self) -> str | None:
        return _field(self.fields, "rip")


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """One password that was refused, as the authentication process says it."""

    origin: Origin
    user: str
    address: str
    reason: str
    text: str

    def __str__(self) -> str:
        return f"{self.origin}{self.text}"


_match_origin = re.compile(
    r"([a-z][a-z0-9_-]{1,40}+)(?:\(([^()\n]*+)\))?(?:<(\d{1,10})>)?(?:<([^<>\s]{0,100})>)?: "
    r"(?:(Info|Warning|Error|Fatal|Panic|Debug): )?"
).match
_match_mail = re.compile(r"(?:sieve: )?msgid=(<[^>\n]*+>|[^:\n]*+): (.*+)", re.DOTALL).fullmatch
_match_login = re.compile(r"(Login|Logged in): user=<([^>\n]*+)>, (.*+)", re.DOTALL).fullmatch
_match_end = re.compile(
    r"((?:Disconnected|Aborted login|Login aborted|Maximum number of connections)[^<\n]*?)"
    r": user=<([^>\n]*+)>, (.*+)",
    re.DOTALL,
).fullmatch
_find_failures = re.compile(r"\(auth failed, (\d{1,6}) attempts").search
_find_refused = re.compile(
    r"\b(?:sql|passwd-file|pam|ldap|static|passwd|auth|dict|lua|oauth2)"
    r"\(([^,()\n]*+),([0-9A-Fa-f:.]*+)[^)\n]*+\)"
    r"(?>(?:<[^<>\n]*+>)*): ([^:\n]*+: )?((?i:password mismatch|unknown user|user not found|"
    r"authentication failure|invalid credentials|user is disabled|login is disabled)[^\n]{0,200})"
).search
_MAIL_ACTIONS = tuple(
    (re.compile(pattern).search, action)
    for pattern, action in (
        (r"^saved mail to (.+)$", "saved"),
        (r"^(?:fileinto action: |keep action: )?stored mail into mailbox '(.*)'", "saved"),
        (r"^(?:redirect action: )?forwarded to <([^>]*)>", "forwarded"),
        (r"^(?:vacation action: )?sent vacation response to <([^>]*)>", "replied"),
        (r"^(?:reject action: |ereject action: )?rejected message (?:from|to) <([^>]*)>", "rejected"),
        (r"^(?:discard action: )?(?:marked message to be )?discarded?()\b", "discarded"),
        (r"^save failed to ([^:]*): ", "failed"),
        (r"failed to store into mailbox '([^']*)'", "failed"),
        (r"notification", "notified"),
    )
)
_FAULTS = frozenset({"Warning", "Error", "Fatal", "Panic"})


def parse(text: str) -> Event:
    """The event in a line of Dovecot's, from its service's name on."""
    if len(text) > LINE_LIMIT:
        text = text[:LINE_LIMIT]
    found = _match_origin(text)
    if found is None:
        return Unknown(text)
    origin, rest = Origin(*found.groups()), text[found.end() :]
    event = _mail(origin, rest) or _login(origin, rest) or _refused(origin, rest)
    if event is not None:
        return event
    return Fault(origin, rest) if origin.level in _FAULTS else Remark(origin, rest)


def _mail(origin: Origin, rest: str) -> Event | None:
    if not rest.startswith(("msgid=", "sieve: msgid=")):
        return None
    found = _match_mail(rest)
    if found is None:
        return None
    message_id, text = found.groups()
    for search, action in _MAIL_ACTIONS:
        if hit := search(text):
            what = (hit[1] if hit.re.groups else "") or ""
            return Mail(origin, message_id, action, what, text, rest.startswith("sieve: "))
    return None


def _login(origin: Origin, rest: str) -> Event | None:
    if not origin.service.endswith("-login"):
        return None
    if found := _match_login(rest):
        return Login(origin, *found.groups())
    if found := _match_end(rest):
        failed = _find_failures(found[1])
        return LoginEnd(origin, found[1], int(failed[1]) if failed else 0, found[2], found[3])
    return None


def _refused(origin: Origin, rest: str) -> Event | None:
    if not origin.service.startswith("auth"):
        return None
    if found := _find_refused(rest):
        return Refused(origin, found[1], found[2], found[4], rest)
    if origin.user and (found := _find_bare(rest)):  # 2.4: the user stands in the origin
        user, _, more = origin.user.partition(",")
        return Refused(origin, user, more.partition(",")[0], found[0], rest)
    return None


_find_bare = re.compile(r"(?i:password mismatch|unknown user)[^\n]{0,200}").search


def _field(fields: str, name: str) -> str | None:
    for item in fields.split(", "):
        key, equals, value = item.partition("=")
        if equals and key == name:
            return value
    return None
