"""Reasons as a log counts them."""

from __future__ import annotations

from postmaster.postfix.reasons import reason


def test_reasons_that_differ_in_names_alone_are_equal() -> None:
    one = "host mx1.example.net[192.0.2.1] said: 550 5.1.1 <a@example.net>: user unknown id ABC123DEF456 (in reply to RCPT TO command)"
    two = "host mx2.example.net[192.0.2.2] said: 550 5.1.1 <b@example.net>: user unknown id FFF999DEF000 (in reply to RCPT TO command)"
    assert reason(one) == reason(two) == "550 5.1.1 <…>: user unknown id …"
