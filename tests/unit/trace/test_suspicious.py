"""A login that looks stolen is found with its evidence, an ordinary one is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from postmaster.trace.sources import Notes, Period, Source
from postmaster.trace.suspicious import Finding, Limits, look

BEGIN = datetime(2026, 5, 28, 1, tzinfo=UTC)


def sent(at: float, login: str, address: str, number: int, status: str = "sent") -> list[tuple[float, str]]:
    queue_id = f"A{number:09X}"
    return [
        (
            at,
            f"postfix/submission/smtpd[1]: {queue_id}: client=c[{address}], sasl_method=PLAIN, sasl_username={login}",
        ),
        (
            at,
            f"postfix/smtp[2]: {queue_id}: to=<x@y.test>, relay=m[192.0.2.1]:25, delay=1, dsn=2.0.0, status={status} (x)",
        ),
        (at, f"postfix/qmgr[3]: {queue_id}: removed"),
    ]


def refused(at: float, address: str) -> list[tuple[float, str]]:
    return [(at, f"postfix/smtpd[1]: warning: c[{address}]: SASL LOGIN authentication failed: x")]


def found(
    folder: Path, *lines: list[tuple[float, str]], other: list[tuple[float, str]] | None = None
) -> list[Finding]:
    logs = []
    for name, some in (("mail.log", [line for each in lines for line in each]), ("dovecot.log", other or [])):
        path = folder / name
        path.write_text(
            "".join(
                f"{(BEGIN + timedelta(seconds=at)).isoformat()} mail {text}\n"
                for at, text in sorted(some, key=lambda line: line[0])
            )
        )
        logs.append([Source(path, datetime(2026, 5, 30, tzinfo=UTC).timestamp(), path.stat().st_size)])
    notes = Notes()
    findings = look(logs, Period(), Limits(), notes)
    assert not notes.problems
    return findings


def test_ordinary_use_is_not_suspicious(tmp_path: Path) -> None:
    daily = [
        sent(hour * 3600 + n, "amy@x.test", f"192.0.2.{n}", hour * 100 + n)
        for hour in range(12)
        for n in range(9)
    ]
    mistyped = [refused(5, "192.0.2.1"), refused(6, "192.0.2.1"), sent(7, "amy@x.test", "192.0.2.1", 5000)]
    bounced = [sent(900 + n, "amy@x.test", "192.0.2.1", 6000 + n, "bounced") for n in range(5)]
    assert found(tmp_path, *daily, *mistyped, *bounced) == []


@pytest.mark.parametrize("places", [4, 5])
def test_many_places(tmp_path: Path, places: int) -> None:
    lines = [sent(n * 60, "Amy@x.test", f"198.51.{n}.7", n) for n in range(places)]
    findings = found(tmp_path, *lines)
    assert [(one.kind, one.login, one.count) for one in findings] == (
        [("places", "amy@x.test", 5)] if places == 5 else []
    )
    assert all(set(one.addresses) == {f"198.51.{n}.7" for n in range(5)} for one in findings)


def test_suddenly_far_more(tmp_path: Path) -> None:
    usual = [sent(hour * 3600 + n, name, "192.0.2.1", hour * 10 + n + 1000 * (name == "bob@x.test"))
             for hour in range(5) for n in range(2) for name in ("amy@x.test", "bob@x.test")]  # fmt: skip
    burst = [sent(6 * 3600 + n, "amy@x.test", "192.0.2.1", 9000 + n) for n in range(60)]
    busy = [
        sent(hour * 3600 + n, "list@x.test", "192.0.2.1", 20_000 + hour * 100 + n)
        for hour in range(6)
        for n in range(70)
    ]
    (one,) = found(tmp_path, *usual, *burst, *busy)
    assert (one.kind, one.login, one.count) == ("burst", "amy@x.test", 60)
    assert "2.0 in its other hours" in one.evidence
    assert one.first == (BEGIN + timedelta(hours=6)).timestamp()


def test_many_bounces(tmp_path: Path) -> None:
    lines = [
        sent(n * 600, "amy@x.test", "192.0.2.1", n, "bounced" if n % 4 == 0 else "sent") for n in range(100)
    ]
    (one,) = found(tmp_path, *lines)
    assert (one.kind, one.count, one.evidence) == ("bounces", 25, "25 of 100 recipients bounced")


def test_a_guessed_password_at_postfix(tmp_path: Path) -> None:
    lines = [*(refused(n, "203.0.113.9") for n in range(6)), sent(10, "amy@x.test", "203.0.113.9", 1)]
    lines += [*(refused(n, "203.0.113.8") for n in range(20)), sent(5, "bob@x.test", "203.0.113.7", 2)]
    (one,) = found(tmp_path, *lines)
    assert (one.kind, one.login, one.count, one.addresses) == ("guessed", "amy@x.test", 6, ("203.0.113.9",))


def test_a_guess_at_dovecot_that_succeeds_and_the_files_are_read_side_by_side(tmp_path: Path) -> None:
    end = "dovecot: imap-login: Disconnected: x (auth failed, 4 attempts in 9 secs): user=<amy@x.test>, rip=203.0.113.9"
    login = "dovecot: imap-login: Login: user=<amy@x.test>, method=PLAIN, rip=203.0.113.9, session=<s>"
    (one,) = found(tmp_path, refused(2, "203.0.113.9"), other=[(1, end), (3, login)])
    assert (one.kind, one.count) == ("guessed", 5)
    assert found(tmp_path, refused(4, "203.0.113.9"), other=[(1, end), (3, login)]) == []
