"""Mail logs of any length with a fixed seed, and what is in them: for figures and for totals to compare with.

The traffic is a busy server's: mail from outside into mailboxes by LMTP, submissions that go out by SMTP,
deferrals with retries, bounces with their notices, refusals, guessed passwords, local mail; sessions
interleave as they do in life. `Totals` counts what was written while it is written.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from pathlib import Path

BEGIN = datetime(2026, 5, 11, 0, 0, tzinfo=UTC)
LONG = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
DOMAINS = [f"d{n}.example" for n in range(40)]
OUTSIDE = [f"net{n}.test" for n in range(400)]


@dataclass
class Totals:
    """What the log has in it, counted as it was written."""

    lines: int = 0
    received: int = 0
    delivered: int = 0
    deferred: set[str] = field(default_factory=set)
    deferrals: int = 0
    bounced: int = 0
    rejected: int = 0
    bytes_received: int = 0
    bytes_delivered: int = 0
    auth_failures: int = 0


@dataclass
class Traffic:
    """Makes lines. `traced` is an address that gets exactly `traced_messages` messages, spread evenly."""

    lines: int
    seed: int = 4
    iso: bool = True
    long_ids: bool = True
    begin: datetime = BEGIN
    rate: float = 0.4  # seconds between two sessions
    traced: str = "traced@d0.example"
    traced_messages: int = 30
    totals: Totals = field(default_factory=Totals)

    def __iter__(self) -> Iterator[str]:
        self.random = random.Random(self.seed)
        self._number = 0
        # Lines wait here until nothing earlier can come: (when, order, program with pid, text).
        waiting: list[tuple[float, int, str, str]] = []
        now, order, written, traced = 0.0, 0, 0, 0
        each = max(1, self.lines // (self.traced_messages + 1))
        while written < self.lines:
            now += self.random.expovariate(1 / self.rate)
            recipient = None
            if traced < self.traced_messages and written >= each * (traced + 1):
                traced, recipient = traced + 1, self.traced
            for when, program, text in self._session(now, recipient):
                heapq.heappush(waiting, (when, order, program, text))
                order += 1
            while waiting and waiting[0][0] <= now and written < self.lines:
                when, _, program, text = heapq.heappop(waiting)
                written += 1
                yield self._line(when, program, text)
        self.totals.lines = written

    def write(self, path: Path) -> Totals:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(self)
        return self.totals

    def _line(self, when: float, program: str, text: str) -> str:
        self._count(program, text)
        moment = self.begin + timedelta(seconds=when)
        if self.iso:
            stamp = moment.isoformat(timespec="microseconds")
        else:
            stamp = f"{moment:%b} {moment.day:2d} {moment:%H:%M:%S}"
        return f"{stamp} mail {program}: {text}\n"

    def _count(self, program: str, text: str) -> None:
        totals, name = self.totals, program.partition("[")[0]
        queue_id = text.partition(":")[0]
        if ": client=" in text or ": uid=" in text:
            totals.received += 1
            self._received.add(queue_id)
        elif ", size=" in text:
            size = int(text.partition(", size=")[2].partition(",")[0])
            self._sizes[queue_id] = size
            if queue_id in self._received:
                self._received.discard(queue_id)
                totals.bytes_received += size
        elif ", status=sent" in text:
            totals.delivered += 1
            totals.bytes_delivered += self._sizes.get(queue_id, 0)
        elif ", status=deferred" in text:
            totals.deferrals += 1
            totals.deferred.add(queue_id)
        elif ", status=bounced" in text:
            totals.bounced += 1
        elif text.startswith("NOQUEUE: reject: "):
            totals.rejected += 1
        elif "authentication failed" in text and name.endswith("smtpd"):
            totals.auth_failures += 1

    _session_number: int = 0
    _sizes: dict[str, int] = field(default_factory=dict)
    _received: set[str] = field(default_factory=set)

    def _id(self, when: float) -> str:
        self._number += 1
        if not self.long_ids:
            return f"{self._number * 2654435761 & 0xFFFFF:05X}{self._number & 0xFFFFF:05X}"
        second, text = int(self.begin.timestamp() + when), ""
        while second:
            second, digit = divmod(second, 52)
            text = LONG[digit] + text
        micro, tail = int(when * 1e6) % 1_000_000, ""
        for _ in range(4):
            micro, digit = divmod(micro, 52)
            tail = LONG[digit] + tail
        return f"{text}{tail}z{LONG[self._number % 52]}{LONG[self._number // 52 % 52]}{LONG[self._number // 2704 % 52]}"

    def _pid(self) -> int:
        """Of a session: its processes have this one and the four after it."""
        self._session_number += 5
        return 1000 + self._session_number % 4_000_000

    def _address(self) -> str:
        return f"u{self.random.randrange(60)}@{self.random.choice(DOMAINS)}"

    def _outsider(self) -> str:
        return f"p{self.random.randrange(200)}@{self.random.choice(OUTSIDE)}"

    def _session(self, now: float, recipient: str | None) -> list[tuple[float, str, str]]:
        kind = self.random.random()
        if recipient is not None or kind < 0.55:
            return self._inbound(now, recipient or self._address())
        if kind < 0.75:
            return self._submission(now)
        if kind < 0.90:
            return self._refused(now)
        if kind < 0.96:
            return self._guess(now)
        return self._local(now)

    def _peer(self) -> tuple[str, str]:
        """A host of few addresses, as senders have."""
        number = self.random.randrange(len(OUTSIDE))
        address, host = f"198.51.{number % 100}.{number // 100 + self.random.randrange(8)}", OUTSIDE[number]
        return (f"mx.{host}[{address}]" if self.random.random() < 0.8 else f"unknown[{address}]"), host

    def _inbound(self, now: float, recipient: str) -> list[tuple[float, str, str]]:
        peer, host = self._peer()
        pid, queue_id, sender = self._pid(), self._id(now), self._outsider()
        smtpd, at = f"postfix/smtpd[{pid}]", now
        message_id = f"<{self.random.getrandbits(64):x}@{host}>"
        size = int(self.random.lognormvariate(9.5, 1.2))
        lines = [(at, smtpd, f"connect from {peer}")]
        tls = self.random.random() < 0.7
        if tls:
            lines.append(
                (at + 0.05, smtpd, f"Anonymous TLS connection established from {peer}: TLSv1.3 with cipher "
                 "TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 server-signature RSA-PSS (2048 bits)")
            )  # fmt: skip
        lines += [
            (at + 0.2, smtpd, f"{queue_id}: client={peer}"),
            (at + 0.3, f"postfix/cleanup[{pid + 1}]", f"{queue_id}: message-id={message_id}"),
            (
                at + 0.5,
                "postfix/qmgr[902]",
                f"{queue_id}: from=<{sender}>, size={size}, nrcpt=1 (queue active)",
            ),
            (
                at + 0.7,
                smtpd,
                f"disconnect from {peer} ehlo=2 starttls=1 mail=1 rcpt=1 data=1 quit=1 commands=7",
            ),
        ]
        end = self._lmtp(lines, at + 0.55, queue_id, recipient, message_id, pid)
        lines.append((end, "postfix/qmgr[902]", f"{queue_id}: removed"))
        return lines

    def _lmtp(
        self,
        lines: list[tuple[float, str, str]],
        at: float,
        queue_id: str,
        recipient: str,
        message_id: str,
        pid: int,
    ) -> float:
        took = self.random.lognormvariate(-2, 1)
        session = f"{self.random.getrandbits(60):x}"
        lines += [
            (at + took * 0.9, "dovecot[800]", f"lmtp({recipient})<{pid}><{session}>: msgid={message_id}: saved mail to INBOX"),
            (at + took, f"postfix/lmtp[{pid + 2}]", f"{queue_id}: to=<{recipient}>, relay=mail.example[private/dovecot-lmtp], "
             f"delay={0.5 + took:.2f}, delays=0.45/0.01/0.01/{took:.2f}, dsn=2.0.0, status=sent (250 2.0.0 <{recipient}> {session} Saved)"),
        ]  # fmt: skip
        return at + took + 0.01

    def _submission(self, now: float) -> list[tuple[float, str, str]]:
        login = self._address()
        address = f"203.0.{self.random.randrange(20)}.{self.random.randrange(1, 255)}"
        peer, pid, queue_id = f"unknown[{address}]", self._pid(), self._id(now)
        smtpd, size = f"postfix/submission/smtpd[{pid}]", int(self.random.lognormvariate(9, 1.5))
        message_id = f"<{self.random.getrandbits(64):x}@{login.partition('@')[2]}>"
        recipient = self._outsider()
        host = recipient.partition("@")[2]
        lines = [
            (now, smtpd, f"connect from {peer}"),
            (now + 0.05, smtpd, f"Anonymous TLS connection established from {peer}: TLSv1.3 with cipher "
             "TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 server-signature RSA-PSS (2048 bits)"),
            (now + 0.2, smtpd, f"{queue_id}: client={peer}, sasl_method=PLAIN, sasl_username={login}"),
            (now + 0.3, f"postfix/cleanup[{pid + 1}]", f"{queue_id}: message-id={message_id}"),
            (now + 0.4, "postfix/qmgr[902]", f"{queue_id}: from=<{login}>, size={size}, nrcpt=1 (queue active)"),
            (now + 0.5, smtpd, f"disconnect from {peer} ehlo=2 starttls=1 auth=1 mail=1 rcpt=1 data=1 quit=1 commands=8"),
        ]  # fmt: skip
        end = self._smtp(lines, now, now + 0.45, queue_id, login, size, recipient, host, pid)
        lines.append((end, "postfix/qmgr[902]", f"{queue_id}: removed"))
        return lines

    def _smtp(
        self, lines: list[tuple[float, str, str]], began: float, at: float, queue_id: str, sender: str, size: int,
        recipient: str, host: str, pid: int,
    ) -> float:  # fmt: skip
        smtp, mx = f"postfix/smtp[{pid + 3}]", f"mx{self.random.randrange(2)}.{host}[192.0.2.{len(host)}]"
        tries = self.random.choices([0, 1, 3], [0.88, 0.08, 0.04])[0]
        for number in range(tries):
            why = self.random.choice(
                [f"connect to {mx}:25: Connection timed out",
                 f"host {mx} said: 450 4.2.0 <{recipient}>: Recipient address rejected: Greylisted (in reply to RCPT TO command)"]
            )  # fmt: skip
            lines.append(
                (at + 0.3, smtp, f"{queue_id}: to=<{recipient}>, relay={'none' if why[0] == 'c' else mx + ':25'}, "
                 f"delay={at - began + 0.3:.1f}, delays={at - began:.1f}/0.01/0.2/0.1, dsn=4.2.0, status=deferred ({why})")
            )  # fmt: skip
            at += 300 * 2**number
            lines.append(
                (at, "postfix/qmgr[902]", f"{queue_id}: from=<{sender}>, size={size}, nrcpt=1 (queue active)")
            )
        took = self.random.lognormvariate(-0.5, 0.8)
        head = (
            f"{queue_id}: to=<{recipient}>, relay={mx}:25, delay={at - began + took:.1f}, "
            f"delays={at - began:.1f}/0.01/{took / 2:.2f}/{took / 2:.2f}, "
        )
        lines.append((at + took / 2, smtp, f"Trusted TLS connection established to {mx}:25: TLSv1.3 with cipher "
                      "TLS_AES_256_GCM_SHA384 (256/256 bits)"))  # fmt: skip
        if self.random.random() < 0.94:
            lines.append((at + took, smtp, f"{head}dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as {self.random.getrandbits(40):010X})"))  # fmt: skip
            return at + took + 0.01
        lines.append(
            (at + took, smtp, f"{head}dsn=5.1.1, status=bounced (host {mx} said: 550 5.1.1 <{recipient}>: "
             "Recipient address rejected: User unknown in virtual mailbox table (in reply to RCPT TO command))")
        )  # fmt: skip
        notice = self._id(at + took)
        message_id = f"<{self.random.getrandbits(64):x}@mail.example>"
        end = at + took + 0.1
        lines += [
            (end - 0.05, f"postfix/cleanup[{pid + 1}]", f"{notice}: message-id={message_id}"),
            (
                end - 0.04,
                f"postfix/bounce[{pid + 4}]",
                f"{queue_id}: sender non-delivery notification: {notice}",
            ),
            (
                end - 0.03,
                "postfix/qmgr[902]",
                f"{notice}: from=<>, size={size + 2500}, nrcpt=1 (queue active)",
            ),
        ]
        done = self._lmtp(lines, end, notice, sender, message_id, pid)
        lines.append((done, "postfix/qmgr[902]", f"{notice}: removed"))
        return end

    def _refused(self, now: float) -> list[tuple[float, str, str]]:
        peer, host = self._peer()
        smtpd, to = (
            f"postfix/smtpd[{self._pid()}]",
            f"x{self.random.randrange(9999)}@d1.example",
        )
        why = self.random.choice(
            [f"550 5.1.1 <{to}>: Recipient address rejected: User unknown in virtual mailbox table",
             "554 5.7.1 Service unavailable; Client host [198.51.100.1] blocked using zen.test; listed",
             f"450 4.7.1 <{host}>: Helo command rejected: Host not found"]
        )  # fmt: skip
        return [
            (now, smtpd, f"connect from {peer}"),
            (now + 0.3, smtpd, f"NOQUEUE: reject: RCPT from {peer}: {why}; from=<{self._outsider()}> to=<{to}> proto=ESMTP helo=<{host}>"),
            (now + 0.4, smtpd, f"disconnect from {peer} ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4"),
        ]  # fmt: skip

    def _guess(self, now: float) -> list[tuple[float, str, str]]:
        peer = f"unknown[203.0.113.{self.random.randrange(1, 30)}]"
        smtpd, login = f"postfix/submission/smtpd[{self._pid()}]", self._address()
        return [
            (now, smtpd, f"connect from {peer}"),
            (
                now + 1,
                smtpd,
                f"warning: {peer}: SASL LOGIN authentication failed: UGFzc3dvcmQ6, sasl_username={login}",
            ),
            (now + 1.1, smtpd, f"disconnect from {peer} ehlo=1 auth=0/1 rset=1 quit=1 commands=3/4"),
        ]

    def _local(self, now: float) -> list[tuple[float, str, str]]:
        pid, queue_id = self._pid(), self._id(now)
        message_id, size = f"<{self.random.getrandbits(64):x}@mail.example>", self.random.randrange(400, 4000)
        lines = [
            (now, f"postfix/pickup[{pid}]", f"{queue_id}: uid=0 from=<root@mail.example>"),
            (now + 0.01, f"postfix/cleanup[{pid + 1}]", f"{queue_id}: message-id={message_id}"),
            (
                now + 0.02,
                "postfix/qmgr[902]",
                f"{queue_id}: from=<root@mail.example>, size={size}, nrcpt=1 (queue active)",
            ),
        ]
        end = self._lmtp(lines, now + 0.03, queue_id, "postmaster@d0.example", message_id, pid)
        lines.append((end, "postfix/qmgr[902]", f"{queue_id}: removed"))
        return lines


def _day(day: date, messages: int) -> str:
    """A day's lines, in the hours before noon."""
    noon = datetime.combine(day, datetime.min.time()).astimezone() + timedelta(hours=12)
    made = []
    for number in range(messages):
        at = (noon - timedelta(minutes=number)).astimezone(UTC)
        queue_id = f"4B7Z2K{number:04}bz8gQ"
        texts = (
            f"smtpd[1]: {queue_id}: client=c[192.0.2.1]",
            f"qmgr[1]: {queue_id}: from=<amy@x.test>, size=1000, nrcpt=1 (queue active)",
            f"qmgr[1]: {queue_id}: removed",
        )
        made += [(at, f"{at.isoformat()} mail postfix/{text}\n") for text in texts]
    return "".join(line for _, line in sorted(made, key=itemgetter(0)))


def days(*busy: tuple[date, int]) -> str:
    """A log of local days, on each of which so many messages came."""
    return "".join(_day(day, messages) for day, messages in sorted(busy))
