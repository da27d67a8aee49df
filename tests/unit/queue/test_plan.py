"""A plan counts each message once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postmaster.errors import UsageError
from postmaster.queue.message import Message, Recipient
from postmaster.queue.plan import check_size, plan

ONE = Message(
    "-",
    "deferred",
    "8E360228131",
    1780000000,
    100,
    "a@x.test",
    [Recipient("b@Y.test"), Recipient("c@y.test")],
)


def test_a_message_seen_twice_is_one_and_another_arrival_is_another() -> None:
    found = plan([ONE, replace(ONE, queue_name="active"), replace(ONE, arrival_time=1780000001, sender="")])
    assert len(found.messages) == 2
    assert found.as_row() == {
        "messages": 2,
        "bytes": 200,
        "queues": {"deferred": 2},
        "instances": {"-": 2},
        "senders": [{"sender": "a@x.test", "messages": 1}, {"sender": "", "messages": 1}],
        "destinations": [{"domain": "y.test", "messages": 2}],
    }
    check_size(found, 2)
    check_size(found, 0)
    with pytest.raises(UsageError):
        check_size(found, 1)
