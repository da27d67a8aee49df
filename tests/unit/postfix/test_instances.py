"""What is asked of Postfix about its instances, and how its times are read."""

from __future__ import annotations

import stat
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.errors import NotFoundError, ServerError
from postmaster.postfix.instances import chosen, instances, seconds
from postmaster.postfix.postconf import expanded, value
from postmaster.process import one_reading


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5d", 432000), ("5", 432000), ("0", 0), ("300s", 300), ("2h", 7200), (" 1W ", 604800), ("m", None)],
)
def test_times_of_main_cf(text: str, expected: int | None) -> None:
    assert seconds(text) == expected


@given(st.text(max_size=10))
def test_any_time(text: str) -> None:
    found = seconds(text)
    assert found is None or found >= 0


@pytest.fixture
def postconf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in that prints the main.cf of the folder it is asked for: values no installation has."""
    program = tmp_path / "bin" / "postconf"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@" >> ' + f'{tmp_path}/asked\ncat "$2/main.cf"\n')
    program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return tmp_path


def configure(folder: Path, **values: str) -> Path:
    folder.mkdir()
    (folder / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in values.items()))
    return folder


def test_one_instance_costs_one_question(postconf: Path) -> None:
    folder = configure(
        postconf / "a",
        queue_directory="/q",
        maximal_queue_lifetime="2h",
        bounce_queue_lifetime="nonsense",
        hash_queue_names="deferred, DEFER",
        hash_queue_depth="2",
        smtputf8_enable="no",
        empty_address_recipient="NOBODY",
    )
    (one,) = instances(folder)
    assert (one.name, one.spool, one.config_directory) == ("-", Path("/q"), folder)
    assert (one.lifetime, one.bounce_lifetime) == (7200, None)
    assert (one.hashed, one.depth) == (frozenset(("deferred", "defer")), 2)
    assert (one.utf8, one.empty_address) == (False, "NOBODY")
    assert len((postconf / "asked").read_text().splitlines()) == 1


def test_the_default_instance_names_the_others(postconf: Path) -> None:
    second = configure(postconf / "b", queue_directory="/r", multi_instance_name="postfix-out")
    third = configure(postconf / "c", queue_directory="/s")
    folder = configure(postconf / "a", queue_directory="/q", multi_instance_directories=f"{second}, {third}")
    assert [(one.name, str(one.spool)) for one in instances(folder)] == [
        ("-", "/q"),
        ("postfix-out", "/r"),
        ("-", "/s"),
    ]
    assert [one.spool for one in chosen(folder, ["postfix-out"])] == [Path("/r")]
    with pytest.raises(NotFoundError, match="no Postfix instance nix"):
        chosen(folder, ["nix"])


def test_a_configuration_without_a_queue_is_refused(postconf: Path) -> None:
    with pytest.raises(ServerError, match="names no queue_directory"):
        instances(configure(postconf / "a", queue_directory=""))
    assert instances(configure(postconf / "b", queue_directory="/q", hash_queue_depth="x"))[0].depth == 1


def test_many_who_ask_at_once_cost_one_question(postconf: Path) -> None:
    """Names that Postfix does not know of are asked for apart; afterwards each asks for itself again."""
    folder = configure(postconf / "a", queue_directory="/q", mail_owner="postfix", mynetworks="127.0.0.0/8")
    asked = postconf / "asked"
    with one_reading():
        threads = [
            *(Thread(target=value, args=(folder, "mail_owner")) for _ in range(4)),
            *(Thread(target=expanded, args=(folder, ("mynetworks", "mail_owner"))) for _ in range(4)),
            Thread(target=instances, args=(folder,)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        whole = asked.read_text().splitlines().count(f"-c {folder} -x")
        assert (whole, value(folder, "mail_owner")) == (1, "postfix")
        (folder / "main.cf").write_text("mail_owner = other\n")
        assert expanded(folder, ("mail_owner",)) == {"mail_owner": "postfix"}
        assert expanded(folder, ("mail_owner", "no_such"))["no_such"] == ""
        assert asked.read_text().splitlines().count(f"-c {folder} -x no_such") == 1
    assert expanded(folder, ("mail_owner",)) == {"mail_owner": "other"}
