"""What Dovecot says of the use of a mailbox, whatever stands in the file."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from postmaster.dovecot import usage
from postmaster.dovecot.usage import LastLogin, Usage


def test_the_plugins_file_tells_protocol_app_password_and_time() -> None:
    content = b"shared/last-login/imap/\n1795519305\nshared/last-login/pop3/my phone\n1795519306\n"
    assert usage.last_logins(content) == [
        LastLogin("imap", "", datetime.fromtimestamp(1795519305, UTC)),
        LastLogin("pop3", "my phone", datetime.fromtimestamp(1795519306, UTC)),
    ]


@given(
    st.binary(max_size=300)
    | st.lists(
        st.sampled_from(["shared/last-login/imap/", "shared/last-login/x/y/z", "1", "9" * 12, "-1", "", "١"])
    ).map(lambda lines: "\n".join(lines).encode())
)
def test_any_file_is_read(content: bytes) -> None:
    for one in usage.last_logins(content):
        assert one.at.tzinfo is UTC
        assert "/" not in one.app_password


def test_doveadms_table_is_read_by_its_headings() -> None:
    one = "Quota name\tType\tValue\tLimit\t%\nUser quota\tSTORAGE\t12\t-\t0\nUser quota\tMESSAGE\t3\t-\t0\n"
    assert dict(usage._usages(one, "amy@x.test")) == {"amy@x.test": Usage(12288, 3)}
    every = "Username\tQuota name\tType\tValue\tLimit\t%\nAmy@x.test\tUser quota\tSTORAGE\t1\t-\t0\n"
    assert dict(usage._usages(every)) == {"amy@x.test": Usage(1024, 0)}
    for other in ("", "nonsense\n", "Value\n-\n", "Type\tValue\nMESSAGE\t1\n"):
        assert dict(usage._usages(other)) == {}
