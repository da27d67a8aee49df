"""Conversations with a listener that says anything at all."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.health import talk as talking
from postmaster.health.talk import Listener, Refused, Talk, TlsBroken, WrongAnswer, any_certificate

LISTENERS = [Listener(name, name, 1) for name in ("smtp", "lmtp", "imap", "pop3", "sieve")]


@contextmanager
def conversation(listener: Listener, said: bytes) -> Iterator[tuple[Talk, socket.socket]]:
    """A listener that has said this and says no more; and its end of the line."""
    here, there = socket.socketpair()
    with there, pytest.MonkeyPatch.context() as patch:
        patch.setattr(talking, "_connect", lambda *_: here)
        there.setblocking(False)
        there.send(said)
        there.shutdown(socket.SHUT_WR)
        with Talk("", listener, time.monotonic() + 5) as talk:
            yield talk, there


_SAID = [
    *(b"220 x ESMTP", b"220-x", b"250-STARTTLS", b"250 AUTH PLAIN", b"* OK", b"a OK", b"a NO", b"b OK"),
    *(b"+OK", b".", b"-ERR", b'"SASL" "PLAIN"', b"OK", b"* CAPABILITY AUTH=PLAIN", b"SASL PLAIN", b"220"),
    *(b"\xff\x00", b""),
]
_LINE = st.sampled_from(_SAID) | st.binary(max_size=20)


@given(st.sampled_from(LISTENERS), st.lists(_LINE, max_size=8))
def test_anything_it_says_is_an_answer_or_a_clear_refusal(listener: Listener, lines: list[bytes]) -> None:
    words: list[str] = []
    try:
        with conversation(listener, b"\r\n".join([*lines, b""])) as (talk, _):
            talk.greeting()
            words += talk.offers().mechanisms
            talk.starttls(any_certificate(), "")
    except (OSError, WrongAnswer, TlsBroken, Refused) as error:
        words.append(str(error))
    assert all(word.isprintable() for word in words)


def test_no_password_goes_without_tls() -> None:
    with conversation(LISTENERS[0], b"220 x\r\n") as (talk, there):
        talk.greeting()
        with pytest.raises(Refused, match="without TLS"):
            talk.log_in("amy", "secret")
        with pytest.raises(BlockingIOError):
            there.recv(100)


@pytest.mark.parametrize("flood", [b"220-x\r\n" * 20_000, b"x" * 200_000], ids=["lines", "one line"])
def test_a_flood_has_an_end(flood: bytes) -> None:
    with (
        conversation(LISTENERS[0], flood) as (talk, _),
        pytest.raises(WrongAnswer, match="without an end"),
    ):
        talk.greeting()


def test_nothing_is_waited_for_beyond_the_end() -> None:
    here, there = socket.socketpair()
    with there, pytest.MonkeyPatch.context() as patch:
        patch.setattr(talking, "_connect", lambda *_: here)
        with Talk("", LISTENERS[0], time.monotonic() + 0.05) as talk, pytest.raises(TimeoutError):
            talk.greeting()
