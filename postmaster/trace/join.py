"""From the lines found to stories: the lives that a message had under several queue IDs, joined.

Edges: a requeue (`orig_id`), a notice (`… notification: NEW`), a local forward (`forwarded as NEW`), a
content filter that gives the mail back (`queued as NEW`, `orig_queue_id`, or the same Message-ID), a Sieve
redirect (Dovecot's `forwarded to <ADDRESS>`, then a message with the same Message-ID). Dovecot's lines are
joined by the session in Postfix's `status=sent (250 2.0.0 <RECIPIENT> SESSION Saved)`, the lines of the
SMTP session by its process. What a restriction did to the mail before it had a queue ID (`NOQUEUE: hold`,
`filter`, `discard`) belongs to the next message of that session; a refusal stays a story of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from postmaster.dovecot import events as dovecot
from postmaster.postfix import events as postfix
from postmaster.trace import search
from postmaster.trace.lines import Line
from postmaster.trace.lives import Life, of_lines
from postmaster.trace.search import Key, Logs, Query

ROUNDS = 12  # times that newly found queue IDs are looked for; a longer chain is cut, and said to be
SLACK = 5.0  # seconds that a line may stand before the one that causes it
REDIRECT = 60.0  # seconds in which a redirected or filtered message comes back
MOST = 2_000  # messages that are put together; more is a question for `log report`


@dataclass(frozen=True, slots=True)
class Edge:
    """One life led to another: requeued, notice, forwarded, filtered, redirected."""

    kind: str
    parent: Key
    child: Key
    time: float


@dataclass(slots=True)
class Story:
    """One message's lives in the order of time. A refusal without a queue ID is a story without lives."""

    lives: list[Life] = field(default_factory=list)
    edges: list[tuple[str, Life, Life]] = field(default_factory=list)  # kind, parent, child
    refusal: Line | None = None
    beside: list[Line] = field(default_factory=list)  # lines without its queue ID: sessions, Dovecot

    @property
    def lines(self) -> list[Line]:
        """Every line that belongs to it, once, in the order of time and of the log."""
        found = [line for life in self.lives for line in life.lines] + self.beside
        if self.refusal is not None:
            found.append(self.refusal)
        return sorted({line.place: line for line in found}.values(), key=lambda line: line.order)

    @property
    def begin(self) -> float:
        return self.lines[0].time


@dataclass(slots=True)
class Stories:
    """What was found. `begin` is when the logs start; `is_cut` that a chain or the number was cut."""

    stories: list[Story]
    begin: float | None
    is_cut: bool = False


class Beside:
    """Lines that belong to messages without their queue IDs, by what joins them; each list in order."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.lines = sorted(lines, key=lambda line: line.order)
        self.mails: dict[str, list[tuple[Line, dovecot.Mail]]] = {}  # by Dovecot's session
        self._processes: dict[tuple[str, ...], list[Line]] = {}
        for line in self.lines:
            self._processes.setdefault(_process_of(line), []).append(line)
            if isinstance(line.event, dovecot.Mail) and line.event.origin.session is not None:
                self.mails.setdefault(line.event.origin.session, []).append((line, line.event))

    def by_process_of(self, line: Line) -> list[Line]:
        """What the process that wrote a line wrote besides."""
        return self._processes.get(_process_of(line), [])


def _process_of(line: Line) -> tuple[str, ...]:
    return line.pid, line.program, line.instance, line.host


def stories(logs: Logs, query: Query) -> Stories:
    """All stories of the messages that are asked for, oldest first."""
    keys, alone = search.seeds(logs, query)
    rules = [line for line in alone if _is_rule(line)]
    refusals = [line for line in alone if not _is_rule(line)]
    is_cut = len(keys) > MOST or len(rules) > MOST
    rules = rules[-MOST:]
    asked: set[tuple[str, float]] = {(_process(line), line.time) for line in rules}
    beside = {line.place: line for line in search.near(logs, _encoded(asked))}
    index = Beside(beside.values())
    for rule in rules:
        begun = _begun_after(rule, index)
        if begun is None:
            refusals.append(rule)  # no mail came of it
        else:
            keys.add(begun)
    if len(keys) > MOST:
        keys = set(sorted(keys)[-MOST:])
    lines: dict[tuple[int, int, int], Line] = {}
    known: set[Key] = set()
    for _ in range(ROUNDS):
        new = keys - known
        if not new:
            break
        known |= new
        for line in search.gather(logs, new):
            lines.setdefault(line.place, line)
        ordered = sorted(lines.values(), key=lambda line: line.order)
        lives = _chosen(ordered, index, query)
        keys |= {(life.instance, life.queue_id) for life in lives}
        keys |= {key for life in lives for line in life.lines for key in _linked(line)}
        for _step in range(2):  # Dovecot's lines are found first, what they lead to then
            tokens = {one for life in lives for one in _tokens(life, index)} - asked
            asked |= tokens
            for line in search.near(logs, _encoded(tokens)):
                beside.setdefault(line.place, line)
            index = Beside(beside.values())
        keys |= _come_back(lives, index)
    else:
        is_cut = True
    ordered = sorted(lines.values(), key=lambda line: line.order)
    return Stories(_stories(ordered, index, refusals, query), logs.begin(), is_cut)


def _encoded(tokens: Iterable[tuple[str, float]]) -> list[tuple[bytes, float]]:
    return [(token.encode("utf-8", "surrogateescape"), at) for token, at in tokens]


def _process(line: Line) -> str:
    """Text that all lines of a line's process have."""
    return f"{line.program}[{line.pid}]: "


