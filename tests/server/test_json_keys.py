"""The JSON of setup, lab, queue and health on running servers has the keys that docs/conventions.md has."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postmaster.lab import base, lifecycle
from postmaster.lab.layout import Layout
from postmaster.postfix import maps, postconf
from postmaster.process import run
from tests.tools.documented import json_keys, key_paths
from tests.tools.mail import PATIENCE, Lab

from .conftest import configured, start_lab


def ask(lab: Lab, *words: str, expect: int = 0) -> Any:
    return json.loads(lab.postmaster(*words, "-o", "json", expect=expect).stdout)


@pytest.fixture
def own(place: Callable[[], Path]) -> Lab:
    """A lab whose configuration may be changed."""
    return start_lab(place())


def test_of_setup_and_lab(own: Lab) -> None:
    shown = ask(own, "setup", "show")
    assert set(shown) == json_keys("setup show")
    other = ("--postmaster", "someone@lab.test")
    with own.change() as make:
        make.user("someone@lab.test")
    for words in (("setup", "diff", *other), ("setup", "apply", "--dry-run", *other)):
        rows = ask(own, *words, expect=4 if "diff" in words else 0)
        assert rows
        assert all(key_paths(row) == json_keys("setup diff") for row in rows)
    assert key_paths(ask(own, "setup", "apply", *other, "--yes")) == json_keys("setup apply")
    assert key_paths(ask(own, "setup", "revert", "--yes")) == json_keys("setup revert")
    directory = own.settings.postfix.config_directory
    postconf.set_values(directory, {"mydestination": "lab.test"})
    assert key_paths(ask(own, "setup", "check", expect=4)) == json_keys("setup check")
    assert key_paths(ask(own, "lab", "status", str(own.root))) == json_keys("lab")
    assert key_paths(ask(own, "lab", "stop", str(own.root))) == json_keys("lab")
    assert set(ask(own, "lab", "remove", str(own.root), "--yes")) == {"directory", "removed"}
    with pytest.raises(Exception, match="is no lab"):
        lifecycle.status(own.root)


def test_of_explaining_with_everything_in_it(pliable: Lab) -> None:
    """A running server that differs, a problem, a grant: no list is empty, so each key shows."""
    name = "json-keys.test"
    with pliable.change() as make:
        make.domain(name)
        make.user(f"amy@{name}")
        make.user(f"bob@{name}")
        make.alias(f"team@{name}", f"amy@{name}")
        make.switch(f"amy@{name}", receive=False)
    directory = pliable.settings.postfix.config_directory
    assert key_paths(ask(pliable, "sender", "grant", f"amy@{name}", f"team@{name}")) == json_keys("sender")
    assert [key_paths(row) for row in ask(pliable, "sender", "list")] == [json_keys("sender")]
    ask(pliable, "address", "explain", f"amy@{name}")  # from now on its daemons have the old configuration
    ask(pliable, "sender", "explain", f"amy@{name}", f"bob@{name}")
    file = maps.SENDER_OWNERS.file(directory)
    before, main = file.read_text(), (directory / "main.cf").read_bytes()
    try:
        file.write_text(
            before.replace("query = ", "query = SELECT 'x' FROM sender_login WHERE '%s' = '' OR 1 UNION ")
        )
        postconf.set_values(directory, {"virtual_transport": "smtp:[127.0.0.1]:9"})
        base.settle(Layout(pliable.root))
        found = ask(pliable, "sender", "explain", f"amy@{name}", f"team@{name}")
        assert key_paths(found) == json_keys("sender explain")
        explained = ask(pliable, "address", "explain", f"amy@{name}")
        real = {key for key in key_paths(explained) if not key.startswith("limits.")}
        assert real == json_keys("address explain")
    finally:
        file.write_text(before)
        (directory / "main.cf").write_bytes(main)
        base.settle(Layout(pliable.root))
    revoked = ask(pliable, "sender", "revoke", f"amy@{name}", f"team@{name}", "--yes")
    assert key_paths(revoked) == json_keys("sender") | {"removed"}
    rows = ask(pliable, "directory", "check", expect=4)
    assert rows
    assert all(key_paths(row) == json_keys("directory check") for row in rows)
    with pliable.change() as make:
        make.remove("alias", f"team@{name}")
        for user in (f"amy@{name}", f"bob@{name}"):
            make.remove("user", user)
        make.remove("domain", name)


def test_of_local_mail(pliable: Lab) -> None:
    directory = pliable.settings.postfix.config_directory
    table = f"hash:{directory}/json-aliases"
    with configured(pliable, reload=False, alias_maps=table, alias_database=table, mydestination="here.test"):
        made = ask(pliable, "local", "alias", "set", "root", "nobody-here")
        assert key_paths(made) == json_keys("local alias set")
        shown = ask(pliable, "local", "alias", "show", "root")
        assert key_paths(shown) == json_keys("local alias")
        assert ask(pliable, "local", "alias", "list") == [shown]
        rows = ask(pliable, "local", "alias", "check", expect=4)
        assert all(key_paths(row) == json_keys("directory check") for row in rows)
        assert key_paths(ask(pliable, "local", "forward", "show", "games")) == json_keys("local forward")
        gone = ask(pliable, "local", "alias", "remove", "root", "--yes")
        assert key_paths(gone) == (json_keys("local alias") | {"removed"}) - {"line", "fault"}


def test_of_the_queue_and_of_health(lab: Lab, domain: str) -> None:
    spool = lab.settings.postfix.config_directory
    run(
        ["sendmail", "-C", str(spool), "-f", f"amy@{domain}", "bob@elsewhere.test"],
        stdin="Subject: hello\n\nHello.\n",
    )
    begun, mine = time.monotonic(), None
    while mine is None and time.monotonic() - begun < PATIENCE:
        rows = ask(lab, "queue", "list")
        mine = next(
            (r for r in rows if r["sender"] == f"amy@{domain}" and r["queue_name"] == "deferred"), None
        )
        time.sleep(0.1)
    assert mine is not None
    try:
        assert key_paths(mine) == json_keys("queue")
        ask(lab, "queue", "hold", mine["queue_id"], "--yes")
        ask(lab, "queue", "release", mine["queue_id"], "--yes")
        shown = ask(lab, "queue", "show", mine["queue_id"], "--body")
        promised = json_keys("queue") | json_keys("queue show")
        real = {key for key in key_paths(shown) if not key.startswith("attributes.")}
        assert real <= promised
        assert {key.partition("[")[0] for key in promised - real} <= {"recipients_finished"}  # it has none
        acted = ask(lab, "queue", "flush", mine["queue_id"], "--wait", "1")
        named = ("counts.", "plan.queues.", "plan.instances.")  # by what there is
        real = {key for key in key_paths(acted) if not key.startswith(named)}
        assert real == json_keys("queue flush, hold, release, requeue, bounce, delete, redirect")
        assert key_paths(ask(lab, "health", "check", "services", "queue")) == json_keys("health")
    finally:
        run(["postsuper", "-c", str(spool), "-d", mine["queue_id"]])
