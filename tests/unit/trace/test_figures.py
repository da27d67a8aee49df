"""A period in a few figures: the same as the report's."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from postmaster.errors import NotFoundError
from postmaster.settings import LogSettings, Settings
from postmaster.trace.figures import Figures, Named, figures, of_logs
from postmaster.trace.sources import Period, find
from tests.tools.maillog import Traffic

NOON = datetime(2026, 5, 11, 12, tzinfo=UTC)


def log(folder: Path) -> Path:
    """Two messages from a login, one deferred and then sent, one bounced; a refusal, a refused password."""
    texts = (
        (0, "submission/smtpd[1]: warning: unknown[192.0.2.9]: SASL PLAIN authentication failed: no, sasl_username=Amy@x.test"),
        (1, "smtpd[1]: NOQUEUE: reject: RCPT from c[192.0.2.1]: 550 5.1.1 <b@x.test>: no; from=<a@b.test> to=<b@x.test> proto=ESMTP helo=<c>"),
        (2, "submission/smtpd[1]: 4B7Z2K5NHbz8gQ: client=c[192.0.2.1], sasl_method=PLAIN, sasl_username=amy@x.test"),
        (2, "qmgr[1]: 4B7Z2K5NHbz8gQ: from=<amy@x.test>, size=1000, nrcpt=2 (queue active)"),
        (3, "smtp[1]: 4B7Z2K5NHbz8gQ: to=<o@p.test>, relay=p[192.0.2.3]:25, delay=1, delays=1/0/0/0, dsn=4.0.0, status=deferred (later)"),
        (4, "smtp[1]: 4B7Z2K5NHbz8gQ: to=<q@p.test>, relay=p[192.0.2.3]:25, delay=2.5, delays=1/0/0/1.5, dsn=2.0.0, status=sent (ok)"),
        (65, "smtp[1]: 4B7Z2K5NHbz8gQ: to=<o@p.test>, relay=p[192.0.2.3]:25, delay=63, delays=62/0/0/1, dsn=2.0.0, status=sent (ok)"),
        (65, "qmgr[1]: 4B7Z2K5NHbz8gQ: removed"),
        (70, "pickup[1]: 4B7Z2K5NHbz9gQ: uid=0 from=<root@x.test>"),
        (70, "qmgr[1]: 4B7Z2K5NHbz9gQ: from=<root@x.test>, size=500, nrcpt=1 (queue active)"),
        (71, "smtp[1]: 4B7Z2K5NHbz9gQ: to=<o@p.test>, relay=p[192.0.2.3]:25, delay=1, delays=1/0/0/0, dsn=5.0.0, status=bounced (no)"),
    )  # fmt: skip
    path = folder / "mail.log"
    path.write_text(
        "".join(f"{(NOON + timedelta(seconds=at)).isoformat()} mail postfix/{text}\n" for at, text in texts)
    )
    return path


def test_the_figures_of_a_log_whose_lines_are_known(tmp_path: Path) -> None:
    settings = Settings(log=LogSettings((log(tmp_path),)))
    assert figures(settings, Period()) == Figures(
        since=None, until=None, lines=11, received=2, bytes_received=1500, delivered=2, bytes_delivered=2000,
        forwarded=0, deferred=1, deferrals=1, bounced=1, rejected=1, held=0, discarded=0, expired=0,
        delay_median=2.5, delay_p95=63.0, senders=(Named("amy@x.test", 1), Named("root@x.test", 1)),
        failed_logins=(Named("amy@x.test", 1),), failed_clients=(Named("unknown[192.0.2.9]", 1),), problems=(), refused=1,
    )  # fmt: skip
    late = figures(settings, Period(NOON.timestamp() + 60), top=1)
    assert (late.delivered, late.bounced, late.received, late.rejected) == (1, 1, 1, 0)
    assert (late.delay_median, late.senders) == (63.0, (Named("root@x.test", 1),))


def test_a_period_in_which_nothing_happened(tmp_path: Path) -> None:
    nothing = of_logs(find(Settings(), [log(tmp_path)]), Period(NOON.timestamp() + 3600))
    assert (nothing.received, nothing.delivered, nothing.delay_median, nothing.senders) == (0, 0, None, ())
    with pytest.raises(FrozenInstanceError):
        nothing.received = 1  # type: ignore[misc]


def test_totals_are_those_that_were_written(tmp_path: Path) -> None:
    traffic, path = Traffic(5000), tmp_path / "mail.log"
    traffic.write(path)
    found, written = of_logs(find(Settings(), [path]), Period()), traffic.totals
    assert (found.received, found.delivered, found.bounced) == (
        written.received, written.delivered, written.bounced)  # fmt: skip
    assert (found.rejected, found.deferrals) == (written.rejected, written.deferrals)
    assert replace(found, problems=()) == found


def test_no_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        figures(Settings(log=LogSettings((tmp_path / "none.log",))), Period())