def _is_rule(line: Line) -> bool:
    """Whether a restriction did something to a mail that has no queue ID yet, other than refuse it."""
    event = line.event
    return isinstance(event, postfix.Policy) and event.queue_id is None and event.effect != "reject"


def _begun_after(rule: Line, beside: Beside) -> Key | None:
    """The message that a session began after a rule."""
    for line in beside.by_process_of(rule):
        if line.order <= rule.order:
            continue
        match line.event:
            case postfix.Client(queue_id=queue_id):
                return line.instance, queue_id
            case postfix.Connect() | postfix.Disconnect():
                return None
    return None


def _lives(lines: Iterable[Line], beside: Beside) -> list[Life]:
    """Lives from lines, each with the rules of its session that came before it."""
    lives = list(of_lines(lines))
    if not any(map(_is_rule, beside.lines)):
        return lives
    for life in lives:
        first = life.lines[0]
        if not isinstance(first.event, postfix.Client):
            continue
        rules: list[Line] = []
        for line in beside.by_process_of(first):
            if line.order >= first.order:
                break
            if isinstance(line.event, postfix.Connect | postfix.Disconnect | postfix.Client):
                rules = []
            elif _is_rule(line):
                rules.append(line)
        life.take_rules(rules)
    return lives


def _chosen(lines: Iterable[Line], beside: Beside, query: Query) -> list[Life]:
    """The lives that are followed further: those that are asked for, and what they led to."""
    return [
        life
        for story in _components(_lives(lines, beside), beside)
        if any(map(query.takes, story.lives))
        for life in story.lives
    ]


def _linked(line: Line) -> list[Key]:
    """The other queue IDs that a line names."""
    event, found = line.event, list[str | None]()
    match event:
        case postfix.Notice():
            found = [event.queue_id, event.new_id]
        case postfix.Pickup():
            found = [event.queue_id, event.orig_id]
        case postfix.Client():
            found = [event.queue_id, event.orig_queue_id]
        case postfix.Delivery(status="sent"):
            forwarded = _forwarded(event.text or "")
            found = [forwarded[1]] if forwarded else []
    return [(line.instance, queue_id) for queue_id in found if queue_id]


_forwarded = re.compile(r"forwarded as ([0-9A-Za-z]{5,32})").match
_queued_as = re.compile(r"queued as ([0-9A-Za-z]{5,32})").search
_session = re.compile(r"<[^<>\n]*> ([0-9A-Za-z+/:]{8,80}) Saved").search


def session_of(event: postfix.Delivery) -> str | None:
    """Dovecot's LMTP session in a delivery's text; further recipients have `:R2` and so on after it."""
    found = _session(event.text or "")
    return found[1] if found else None


