"""Messages whose whole story is known, sent through a lab while others come and go.

What is expected is written down from what was sent and what the servers answered: queue IDs from replies
and from the Received headers of what arrived, and the log's lines that have these IDs, the client's own
address or the Message-ID.
"""

from __future__ import annotations

import json
import os
import re
import smtplib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from postmaster.process import run
from tests.tools.mail import PATIENCE, Lab
from tests.tools.sink import Sink

NOISE = 50  # other sessions while stories happen
addresses = (f"127.77.{a}.{b}" for a in range(256) for b in range(1, 255))
_numbers = count(1)


@dataclass
class Sent:
    """A message that was handed in: from which address, and the queue ID in Postfix's reply, if any."""

    client: str
    queue_id: str
    message_id: str
    began: float


@dataclass
class Place:
    """A lab with a domain, and what is done in it."""

    lab: Lab
    domain: str
    sink: Sink

    @property
    def amy(self) -> str:
        return f"amy@{self.domain}"

    @property
    def spool(self) -> str:
        return str(self.lab.settings.postfix.config_directory)

    def send(
        self,
        *recipients: str,
        sender: str = "stranger@outside.test",
        subject: str = "story",
        reply: int = 250,
    ) -> Sent:
        """A stranger's message, from an address never used before."""
        client, message_id, began = (
            next(addresses),
            f"<story{next(_numbers)}.{os.getpid()}@outside.test>",
            time.time(),
        )
        with self.lab.smtp(source=client) as session:
            session.mail(sender)
            for recipient in recipients:
                code, text = session.rcpt(recipient)
                assert code == 250, text
            code, text = session.data(
                f"From: {sender}\r\nTo: {recipients[0]}\r\nSubject: {subject}\r\n"
                f"Message-ID: {message_id}\r\n\r\nHello.\r\n"
            )
        assert code == reply, text
        return Sent(client, text.decode().partition("queued as ")[2], message_id, began)

    def trace(self, what: str, *words: str, expect: int | None = 0) -> list[dict[str, Any]]:
        done = self.lab.postmaster("trace", what, *words, "-o", "json", expect=expect)
        found: list[dict[str, Any]] = json.loads(done.stdout) if done.stdout else []
        return found

    def settled(self, sent: Sent, outcome: str, **given: Any) -> dict[str, Any]:
        """The one history of a message once it has this outcome."""
        ends = time.monotonic() + PATIENCE
        while True:
            since = f"{time.time() - sent.began + 5:.0f}s"
            # Postfix hands its lines on: the first may come into the log after the reply.
            found = self.trace(sent.queue_id or sent.client, "--since", since, expect=None)
            if (
                len(found) == 1
                and found[0]["outcome"] == outcome
                and all(found[0][key] == value for key, value in given.items())
            ):
                return found[0]
            if time.monotonic() > ends:
                raise AssertionError(json.dumps(found, indent=1))
            time.sleep(0.3)

    def lines(self, sent: Sent, *queue_ids: str) -> set[str]:
        """The lines that belong to it, by what was sent and answered."""
        ids = {sent.queue_id, *queue_ids}
        logs = (self.lab.root / "log" / "mail.log", self.lab.root / "log" / "dovecot.log")
        found = set()
        for path in logs:
            for line in path.read_text(errors="surrogateescape").splitlines():
                head = re.search(r"\]: ([0-9A-Za-z]+): ", line)
                linked = re.search(r"orig_(?:queue_)?id=([0-9A-Za-z]+)", line)
                if (
                    (head and head[1] in ids)
                    or (linked and linked[1] in ids)
                    or f"[{sent.client}]" in line
                    or f"msgid={sent.message_id}: " in line
                ):
                    found.add(line)
        return found


@contextmanager
def others_sending(place: Place) -> Iterator[None]:
    """Sessions of others that interleave with a story."""

    def chatter(number: int) -> None:
        for _ in range(NOISE // 5):
            with smtplib.SMTP(
                "127.0.0.1", place.lab.port("smtp"), "noise.test", 30, (f"127.78.0.{number + 1}", 0)
            ) as one:
                one.sendmail(
                    "noise@outside.test", [f"noise@{place.domain}"], "Subject: noise\r\n\r\nNoise.\r\n"
                )

    threads = [threading.Thread(target=chatter, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


def notice_id(place: Place, sender_login: str, sent: Sent) -> str:
    """The queue ID of the notice about a message, from the notice that arrived."""
    for message in place.lab.mailbox(sender_login):
        text = message.as_string()
        if "Undelivered" in str(message["Subject"]) and sent.message_id in text:
            return str(re.findall(r"by \S+ \(Postfix\)\s+id ([0-9A-Za-z]+)", text)[0])
    raise AssertionError("no notice came")


def reload(place: Place) -> None:
    directory = Path(place.spool)
    then = time.time() - 10
    os.utime(directory / "main.cf", (then, then))
    run(["postfix", "-c", place.spool, "reload"])
