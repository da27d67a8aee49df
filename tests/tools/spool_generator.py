"""A synthetic queue of any size, as Postfix would have written it: the same seed gives the same mail.

Deferred messages with their defer logs, 1 to 3 recipients at 400 destinations, sizes from half a
kilobyte to 60 KiB, arrivals over five days, every hundredth from one sender. Valid for Postfix itself,
which need not run: as root, its own tools read the folder then. Queue IDs carry the files' inodes.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SEED = 20260601
DESTINATIONS = 400
RARE_SENDER = "newsletter@rare.example"  # of every hundredth message
LIFETIME = 5 * 86400  # seconds
LARGEST = 60_000  # bytes of content

_REASONS = (
    ("4.4.1", "connect to mx{n}.dest{d}.example[192.0.2.{n}]:25: Connection timed out"),
    ("4.4.1", "connect to mx{n}.dest{d}.example[192.0.2.{n}]:25: Connection refused"),
    (
        "4.7.1",
        "host mx{n}.dest{d}.example[192.0.2.{n}] said: 451 4.7.1 Greylisting in action, please come back"
        " later (in reply to RCPT TO command)",
    ),
    (
        "4.7.0",
        "host mx{n}.dest{d}.example[192.0.2.{n}] said: 421-4.7.0 [203.0.113.5] Our system has detected an"
        " unusual rate of unsolicited mail 421 4.7.0 please visit https://support.dest{d}.example/rate"
        " (in reply to end of DATA command)",
    ),
    (
        "4.2.2",
        "host mx{n}.dest{d}.example[192.0.2.{n}] said: 452 4.2.2 The email account that you tried to"
        " reach is over quota (in reply to RCPT TO command)",
    ),
    (
        "4.4.3",
        "Host or domain name not found. Name service error for name=dest{d}.example type=MX: try again",
    ),
)


@dataclass
class Written:
    """What a spool was filled with: the totals that every tool must agree with."""

    config_directory: Path
    spool: Path
    settings_file: Path
    messages: int = 0
    recipients: int = 0
    size: int = 0  # bytes of content
    rare: int = 0  # messages of RARE_SENDER
    domains: dict[str, int] = field(default_factory=dict)  # recipients by domain


def record(kind: bytes, value: bytes = b"") -> bytes:
    """A record of a queue file (`record.c`)."""
    length, header = len(value), bytearray(kind)
    while True:
        low = length & 127
        length >>= 7
        header.append(low | 128 if length else low)
        if not length:
            return bytes(header) + value


def size_record(size: int, offset: int, recipients: int) -> bytes:
    return record(b"C", f"{size:15d} {offset:15d} {recipients:15d} {0:15d} {size:15d} {0:15d}".encode())


def queue_file(
    sender: bytes,
    recipients: list[tuple[bytes, bytes]],  # (kind: R, D or /, address in its internal form)
    content: bytes = b"",  # records
    *,
    arrival: int = 1_780_000_000,
    attributes: dict[str, str] | None = None,
    extracted: list[tuple[bytes, bytes]] | None = None,
) -> tuple[bytes, list[int]]:
    """(a queue file as cleanup writes it, where the recipients before the content are)."""
    if not content:
        content = record(b"N", b"Subject: test") + record(b"N") + record(b"N", b"Hello.")
    blank = size_record(0, 0, 0)
    head = [record(b"T", f"{arrival} 123456".encode()), record(b"A", f"create_time={arrival}".encode())]
    head.append(record(b"S", sender))
    head += [record(b"A", f"{name}={value}".encode()) for name, value in (attributes or {}).items()]
    at, offsets = len(blank) + sum(map(len, head)), []
    for kind, address in recipients:
        original = record(b"A", b"dsn_orig_rcpt=rfc822;" + address) + record(b"O", address)
        offsets.append(at + len(original))
        head.append(original + record(kind, address))
        at += len(head[-1])
    head.append(record(b"M"))
    offset = at + 2
    behind = b"".join(record(b"O", address) + record(kind, address) for kind, address in extracted or [])
    count = len(recipients) + len(extracted or [])
    return (
        size_record(len(content), offset, count)
        + b"".join(head)
        + content
        + record(b"X")
        + behind
        + record(b"E"),
        offsets,
    )


def log_entry(address: str, offset: int, dsn: str, reason: str) -> str:
    """An entry of a defer log (`bounce_append_service.c`)."""
    return (
        f"\n<{address}>: {reason}\nrecipient={address}\noffset={offset}\n"
        f"dsn_orig_rcpt=rfc822;{address}\nstatus={dsn}\naction=delayed\nreason={reason}\n\n"
    )


def make_home(folder: Path) -> Written:
    """A Postfix configuration that was never started, with empty queues, and our settings for it."""
    import pwd

    postfix = pwd.getpwnam("postfix")
    config, spool, data = folder / "postfix", folder / "spool", folder / "data"
    for path in (config, spool, data):
        path.mkdir(parents=True, mode=0o755)
    os.chown(data, postfix.pw_uid, -1)
    queues = "maildrop incoming active deferred hold corrupt defer bounce trace flush saved"
    for name in queues.split():
        (spool / name).mkdir(mode=0o700)
        os.chown(spool / name, postfix.pw_uid, -1)
    for name in ("public", "private", "pid"):
        (spool / name).mkdir(mode=0o755)
    (config / "main.cf").write_text(
        f"compatibility_level = 3.6\nqueue_directory = {spool}\ndata_directory = {data}\n"
        "myhostname = mail.lab.test\nmydestination =\nalias_maps =\ninet_interfaces = 127.0.0.1\n"
        "inet_protocols = ipv4\n"
    )
    (config / "master.cf").write_text("showq unix n - n - - showq\n")
    settings = folder / "postmaster.toml"
    settings.write_text(
        f'[postfix]\nconfig_directory = "{config}"\n\n[state]\ndirectory = "{folder}/state"\n'
    )
    return Written(config, spool, settings)


def fill(
    home: Written, count: int, *, seed: int = SEED, now: int | None = None, tell: Callable[[int], Any] = int
) -> Written:
    """Write so many deferred messages below a home. About 100 µs each; `tell` hears how many there are."""
    import pwd

    owner = pwd.getpwnam("postfix").pw_uid
    chance = random.Random(seed)
    now = int(time.time()) if now is None else now
    text, ends = _content(chance)
    domains = [f"dest{number}.example" for number in range(DESTINATIONS)]
    weights = [1 / (number + 3) for number in range(DESTINATIONS)]  # few get much
    for letter in "0123456789ABCDEF":
        for name in ("deferred", "defer"):
            (home.spool / name / letter).mkdir(mode=0o700, exist_ok=True)
            os.chown(home.spool / name / letter, owner, -1)
    for number in range(count):
        rare = number % 100 == 7
        sender = RARE_SENDER if rare else f"user{chance.randrange(2000)}@sender{chance.randrange(50)}.example"
        places = chance.choices(range(DESTINATIONS), weights, k=chance.choice((1, 1, 1, 2, 3)))
        addresses = [f"person{chance.randrange(10**6)}@{domains[place]}" for place in places]
        size = min(LARGEST, int(chance.lognormvariate(8.0, 1.0)) + 500)
        end = ends[min(len(ends) - 1, size // 70)]
        client = chance.randrange(1, 250)
        arrival = now - int(chance.random() ** 2 * LIFETIME)
        data, offsets = queue_file(
            sender.encode(),
            [(b"R", address.encode()) for address in addresses],
            text[:end],
            arrival=arrival,
            attributes=_attributes(client, number),
        )
        log = "".join(
            log_entry(address, offset, dsn, reason.format(d=place, n=place % 5 + 1))
            for address, offset, place in zip(addresses, offsets, places, strict=True)
            for dsn, reason in (_REASONS[(place + number % 2) % len(_REASONS)],)
        )
        microseconds = f"{chance.randrange(10**6):05X}"
        _write(home.spool, microseconds, data, log.encode(), owner, now + chance.randrange(-600, 4000))
        home.messages += 1
        home.recipients += len(addresses)
        home.size += end
        home.rare += rare
        for place in places:
            home.domains[domains[place]] = home.domains.get(domains[place], 0) + 1
        if number % 1000 == 999:
            tell(number + 1)
    return home


def _write(spool: Path, microseconds: str, data: bytes, log: bytes, owner: int, retry: int) -> None:
    """Write a message under the name that its inode gives it, as `mail_queue_enter` does."""
    temporary = spool / "deferred" / "new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(descriptor, data)
    os.fchown(descriptor, owner, -1)
    os.fchmod(descriptor, 0o700)
    queue_id = f"{microseconds}{os.fstat(descriptor).st_ino:X}"
    os.close(descriptor)
    os.utime(temporary, (retry, retry))
    temporary.rename(spool / "deferred" / queue_id[0] / queue_id)
    descriptor = os.open(
        f"{spool}/defer/{queue_id[0]}/{queue_id}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600
    )
    os.write(descriptor, log)
    os.fchown(descriptor, owner, -1)
    os.close(descriptor)


def _attributes(client: int, number: int) -> dict[str, str]:
    """Those that smtpd and cleanup write for a message from a client, some with a login."""
    name, address = f"client{client}.example", f"198.51.100.{client}"
    made = {
        "log_client_name": name,
        "log_client_address": address,
        "log_client_port": "42671",
        "log_message_origin": f"{name}[{address}]",
        "log_helo_name": name,
        "log_protocol_name": "ESMTP",
        "client_name": name,
        "reverse_client_name": name,
        "client_address": address,
        "client_port": "42671",
        "server_address": "192.0.2.1",
        "server_port": "25",
        "helo_name": name,
        "protocol_name": "ESMTP",
        "client_address_type": "2",
    }
    if number % 3 == 0:
        made |= {"sasl_method": "PLAIN", "sasl_username": f"user{number % 700}@sender.example"}
    return made


def _content(chance: random.Random) -> tuple[bytes, list[int]]:
    """(a header and a long text as records, the places where it may be cut)."""
    lines = [
        b"Received: from client.example (client.example [198.51.100.7])",
        b"\tby mail.lab.test (Postfix) with ESMTP id 4B7Z2K5NHbz8gQ",
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= from the generator",
        b"From: Somebody <somebody@sender.example>",
        b"To: undisclosed-recipients:;",
        b"Message-ID: <generated@sender.example>",
        b"",
    ]
    text, ends = b"".join(record(b"N", line) for line in lines), []
    letters = b"abcdefghijklmnopqrstuvwxyz "
    while len(text) < LARGEST:
        text += record(b"N", bytes(chance.choices(letters, k=70)))
        ends.append(len(text))
    return text, ends
