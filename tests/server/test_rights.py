"""What the servers' users can and cannot do with our files."""

from __future__ import annotations

import json

import pytest

from tests.tools.as_user import run as as_user
from tests.tools.mail import Lab, password_hash

#: Run as another user: which files below the folders can be read, and which files or folders written.
_PROBE = """
readable, writable = [], []
for top in sys.argv[1:]:
    for folder, _, names in os.walk(top, onerror=lambda error: None):
        try:
            descriptor = os.open(os.path.join(folder, ".probe"), os.O_CREAT | os.O_WRONLY)
            os.close(descriptor)
            os.unlink(os.path.join(folder, ".probe"))
            writable.append(folder)
        except OSError:
            pass
        for name in names:
            path = os.path.join(folder, name)
            for mode, found in ((os.O_RDONLY, readable), (os.O_WRONLY, writable)):
                try:
                    os.close(os.open(path, mode | os.O_NONBLOCK))
                    found.append(path)
                except OSError:
                    pass
print(json.dumps([readable, writable]))
"""

_FILES = """
found = []
for path in sys.argv[1:]:
    for how in ("rb", "r+b"):
        try:
            open(path, how).close()
            found.append(how[:2] + " " + path)
        except OSError:
            pass
print("\\n".join(found))
"""


def ours(lab: Lab) -> list[str]:
    """Every folder with something of ours in it: not Postfix's queue, not Dovecot's sockets."""
    return [str(lab.root / name) for name in ("state", "lookups", "mail", "postfix", "tls")]


@pytest.mark.parametrize(
    ("user", "may_read"), [("postfix", {"postfix.db"}), ("dovecot", {"dovecot.db"}), ("nobody", set())]
)
def test_a_servers_user_reads_its_own_look_ups_and_writes_nothing(
    lab: Lab, user: str, may_read: set[str]
) -> None:
    with lab.change() as make:
        make.domain(f"rights-{user}.test")
    readable, writable = json.loads(as_user(user, _PROBE, *ours(lab)))
    assert writable == []
    secret = {path.rpartition("/")[2] for path in readable if "/postfix/" not in path and "/tls/" not in path}
    assert secret <= {name + side for name in may_read for side in ("", "-wal", "-shm")}
    assert not any(path.endswith("key.pem") for path in readable)
    # The folder cannot be listed, so its files are tried by name.
    paths = [
        str(lab.root / "lookups" / f"{n}.db{side}")
        for n in ("postfix", "dovecot")
        for side in ("", "-wal", "-shm")
    ]
    paths += [str(lab.root / "state" / "directory.db"), str(lab.root / "postmaster.password")]
    found = set(as_user(user, _FILES, *paths).split("\n")) - {""}
    expected = {f"rb {p}" for p in paths if p.rpartition("/")[2].partition("-")[0] in may_read}
    assert found == expected


def test_postfix_reads_no_hash_and_dovecot_no_alias(lab: Lab, domain: str) -> None:
    with lab.change() as make:
        make.user(f"amy@{domain}", password_hash=password_hash())
        make.alias(f"secret-list@{domain}", f"amy@{domain}", "someone@elsewhere.test")
    dump = (
        "database = sqlite3.connect('file:' + sys.argv[1] + '?mode=ro', uri=True)\n"
        "print('\\n'.join(database.iterdump()))\n"
    )
    lookups = lab.root / "lookups"
    postfix = as_user("postfix", dump, str(lookups / "postfix.db"))
    dovecot = as_user("dovecot", dump, str(lookups / "dovecot.db"))
    assert "secret-list" in postfix
    assert f"amy@{domain}" in dovecot
    assert password_hash() in dovecot
    assert "argon2" not in postfix.lower()
    assert "secret-list" not in dovecot
    assert "someone" not in dovecot
    files = [lookups / f"postfix.db{side}" for side in ("", "-wal")]
    raw = b"".join(file.read_bytes() for file in files)
    assert b"$argon2" not in raw
