"""Explaining an address says what Postfix does: by its own answer at the door, and by its queue file."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from postmaster import process
from postmaster.address import parse_address
from postmaster.lab import lifecycle
from postmaster.postfix import control, postconf
from postmaster.process import run
from postmaster.routing.explain import Explainer, explain
from postmaster.routing.server import open_server
from tests.tools.directories import generate, put
from tests.tools.mail import Lab

from .conftest import configured, start_lab

AT_ONCE = 50

#: A table of the administrator's own beside the directory's: circles, extensions, a whole domain.
FOREIGN = """\
own@foreign.test            x@elsewhere.test, own2@foreign.test
own2@foreign.test           y@elsewhere.test
own2+exact@foreign.test     z@elsewhere.test
round@foreign.test          round2@foreign.test, x@elsewhere.test
round2@foreign.test         round@foreign.test
itself@foreign.test         x@elsewhere.test, itself@foreign.test
named@foreign.test          "Doe, Jane" <jane@elsewhere.test>, plain
@whole.test                 @foreign.test
@swallowed.test             own@foreign.test
"""
FOREIGN_ADDRESSES = (
    "own@foreign.test",
    "own+tag@foreign.test",
    "own2+exact@foreign.test",
    "round@foreign.test",
    "itself@foreign.test",
    "named@foreign.test",
    "own2+tag@whole.test",
    "nobody@whole.test",
    "any+tag@swallowed.test",
)

#: Every message is held, and no client is slowed down.
HOLDING: dict[str, Any] = {
    "smtpd_data_restrictions": "check_client_access static:HOLD",
    "mynetworks": "127.0.0.0/8",
    "in_flow_delay": "0",  # held messages never leave, and a second would pass before each
    "smtpd_error_sleep_time": "0",
    "smtpd_hard_error_limit": "100000",
    "smtpd_soft_error_limit": "100000",
    "smtpd_junk_command_limit": "100000",
}

_numbers = count(1)


@pytest.fixture
def domain_of(pliable: Lab) -> str:
    name = f"e{next(_numbers)}.test"
    with pliable.change() as make:
        make.domain(name)
    return name


@pytest.fixture
def house(pliable: Lab) -> Iterator[Lab]:
    """A lab that holds every message, with a table of its administrator's own."""
    directory = pliable.settings.postfix.config_directory
    (directory / "foreign").write_text(FOREIGN)
    run(["postmap", "-c", str(directory), f"hash:{directory}/foreign"])
    present = postconf.explicit(directory)
    with configured(
        pliable,
        virtual_alias_maps=f"{present['virtual_alias_maps']}, hash:{directory}/foreign",
        virtual_alias_domains=f"{present['virtual_alias_domains']}, foreign.test, whole.test, swallowed.test",
        # Low, so that going round in circles up to them takes no time, and chance meets them.
        virtual_alias_expansion_limit="12",
        virtual_alias_recursion_limit="8",
        **HOLDING,
    ):
        yield pliable


def what_postfix_does(lab: Lab, addresses: list[str]) -> dict[str, tuple[int, frozenset[str]]]:
    """Address -> (reply, the recipients in the queue file), by sending a message to each."""
    replies: dict[str, int] = {}
    with lab.smtp() as client:
        for number, address in enumerate(addresses):
            client.mail(f"n{number}@sender.test")
            code, _ = client.rcpt(address)
            if code == 250:
                code, _ = client.data("Subject: x\r\n\r\nHello.\r\n")
            replies[address] = code
            client.rset()
    directory = str(lab.settings.postfix.config_directory)
    held: dict[str, frozenset[str]] = {}
    for line in run(["postqueue", "-c", directory, "-j"]).stdout.splitlines():
        message = json.loads(line)
        if message["queue_name"] == "hold":
            held[message["sender"]] = frozenset(r["address"].lower() for r in message["recipients"])
    run(["postsuper", "-c", directory, "-d", "ALL", "hold"])
    return {
        address: (replies[address], held.get(f"n{number}@sender.test", frozenset()))
        for number, address in enumerate(addresses)
    }


_ALL = (pytest.mark.full, pytest.mark.timeout(900))


