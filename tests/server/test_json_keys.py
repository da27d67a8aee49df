"""The JSON of setup, lab, queue and health on running servers has the keys that docs/conventions.md has."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postmaster.lab import lifecycle
from postmaster.postfix import postconf
from postmaster.process import run
from tests.tools.documented import json_keys, key_paths
from tests.tools.mail import PATIENCE, Lab

from .conftest import start_lab


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
