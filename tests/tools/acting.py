"""A lab's queue, and the words of the tests that act on it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from postmaster.postfix import postconf, spool
from postmaster.postfix.instances import NAMELESS, instances
from postmaster.postfix.place import locate
from postmaster.postfix.queue_file import read_envelope
from postmaster.queue import act as acting
from postmaster.queue.action import Options, Result, Verb
from postmaster.queue.fate import Watch
from postmaster.queue.message import Message, Recipient
from postmaster.queue.store import Item, Store, open_store
from tests.tools.mail import Lab

INSIDE = "127.0.0.1"  # in mynetworks
STRANGER = "127.0.0.2"

T = TypeVar("T")


class Queue:
    """A lab of its own with a queue, and the words of these tests."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.config = lab.settings.postfix.config_directory
        (self.place,) = instances(self.config)
        self.places = {NAMELESS: self.place}

    def run(self, *arguments: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        return self.lab.postmaster("queue", *arguments, expect=expect)

    def act(self, *arguments: str, expect: int | None = 0) -> Any:
        """Run an action that says yes, and what it tells in JSON."""
        done = self.run(*arguments, "--yes", "-o", "json", expect=expect)
        return json.loads(done.stdout) if done.stdout else json.loads(done.stderr.splitlines()[-1])

    def submit(
        self,
        *recipients: str,
        sender: str = "amy@inside.test",
        body: str | bytes = "Hello.\n",
        wait: bool = True,
    ) -> str:
        """Send a message by Postfix's sendmail; gives back its queue ID, once it was tried."""
        before = {one.queue_id for one in self.messages()}
        content = b"Subject: test\n\n" + (body if isinstance(body, bytes) else body.encode())
        subprocess.run(
            ["sendmail", "-C", str(self.config), "-i", "-f", sender, "--", *recipients],
            input=content,
            check=True,
            timeout=30,
        )
        wanted = {one.partition("@")[0] for one in recipients}

        def new() -> str | None:
            for one in self.messages():
                fresh = one.queue_id not in before and one.queue_name != "maildrop"
                if fresh and wanted & {r.address.strip('"').partition("@")[0] for r in one.recipients}:
                    return one.queue_id
            return None

        found = until(new)
        if wait:
            until(lambda: self.where(found) == "deferred")
        return found

    def receive(self, *recipients: str, sender: str = "stranger@outside.test", source: str = INSIDE) -> None:
        with self.lab.smtp(source) as client:
            client.sendmail(sender, list(recipients), "Subject: from outside\r\n\r\nHello.\r\n")

    def files(self) -> Iterator[tuple[str, Path]]:
        """(queue, file) of each message, looked for without our own reader."""
        for name in spool.QUEUES:
            for folder, _, names in os.walk(self.place.spool / name):
                yield from ((name, Path(folder, one)) for one in names)

    def messages(self) -> list[Message]:
        """Read from the spool itself, with the parser."""
        found = []
        for name, path in self.files():
            with suppress(OSError):
                with spool.opened(str(path)) as descriptor:
                    envelope = read_envelope(descriptor)
                    size = os.fstat(descriptor).st_size
                if envelope.arrival_time is None or envelope.sender is None:
                    continue
                found.append(
                    Message(
                        instance=NAMELESS,
                        queue_name=name,
                        queue_id=path.name,
                        arrival_time=int(envelope.arrival_time),
                        message_size=size if envelope.message_size is None else envelope.message_size,
                        sender=envelope.sender,
                        recipients=[Recipient(r.address) for r in envelope.recipients if not r.done],
                    )
                )
        return found

    def message(self, queue_id: str) -> Message:
        return next(one for one in self.messages() if one.queue_id == queue_id)

    def where(self, queue_id: str) -> str | None:
        found = locate(self.place, queue_id)
        return None if found is None else found[0]

    def status(self, queue_id: str) -> os.stat_result:
        found = locate(self.place, queue_id)
        assert found is not None
        return found[2]

    def trash(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("trash", "list", "-o", "json").stdout)
        return found

    def try_now(self, queue_id: str) -> None:
        subprocess.run(["postqueue", "-c", str(self.config), "-i", queue_id], check=True, timeout=30)

    def hold(self, *queue_ids: str) -> None:
        self.postsuper("-h", *queue_ids)

    def postsuper(self, option: str, *queue_ids: str) -> None:
        text = "".join(f"{one}\n" for one in queue_ids)
        subprocess.run(
            ["postsuper", "-c", str(self.config), option, "-"],
            input=text.encode(),
            check=True,
            capture_output=True,
            timeout=60,
        )

    @contextmanager
    def at_hand(self) -> Iterator[tuple[Store, Watch]]:
        settings = self.lab.settings
        with Watch(self.places, settings.log.files) as watch, open_store(settings.state) as store:
            yield store, watch

    def perform(
        self,
        verb: Verb,
        messages: Sequence[Message],
        between: Callable[[], None] = lambda: None,
        **given: Any,
    ) -> Result:
        """Act through the library on messages that were listed before; `between` happens meanwhile."""
        with self.at_hand() as (store, watch):
            between()
            number = store.begin(
                verb=verb.value,
                command="test",
                who="test",
                reason=None,
                filter_text=None,
                options={},
                messages=messages,
            )
            items = [Item(at, one, None, None, None) for at, one in enumerate(messages)]
            return acting.act(
                items, Options(verb, **given), store=store, number=number, places=self.places, watch=watch
            )

    def empty(self) -> None:
        subprocess.run(
            ["postsuper", "-c", str(self.config), "-d", "ALL"], check=True, capture_output=True, timeout=60
        )
        self.run("trash", "purge", "--all", "--yes")


def until(what: Callable[[], T | None], seconds: float = 20.0) -> T:
    """Wait until something is true, and give it back."""
    ends = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < ends, "it never came to be"
        time.sleep(0.05)


def configure(lab: Lab) -> None:
    """Mail to leave.test is gone at once, a refused attempt stops no other, strangers may send anywhere."""
    config = lab.settings.postfix.config_directory
    postconf.set_values(
        config,
        {
            "transport_maps": "inline:{ leave.test=discard: }",
            "transport_retry_time": "1s",
            "minimal_backoff_time": "300s",
            "smtpd_relay_restrictions": "check_recipient_access static:OK, reject_unauth_destination",
        },
    )
    subprocess.run(["postfix", "-c", str(config), "reload"], check=True, capture_output=True, timeout=30)