@pytest.mark.parametrize(
    ("directories", "most"),
    [
        pytest.param(100, 3, id="three_of_each"),
        pytest.param(300, 1000, id="every_address", marks=_ALL),
    ],
)
def test_what_it_says_of_generated_directories_is_what_postfix_does(
    house: Lab, directories: int, most: int
) -> None:
    asked = loops = 0
    with house.change() as make:
        for start in range(0, directories, AT_ONCE):
            many = [generate(number, FOREIGN_ADDRESSES) for number in range(start, start + AT_ONCE)]
            put(make.directory, many)
            addresses = [
                address
                for one in many
                for address in random.Random(one.asked[0]).sample(one.asked, min(most, len(one.asked)))
            ]
            addresses = list(dict.fromkeys([*addresses, *FOREIGN_ADDRESSES]))
            real = what_postfix_does(house, addresses)
            with open_server(house.settings) as server, make.directory.read() as truth:
                explainer = Explainer(server, truth)
                directory = house.settings.postfix.config_directory
                server.addressing.prepare(f"hash:{directory}/foreign", {a for one in many for a in one.asked})
                said = {}
                for address in addresses:
                    found = explainer.explain(address, live=False)
                    code = found.verdict.code
                    if code == 250 and found.problems and not found.recipients:
                        code = 451
                    recipients = frozenset(one.lower() for one in found.recipients)
                    said[address] = (code, recipients)
                    loops += any(problem.code == "loop" for problem in found.problems)
                assert server.tables.differences() == []
            wrong = {one: (real[one], said[one]) for one in addresses if real[one] != said[one]}
            assert not wrong, dict(list(wrong.items())[:5])
            asked += len(addresses)
    assert asked > min(most, 15) * directories * 0.8
    assert loops > asked / 25


def test_a_running_server_that_says_otherwise_is_shown(pliable: Lab, domain_of: str) -> None:
    """Proxymap goes on serving a file that was replaced until it ends; the configuration is read anew."""
    with pliable.change() as make:
        make.user(f"amy@{domain_of}")
    directory = pliable.settings.postfix.config_directory
    amy = parse_address(f"amy@{domain_of}")
    assert explain(pliable.settings, amy).differences == ()
    before = (directory / "main.cf").read_bytes()
    try:
        postconf.set_values(directory, {"virtual_transport": "smtp:[127.0.0.1]:9"})  # and no reload
        found = explain(pliable.settings, amy)
    finally:
        (directory / "main.cf").write_bytes(before)
        control.reload(directory)
    assert [(one.read, one.live) for one in found.differences] == [
        ("virtual_mailbox, smtp to [127.0.0.1]:9", "virtual_mailbox, lmtp to unix:private/dovecot-lmtp")
    ]
    assert found.asked_live == ("tables", "rewrite")


def test_transports_and_next_hops_are_what_the_rewrite_service_says(pliable: Lab, domain_of: str) -> None:
    directory = pliable.settings.postfix.config_directory
    (directory / "routes").write_text(
        "relayed.test smtp:[127.0.0.9]:26\n.sub.test :[127.0.0.8]\nuser@exact.test discard:\n"
        "gone.test error:5.1.2 gone\nuser+ext@exact.test retry:later\n"
    )
    (directory / "by_sender").write_text("boss@own.test [127.0.0.7]:27\n@other.test DUNNO\n")
    (directory / "moved").write_text(f"moved@{domain_of} new@elsewhere.test\n")
    for name in ("routes", "by_sender", "moved"):
        run(["postmap", "-c", str(directory), f"hash:{directory}/{name}"])
    addresses = [
        *("x@relayed.test", "x@a.sub.test", "x@sub.test", "user@exact.test", "user+ext@exact.test"),
        *("user+other@exact.test", "x@gone.test", f"amy@{domain_of}", f"moved@{domain_of}", "root@here.test"),
        *("x@backup.test", "x@below.backup.test", "x@elsewhere.test", "x@[127.0.0.1]"),
    ]
    with configured(
        pliable,
        transport_maps=f"hash:{directory}/routes",
        sender_dependent_relayhost_maps=f"hash:{directory}/by_sender",
        relocated_maps=f"hash:{directory}/moved",
        relay_domains="backup.test",
        mydestination="here.test, $myhostname",
    ):
        with open_server(pliable.settings) as server:
            for sender in ("", "boss@own.test", "x@other.test", "x@plain.test"):
                explainer = Explainer(server, None)
                for address in addresses:
                    found = explainer.explain(address, sender, live=False)
                    assert found.differences == (), (address, sender)
        assert server.rewriter is not None
        assert server.rewriter.answers >= 4 * 10


def test_with_postfix_down_it_says_what_the_configuration_says(
    place: Callable[[], Path], tmp_path: Path
) -> None:
    lab = start_lab(place())
    with lab.change() as make:
        make.domain("down.test")
        make.user("amy@down.test")
        make.forward("amy@down.test", "x@elsewhere.test")
    running = explain(lab.settings, parse_address("amy@down.test"))
    lifecycle.stop(lab.root)
    try:
        stopped = explain(lab.settings, parse_address("amy@down.test"))
        assert stopped.recipients == running.recipients == ("x@elsewhere.test", "amy@down.test")
        assert stopped.asked_live == ()
        assert "Postfix does not run" in stopped.notes[0]
        # Servers could not read them without their side files: they must still be there.
        for name in ("postfix.db-wal", "postfix.db-shm"):
            assert (lab.settings.lookups.directory / name).exists()
    finally:
        lifecycle.remove(lab.root)


