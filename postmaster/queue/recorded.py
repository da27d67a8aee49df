"""What the record of queue actions says of one message, for those who only read it: the trace, `queue show`.

The file is opened for reading when the first message is asked for, and never made. Where there is none, or
it may not be read, nothing is known; of one that cannot be used `problem` says why, and nothing is known
either. A message costs a look-up or two by an index.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from postmaster.queue.action import DONE, Verb
from postmaster.queue.store import FILE, RESTORED, VERSION, readable
from postmaster.render.output import moment
from postmaster.settings import Settings

MOST = 100  # actions on one message, the latest of them
TIMEOUT = 2.0  # seconds that a reader waits for whoever changes the file
COMMAND_CHARACTERS = 100  # of a command that is quoted: a filter can be long
DAY = 86400

_ACTS = (
    "SELECT item.instance, item.queue_id, item.arrival_time, item.sender, item.recipients, item.outcome,"
    " item.detail, action.number, action.verb, action.command, action.who, action.reason, action.options,"
    " action.started, action.ended, copy.number, copy.state, copy.since, copy.new_id"
    " FROM item JOIN action ON action.number = item.action LEFT JOIN copy ON copy.action = item.action"
    " AND copy.instance = item.instance AND copy.queue_id = item.queue_id"
    " AND copy.arrival_time = item.arrival_time"
    " WHERE item.queue_id = ? ORDER BY action.number DESC LIMIT ?"
)
_BROUGHT_BACK = f"SELECT queue_id FROM copy WHERE new_id = ? AND state = '{RESTORED}'"

#: What an action does, in the past.
_WORDS = {
    "flush": "tried again",
    "hold": "put on hold",
    "release": "released from hold",
    "requeue": "requeued",
    "bounce": "told to be returned",
    "delete": "deleted",
    "redirect": "sent on to {}",
}


@dataclass(frozen=True, slots=True)
class Kept:
    """The copy of a deleted or redirected message. Times in seconds since the epoch.

    `restored_as`: the queue ID under which it came back, at `restored`; it is in the trash no more then.
    """

    number: int
    until: int
    restored_as: str | None = None
    restored: int | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """One action on one message. `outcome` is None while it is not known; `address`: where redirect sent it.

    Times in seconds since the epoch; `ended` is of the whole action, None while it runs or was interrupted.
    """

    number: int
    verb: str
    command: str
    who: str
    reason: str | None
    started: int
    ended: int | None
    instance: str
    queue_id: str
    arrival_time: int
    sender: str
    recipients: tuple[str, ...]
    outcome: str | None
    detail: str | None
    address: str | None = None
    kept: Kept | None = None

    @property
    def identity(self) -> tuple[str, str, int]:
        return self.instance, self.queue_id, self.arrival_time

    @property
    def is_done(self) -> bool:
        """Whether the message was acted on as was asked for."""
        if self.verb == "flush":
            return self.outcome is not None and self.outcome != "not tried"
        return self.verb in DONE and self.outcome == DONE[Verb(self.verb)]

    @property
    def is_last(self) -> bool:
        """Whether nothing was left of the message under its ID."""
        return self.is_done and self.verb in ("delete", "redirect")

    @property
    def deed(self) -> str:
        """`deleted by root`; of what was not done how it ended: `delete by root: busy`."""
        if self.is_done:
            done = _WORDS.get(self.verb, self.verb).format(self.address or "another address")
            return f"{done} by {self.who}"
        return f"{self.verb} by {self.who}: {self.outcome or 'not finished'}"

    @property
    def source(self) -> str:
        """By which command, and why: `(action 12, postmaster queue delete 4B7Z2K5NHbz8gQ): spam`."""
        command = self.command
        if len(command) > COMMAND_CHARACTERS:
            command = command[:COMMAND_CHARACTERS] + "…"
        return f"(action {self.number}, postmaster {command})" + (f": {self.reason}" if self.reason else "")

    @property
    def text(self) -> str:
        """All of it in words."""
        return f"{self.deed} {self.source}"

    def as_row(self) -> dict[str, Any]:
        """An action as JSON has it."""
        kept = self.kept
        return {
            "action": self.number,
            "verb": self.verb,
            "who": self.who,
            "reason": self.reason,
            "command": self.command,
            "started": moment(self.started),
            "ended": None if self.ended is None else moment(self.ended),
            "queue_id": self.queue_id,
            "outcome": self.outcome,
            "detail": self.detail,
            "address": self.address,
            "copy": None if kept is None or kept.restored_as is not None else kept.number,
            "kept_until": None if kept is None or kept.restored_as is not None else moment(kept.until),
            "restored_as": None if kept is None else kept.restored_as,
        }


class Record:
    """The record, for reading alone. `problem`: why it could not be read, None where nothing is wrong."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.state.directory.absolute() / FILE
        self._days = settings.queue.trash_days
        self._connection: sqlite3.Connection | None = None
        self._is_closed = False
        self.problem: str | None = None

    def of(self, queue_id: str) -> list[Act]:
        """What was done to messages of this queue ID, in the order of time."""
        rows = self._rows(_ACTS, (queue_id, MOST))
        try:
            return [self._act(row) for row in reversed(rows)]
        except (ValueError, TypeError, AttributeError) as error:
            self._give_up(f"a row cannot be read: {error}")
            return []

    def of_message(self, identity: tuple[str, str, int], was: str | None = None) -> list[Act]:
        """What was done to this very message; `was`: the queue ID that it had before it was requeued."""
        queue_id = identity[1]
        acts = [act for act in self.of(queue_id) if act.identity == identity]
        before = self.brought_back(queue_id)
        if before is not None:
            acts.insert(0, before)
        if was is not None:
            earlier = self.of(was)
            requeued = [act.identity for act in earlier if act.verb == "requeue" and act.is_done][-1:]
            acts = [act for act in earlier if act.identity in requeued] + acts
        return acts

    def brought_back(self, queue_id: str) -> Act | None:
        """The deletion of a message that was restored under this queue ID."""
        for (old,) in self._rows(_BROUGHT_BACK, (queue_id,)):
            for act in self.of(str(old)):
                if act.kept is not None and act.kept.restored_as == queue_id:
                    return act
        return None

    def close(self) -> None:
        self._is_closed = True
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _rows(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        try:
            if self._connection is None and not self._is_closed:
                self._open()
            return [] if self._connection is None else self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            self._give_up(str(error))
            return []

    def _open(self) -> None:
        """Raises sqlite3.Error."""
        try:
            with self._path.open("rb"):
                pass
        except OSError:  # none there, or not for us
            self.close()
            return
        connection = sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, timeout=TIMEOUT)
        try:
            with closing(connection.execute("PRAGMA user_version")) as asked:
                version = asked.fetchone()[0]
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection
        if version == 0:  # it is being made
            self.close()
        elif version != VERSION:
            self._give_up(f"it is of version {version}, this program knows {VERSION}")

    def _give_up(self, why: str) -> None:
        self.problem = f"the record of queue actions in {self._path} was not read: {why}"
        self.close()

    def _act(self, row: Any) -> Act:
        instance, queue_id, arrival, sender, recipients, outcome, detail, *rest = row
        number, verb, command, who, reason, options, started, ended, *copied = rest
        given, names = json.loads(options), json.loads(recipients)
        copy, state, since, new_id = copied
        kept = None
        if copy is not None and state != "copied":
            until = int(since) + self._days * DAY
            if state == RESTORED:
                kept = Kept(int(copy), until, str(new_id), int(since))
            elif until > time.time():
                kept = Kept(int(copy), until)
        return Act(
            *(int(number), str(verb), str(command), str(who), reason, int(started), ended),
            *(str(instance), str(queue_id), int(arrival), readable(sender), tuple(map(str, names))),
            *(outcome, detail, given.get("address") or None, kept),
        )
