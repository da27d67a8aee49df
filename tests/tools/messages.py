"""Messages of the queue, made: one by hand, or any by hypothesis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from postmaster.postfix.instances import Instance
from postmaster.queue.fields import QUEUES
from postmaster.queue.message import Message, Recipient

NOW = 1_780_000_000


def message(*recipients: Recipient | str, **given: Any) -> Message:
    """A deferred message an hour old, with what is given in the place of the defaults."""
    made = [Recipient(one) if isinstance(one, str) else one for one in recipients]
    values: dict[str, Any] = {
        "instance": "-",
        "queue_name": "deferred",
        "queue_id": "4B7Z2K5NHbz8gQ",
        "arrival_time": NOW - 3600,
        "message_size": 2048,
        "sender": "news@shop.example",
        "recipients": made or [Recipient("amy@example.org")],
    }
    return Message(**{**values, **given})


def instance(spool: Path, **given: Any) -> Instance:
    """Postfix as Debian sets it up, with its queue in a folder, and what is given otherwise."""
    values: dict[str, Any] = {
        "name": "-",
        "config_directory": Path("/etc/postfix"),
        "spool": spool,
        "lifetime": 432000,
        "bounce_lifetime": 86400,
        "hashed": frozenset({"deferred", "defer"}),
        "depth": 1,
        "utf8": True,
        "empty_address": "MAILER-DAEMON",
        "long_ids": False,
        "networks": "",
        "syslog_name": "postfix",
        "log_file": None,
        "owner": "postfix",
    }
    return Instance(**{**values, **given})


domains = st.sampled_from(
    ["shop.example", "GMAIL.com", "xn--bcher-kva.example", "example.org", "a.b.example."]
)
addresses = st.builds(
    lambda local, domain: f"{local}@{domain}", st.sampled_from(["amy", "Bob", '"a b"', "o'x", "ä"]), domains
)
reasons = st.none() | st.sampled_from(
    [
        "connect to mx1.example.com[192.0.2.1]:25: Connection refused",
        "host mx.example.org[192.0.2.9] said: 450 4.2.0 <amy@example.org>: Greylisted",
        "",
        "a reason with \x1b[31m colour and (parentheses)",
    ]
)
recipients = st.builds(
    Recipient, addresses | st.just("root"), reasons, st.none() | st.sampled_from(["4.4.1", "4.7.1"])
)
moments = st.none() | st.integers(NOW - 400_000, NOW + 400_000)
texts = st.none() | st.sampled_from(["mail.example.net", "192.0.2.7", "amy", ""])
messages = st.builds(
    Message,
    instance=st.sampled_from(["-", "postfix-out"]),
    queue_name=st.sampled_from(QUEUES),
    queue_id=st.sampled_from(["4B7Z2K5NHbz8gQ", "A1B2C3D4E5", "3FA9C01"]),
    arrival_time=st.integers(NOW - 900_000, NOW),
    message_size=st.sampled_from([0, 1, 311, 2048, 5 << 20]),
    sender=addresses | st.just(""),
    recipients=st.lists(recipients, max_size=4),
    next_retry=moments,
    expires=moments,
    client_name=texts,
    client_address=texts,
    helo_name=texts,
    sasl_username=texts,
)