def test_limits_are_read_from_the_live_configuration(house: Lab) -> None:
    with house.change() as make:
        make.domain("limits.test")
        make.user("end@limits.test")
        for number in range(12):
            make.alias(
                f"n{number}@limits.test", f"n{number - 1}@limits.test" if number else "end@limits.test"
            )
        make.alias("wide@limits.test", *(f"x{number}@elsewhere.test" for number in range(13)))
    asked = ["n6@limits.test", "n7@limits.test", "n11@limits.test", "wide@limits.test"]
    real = what_postfix_does(house, asked)
    for address in asked:
        found = explain(house.settings, parse_address(address))
        assert found.limits["virtual_alias_expansion_limit"] == 12
        assert [one.code for one in found.problems] == ([] if real[address][0] == 250 else ["limit"])
    assert {real[address][0] for address in asked} == {250, 451}


HOSTILE = (
    '"quo ted"@{}',
    '"quo\\"ted"@{}',
    '"a@b"@{}',
    '"a+b c"@{}',
    '"amy"@{}',
    "a%b@{}",
    "a!b@{}",
    "amy+@{}",
    "+amy@{}",
    "o'neil+'x@{}",
    '"amy\'; DROP TABLE address; --"@{}',
    '"%s%u%d"@{}',
    "postmaster+x@{}",
    "mailer-daemon+x@{}",
    '""@{}',
    "a..b@{}",
    "amy@sub.{}",
    "amy@{}.",
    "{}@{}",
)


def test_hostile_addresses_go_where_postfix_sends_them(house: Lab, domain_of: str) -> None:
    """With a catch-all, so that nearly everything is taken and shows where it goes."""
    with house.change() as make:
        for user in ("amy", "o'neil", "postmaster"):
            make.user(f"{user}@{domain_of}")
        make.alias(f"@{domain_of}", f"amy@{domain_of}")
    addresses = [one.format(domain_of, domain_of) for one in HOSTILE]
    real = what_postfix_does(house, addresses)
    with open_server(house.settings) as server:
        explainer = Explainer(server, None)
        said = {}
        for address in addresses:
            found = explainer.explain(address)
            assert found.differences == ()
            said[address] = (found.verdict.code, frozenset(one.lower() for one in found.recipients))
    asked = [address for address in addresses if real[address][0] != 501]  # no address to smtpd
    assert len(asked) >= len(addresses) - 3
    assert {one: said[one] for one in asked} == {one: real[one] for one in asked}


def test_what_is_set_and_not_followed_is_told(pliable: Lab) -> None:
    directory = pliable.settings.postfix.config_directory
    before = (directory / "master.cf").read_bytes()
    amy = parse_address("amy@nötes.test")
    assert explain(pliable.settings, amy).notes == ()
    with configured(
        pliable,
        reload=False,
        content_filter="smtp:[127.0.0.1]:9",
        masquerade_domains="notes.test",
        masquerade_classes="envelope_recipient",
        receive_override_options="no_address_mappings",
        smtputf8_enable="yes",
    ):
        try:
            run(["postconf", "-c", str(directory), "-P", "cleanup/unix/virtual_alias_maps=hash:/other"])
            notes = explain(pliable.settings, amy).notes
        finally:
            (directory / "master.cf").write_bytes(before)
    expected = (
        "as nötes.test",
        "content_filter",
        "masquerade_domains",
        "no_address_mappings",
        "cleanup/unix",
    )
    for words, note in zip(expected, notes, strict=True):
        assert words in note


def test_the_number_of_programs_does_not_grow_with_targets(house: Lab) -> None:
    """Each table that is no SQLite file is asked by a program, and that once for all that stand together."""
    names = {count: f"wide{count}@wide.test" for count in (2, 11)}
    with house.change() as make:
        make.domain("wide.test")
        for count, name in names.items():
            make.alias(name, *(f"x{number}@foreign.test" for number in range(count)))
    programs: dict[int, int] = {}
    for count, name in names.items():
        seen: list[str] = []

        def observe(command: str, _outcome: str, seen: list[str] = seen) -> None:
            seen.append(command)

        process.observers.append(observe)
        try:
            assert len(explain(house.settings, parse_address(name)).recipients) == count
        finally:
            process.observers.remove(observe)
        programs[count] = len(seen)
    assert programs[2] == programs[11] < 15
