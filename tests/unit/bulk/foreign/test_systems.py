"""Whatever stands in another system's files and tables is read, named as a problem, or refused in a line."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postmaster.bulk import fields
from postmaster.bulk.foreign import systems
from postmaster.bulk.foreign.gathering import Gathered
from postmaster.cli.directory.formats import System
from postmaster.errors import PostmasterError
from postmaster.settings import MailSettings

MAIL = MailSettings(Path("/var/vmail"))
_hostile = st.text("ab@.,:|{}$/\\'\"\n\t =#;%+-_é\x1b0", max_size=60) | st.text(max_size=30)
_value = st.one_of(
    _hostile,
    st.sampled_from(
        [
            "amy@example.org",
            "@example.org",
            "example.org",
            "1",
            "0",
            "-1",
            "../../x",
            "{PLAIN}x",
            "a,b@c.d",
            None,
        ]
    ),
)
#: What the readers of databases look at.
COLUMNS = {
    "postfixadmin": {
        "domain": "domain active backupmx transport",
        "alias_domain": "alias_domain target_domain active",
        "mailbox": "username password name maildir quota active password_expiry",
        "alias": "address goto active",
    },
    "mailinabox": {
        "users": "email password quota privileges",
        "aliases": "source destination permitted_senders",
        "auto_aliases": "source destination permitted_senders",
    },
    "mailu": {
        "domain": "name",
        "alternative": "name domain_name",
        "user": "email password quota_bytes displayed_name enabled forward_enabled forward_destination",
        "alias": "email wildcard destination",
    },
    "vimbadmin": {
        "domain": "domain active transport",
        "mailbox": "username password name maildir homedir quota active access_restriction",
        "alias": "address goto active",
    },
    "iredmail": {
        "domain": "domain active transport",
        "alias_domain": "alias_domain target_domain active",
        "mailbox": "username password storagebasedirectory storagenode maildir mailboxfolder quota expired"
        " allow_nets mailboxformat enableimap enableimapsecured",
        "alias": "address accesspolicy expired active",
        "forwardings": "address forwarding active is_maillist",
    },
    "modoboa": {
        "core_user": "id username password first_name last_name is_active",
        "admin_domain": "id name enabled type",
        "admin_domainalias": "name target_id enabled",
        "admin_mailbox": "id address domain_id user_id quota is_send_only message_limit",
        "admin_alias": "id address enabled internal expire_at",
        "modoboa_admin_aliasrecipient": "alias_id address",
        "admin_senderaddress": "mailbox_id address",
    },
}
SYSTEMS = sorted(systems.SYSTEMS)


def test_the_command_line_knows_every_system() -> None:
    assert {one.value for one in System} == set(systems.SYSTEMS)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def hold(found: Gathered) -> None:
    """What was gathered keeps the rules of entries."""
    for one in found.wanted.listed:
        given = {name: _text(value) for name, value in fields.shown(one.entry).items()}
        assert fields.entry(one.entry.kind, given).key == one.entry.key
    for move in found.moves:
        assert "\n" not in move.command
        assert "/../" not in f"{move.command}/"


def _text(value: object) -> str | list[str] | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return [str(one) for one in value]
    return None if value is None else str(value)


@pytest.mark.parametrize("system", sorted(COLUMNS))
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_of_any_rows(system: str, data: st.DataObject) -> None:
    with folder() as place:
        file = place / "x.db"
        with closing(sqlite3.connect(file)) as connection:
            for name, columns in COLUMNS[system].items():
                names = columns.split()
                connection.execute(f"CREATE TABLE {name} ({', '.join(names)})")
                rows = data.draw(st.lists(st.tuples(*[_value] * len(names)), max_size=3))
                rows = [tuple(v.encode(errors="replace").decode() if v else v for v in row) for row in rows]
                connection.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(names))})", rows)
            connection.commit()
        hold(systems.gather(system, str(file), MAIL))


@pytest.mark.parametrize("system", SYSTEMS)
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(text=_hostile, other=_hostile)
def test_of_any_text(system: str, text: str, other: str) -> None:
    with folder() as place:
        names = ["postfix-accounts.cf", "x.yaml" if system == "mailu" else "x"]
        for name in names:
            (place / name).write_bytes(text.encode(errors="replace"))
        for name in ("postfix-virtual.cf", "dovecot-quotas.cf", "postfix-send-access.cf", "x\x1b.sieve"):
            (place / name).write_bytes(other.encode(errors="replace"))
        source = place if system == "docker-mailserver" else place / names[1]
        try:
            found = systems.gather(
                system, str(source), MAIL, domain="example.org" if system == "aliases" else None
            )
        except PostmasterError:
            return
        hold(found)
