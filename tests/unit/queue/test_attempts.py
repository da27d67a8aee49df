"""Attempts as an old log tells of them: of this message and no other, however the log is cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from postmaster.queue import attempts as module
from postmaster.queue.attempts import attempts
from tests.tools.messages import instance, message

TO = (
    "postfix/smtp[7]: {}: to=<{}>, relay=mx.test[192.0.2.1]:25, delay=1.5, delays=1/0/0.5/0,"
    " dsn={}, status={} ({})"
)


def line(moment: str, *rest: str) -> str:
    return f"2026-06-01T{moment}+00:00 mail " + TO.format(*rest)


LINES = [
    line(
        "09:00:00", "8E360228131", "old@x.test", "2.0.0", "sent", "250 of the message that had this ID before"
    ),
    line("10:00:01", "8E360228131", "amy@x.test", "4.2.0", "deferred", "host mx.test said: 450 4.2.0 later"),
    line("10:00:02", "AAAAAA28131", "bob@x.test", "2.0.0", "sent", "250 8E360228131: to=<nobody>"),
    "2026-06-01T10:00:03+00:00 mail postfix/qmgr[3]: 8E360228131: removed",
    "2026-06-01T10:00:03+00:00 mail other/smtp[7]: 8E360228131: to=<x@x.test>, relay=none, delay=1,"
    " delays=1/0/0/0, dsn=4.4.1, status=deferred (of another instance)",
    line("10:20:00", "8E360228131", "amy@x.test", "4.2.0", "deferred", "again (and (again))"),
]
ARRIVED = 1780308000  # 10:00


def told(folder: Path, **given: object) -> list[tuple[str, str]]:
    one = message(queue_id="8E360228131", arrival_time=ARRIVED, **given)
    found = attempts([one], {"-": instance(folder)}, [folder / "mail.log"])
    assert found is not None
    return [(each.recipient, each.text) for each in found[one.identity].attempts]


@pytest.mark.parametrize("piece", [1, 7, 100, 1 << 20])
def test_only_what_is_of_this_message(tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", piece)
    (tmp_path / "mail.log.1").write_text("\n".join(LINES[:3]) + "\n")
    (tmp_path / "mail.log").write_text("\n".join(LINES[3:]) + "\n")
    assert told(tmp_path) == [
        ("amy@x.test", "host mx.test said: 450 4.2.0 later"),
        ("amy@x.test", "again (and (again))"),
    ]


def test_without_a_log_nothing_is_known(tmp_path: Path) -> None:
    assert attempts([message()], {"-": instance(tmp_path)}, [tmp_path / "none"]) is None


@given(st.binary(max_size=400))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_in_a_log(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "mail.log").write_bytes(data + b"8E360228131: to=<" + data + b"\n")
    told(tmp_path)