def _tokens(life: Life, beside: Beside) -> list[tuple[str, float]]:
    """Texts that other lines of the message's sessions contain, with a moment near them."""
    found = []
    for line in life.lines:
        match line.event:
            case postfix.Client():
                found.append((_process(line), line.time))
            case postfix.Delivery():
                if line.program in ("smtp", "lmtp") and "[" in line.event.relay:
                    found.append((_process(line), line.time))
                if (session := session_of(line.event)) is not None:
                    found.append((f"<{session}", line.time))
                if line.event.status == "sent" and (queued := _queued_as(line.event.text or "")):
                    found.append((f"]: {queued[1]}: client=", line.time))
                if line.program == "pipe":
                    found += [
                        (f": message-id={name}", line.time) for name in life.message_ids if len(name) > 2
                    ]
    return found + [(f": message-id={mail.message_id}", line.time) for line, mail in _redirects(life, beside)]


def _redirects(life: Life, beside: Beside) -> list[tuple[Line, dovecot.Mail]]:
    """What Sieve sent on of a message."""
    return [
        (line, mail)
        for session in sorted(_sessions(life))
        for line, mail in beside.mails.get(session, ())
        if mail.action == "forwarded" and len(mail.message_id) > 2 and mail.message_id in life.message_ids
    ]


def _come_back(lives: Iterable[Life], beside: Beside) -> set[Key]:
    """Queue IDs under which a content filter or a redirect gave a mail back."""
    given = {
        queued[1]
        for life in lives
        for line in life.lines
        if isinstance(line.event, postfix.Delivery) and (queued := _queued_as(line.event.text or ""))
    }
    names = {mail.message_id for life in lives for _, mail in _redirects(life, beside)}
    for life in lives:
        if any(line.program == "pipe" for line in life.lines):
            names.update(life.message_ids)
    return {
        (line.instance, line.event.queue_id)
        for line in beside.lines
        if (isinstance(line.event, postfix.Client) and line.event.queue_id in given)
        or (isinstance(line.event, postfix.MessageId) and line.event.message_id in names)
    }


def _stories(lines: list[Line], beside: Beside, refusals: list[Line], query: Query) -> list[Story]:
    found = [
        story for story in _components(_lives(lines, beside), beside) if any(map(query.takes, story.lives))
    ]
    for story in found:
        sessions = [line for life in story.lives for line in _session_lines(life, beside)]
        story.beside = sessions + _dovecot_lines(story, beside)
    found += [Story(refusal=line) for line in refusals]
    return sorted(found, key=lambda story: story.begin)


def _components(lives: list[Life], beside: Beside) -> list[Story]:
    """Lives put together by their edges."""
    named: dict[Key, list[Life]] = {}
    by_id: dict[str, list[Life]] = {}
    for life in lives:
        named.setdefault((life.instance, life.queue_id), []).append(life)
        by_id.setdefault(life.queue_id, []).append(life)

    def nearest(key: Key, time: float) -> Life | None:
        """Of the lives of an ID, the one under way at a moment, else the nearest."""
        return min(
            named.get(key) or by_id.get(key[1], []),  # a filter may give it to another instance
            key=lambda life: max(life.lines[0].time - time, time - life.lines[-1].time, 0.0),
            default=None,
        )

    joined: dict[int, Story] = {id(life): Story([life]) for life in lives}

    def join(kind: str, parent: Life | None, child: Life | None) -> None:
        if parent is None or child is None or parent is child:
            return
        one, other = joined[id(parent)], joined[id(child)]
        if not any(edge[1] is parent and edge[2] is child for edge in one.edges):
            one.edges.append((kind, parent, child))
        if one is not other:
            one.lives += other.lives
            one.edges += other.edges
            for moved in other.lives:
                joined[id(moved)] = one

    by_name: dict[str, list[Life]] = {}
    for life in lives:
        for name in life.message_ids:
            by_name.setdefault(name, []).append(life)
    for life in lives:
        for edge in _edges(life):
            join(edge.kind, nearest(edge.parent, edge.time), nearest(edge.child, edge.time))
        for line, mail in _redirects(life, beside):
            for child in by_name.get(mail.message_id, []):
                if _is_soon(child, line.time) and mail.what.lower() in recipients_of(child):
                    join("redirected", life, child)
        for line in life.lines:
            if line.program != "pipe" or not isinstance(line.event, postfix.Delivery):
                continue
            for child in (one for name in life.message_ids for one in by_name.get(name, [])):
                is_later = child.lines[0].time >= life.lines[0].time
                if is_later and _is_soon(child, line.time) and recipients_of(child) & recipients_of(life):
                    join("filtered", life, child)
    stories = list({id(story): story for story in joined.values()}.values())
    for story in stories:
        story.lives.sort(key=lambda life: life.lines[0].time)
    return stories


