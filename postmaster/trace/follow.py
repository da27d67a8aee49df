"""Watching a message until it has ended, and sending one to watch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from postmaster.errors import NotFoundError, ProcessError
from postmaster.postfix import queue
from postmaster.process import run
from postmaster.queue.recorded import Record
from postmaster.trace.acted import add_actions
from postmaster.trace.history import History, history
from postmaster.trace.join import Stories, stories
from postmaster.trace.search import BEFORE, Logs, Query
from postmaster.trace.sources import Notes, Period, Source

PAUSE = 1.0  # seconds between two looks

Live = Mapping[str, Mapping[str, Any]] | None


def live_queue(config_directory: Path) -> Live:
    """The queue's entries by ID, None where it cannot be listed."""
    try:
        return {entry["queue_id"]: entry for entry in queue.entries(config_directory, queue.Listing())}
    except ProcessError:
        return None


def histories(found: Stories, config_directory: Path | None, record: Record) -> list[History]:
    """The histories of stories, with what the record of queue actions knows of them.

    The live queue is asked for those that have not ended.
    """
    made = [add_actions(history(story), record) for story in found.stories]
    if config_directory is None or all(one.is_over for one in made):
        return made
    live = live_queue(config_directory)
    return [one if one.is_over else add_actions(history(one.story, live), record) for one in made]


def follow(
    find: Callable[[], Sequence[Sequence[Source]]],
    query: Query,
    period: Period,
    notes: Notes,
    show: Callable[[list[History]], None],
    *,
    seconds: float | None,
) -> Stories:
    """Look again and again until every message has ended, or so many seconds are over.

    The logs are found anew each time, so a rotation is survived; what had ended is not read again. `show`
    is called with all histories after each look.
    """
    ends, since = None if seconds is None else time.monotonic() + seconds, period.since
    found: Stories | None = None
    while True:
        try:
            found = stories(Logs(find(), Period(since, period.until), notes), query)
        except NotFoundError:  # moved away, and the new one is not there yet
            if found is None or (ends is not None and time.monotonic() >= ends):
                raise
            time.sleep(PAUSE)
            continue
        made = [history(story) for story in found.stories]
        show(made)
        if made and all(one.is_over for one in made):
            return found
        if ends is not None and time.monotonic() >= ends:
            return found
        if made:
            since = max(since or 0.0, min(one.begin for one in made) - BEFORE)
        time.sleep(PAUSE)


def send_probe(config_directory: Path, sender: str, recipient: str) -> str:
    """Give Postfix a small message, as any program on this host would. Its Message-ID."""
    import secrets
    from email.utils import formatdate

    mark = secrets.token_hex(8)
    message_id = f"<postmaster-probe.{mark}@{sender.rpartition('@')[2] or 'localhost'}>"
    text = (
        f"From: {sender}\nTo: {recipient}\nSubject: postmaster probe {mark}\n"
        f"Date: {formatdate(localtime=True)}\n"
        f"Message-ID: {message_id}\nAuto-Submitted: auto-generated\n\n"
        "This message was sent to see whether and how it arrives. Nothing need be done.\n"
    )
    run(["sendmail", "-C", str(config_directory), "-f", sender, "--", recipient], stdin=text)
    return message_id