def _is_soon(child: Life, time: float) -> bool:
    return -REDIRECT <= child.lines[0].time - time <= REDIRECT


def recipients_of(life: Life) -> set[str]:
    """Everyone a life was tried for, before and after aliases, in lower case."""
    return {
        name.lower()
        for line in life.lines
        if isinstance(line.event, postfix.Delivery)
        for name in (line.event.recipient, line.event.orig_recipient or "")
    }


def _edges(life: Life) -> Iterable[Edge]:
    own = (life.instance, life.queue_id)
    for line in life.lines:
        event = line.event
        match event:
            case postfix.Notice():
                yield Edge("notice", own, (life.instance, event.new_id), line.time)
            case postfix.Pickup(orig_id=str(old)):
                yield Edge("requeued", (life.instance, old), own, line.time)
            case postfix.Client(orig_queue_id=str(old)) if old:
                yield Edge("filtered", (life.instance, old), own, line.time)
            case postfix.Delivery(status="sent"):
                if found := _forwarded(event.text or ""):
                    yield Edge("forwarded", own, (life.instance, found[1]), line.time)
                elif found := _queued_as(event.text or ""):
                    yield Edge("filtered", own, (life.instance, found[1]), line.time)


def _session_lines(life: Life, beside: Beside) -> list[Line]:
    """What the SMTP sessions of a message said without its ID: connect, TLS, lost, disconnect."""
    found: list[Line] = []
    for line in life.lines:
        match line.event:
            case postfix.Client():
                found += _session_around(line, beside.by_process_of(line))
            case postfix.Delivery() if "[" in line.event.relay:
                name = postfix.peer(line.event.relay)
                begin = line.time - (sum(line.event.delays[2:]) if line.event.delays else 0.0) - SLACK
                found += [
                    one
                    for one in beside.by_process_of(line)
                    if isinstance(one.event, postfix.Tls)
                    and one.event.direction == "to"
                    and begin <= one.time
                    and one.order < line.order
                    and name == (one.event.name, one.event.address)
                ][-1:]
    return found


def _session_around(line: Line, same: list[Line]) -> list[Line]:
    """From the last connect of its client before a message began to the next disconnect, by one process."""
    assert isinstance(line.event, postfix.Client)
    client, found, is_open = (line.event.name, line.event.address), list[Line](), False
    for one in same:
        event = one.event
        if not isinstance(event, postfix.Connect | postfix.Disconnect | postfix.Tls | postfix.Lost):
            continue
        if isinstance(event, postfix.Connect):
            if one.order > line.order:
                break
            found, is_open = [], True
        if is_open and (event.name, event.address) == client:
            found.append(one)
        if isinstance(event, postfix.Disconnect):
            if one.order > line.order:
                break
            found, is_open = [], False
    return found


def _dovecot_lines(story: Story, beside: Beside) -> list[Line]:
    """Dovecot's lines of the LMTP sessions, for this message's recipients and Message-ID."""
    ids = {name for life in story.lives for name in life.message_ids}
    sessions = {session for life in story.lives for session in _sessions(life)}
    return [
        line
        for session in sessions
        for line, mail in beside.mails.get(session, ())
        if mail.message_id in ids or not mail.message_id
    ]


def _sessions(life: Life) -> set[str]:
    return {
        session
        for line in life.lines
        if isinstance(line.event, postfix.Delivery) and (session := session_of(line.event)) is not None
    }
