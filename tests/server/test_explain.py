"""Explaining an address says what Postfix does: by its own answer at the door, and by its queue file."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postmaster.lab import lifecycle
from postmaster.postfix import control, postconf
from postmaster.process import run
from postmaster.routing.explain import Explainer
from postmaster.routing.server import open_server
from tests.tools.directories import generate, put
from tests.tools.mail import Lab

from .conftest import start_lab

DIRECTORIES = 300
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


@pytest.fixture(scope="module")
def house(place: Callable[[], Path]) -> Iterator[Lab]:
    """A lab that holds every message, with a table of its administrator's own."""
    lab = start_lab(place())
    directory = lab.settings.postfix.config_directory
    (directory / "foreign").write_text(FOREIGN)
    run(["postmap", "-c", str(directory), f"hash:{directory}/foreign"])
    present = postconf.explicit(directory)
    postconf.set_values(
        directory,
        {
            "virtual_alias_maps": f"{present['virtual_alias_maps']}, hash:{directory}/foreign",
            "virtual_alias_domains": f"{present['virtual_alias_domains']}, foreign.test, whole.test, "
            "swallowed.test",
            "smtpd_data_restrictions": "check_client_access static:HOLD",
            "mynetworks": "127.0.0.0/8",
            # Low, so that going round in circles up to them takes no time, and chance meets them.
            "virtual_alias_expansion_limit": "12",
            "virtual_alias_recursion_limit": "8",
            "smtpd_error_sleep_time": "0",
            "in_flow_delay": "0",  # held messages never leave, and a second would pass before each
            "smtpd_hard_error_limit": "100000",
            "smtpd_soft_error_limit": "100000",
            "smtpd_junk_command_limit": "100000",
        },
    )
    control.reload(directory)
    yield lab
    lifecycle.remove(lab.root)


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


@pytest.mark.parametrize(
    "most",
    [pytest.param(5, id="five_of_each"), pytest.param(1000, id="every_address", marks=pytest.mark.full)],
)
def test_what_it_says_of_generated_directories_is_what_postfix_does(house: Lab, most: int) -> None:
    asked = loops = 0
    with house.change() as make:
        for start in range(0, DIRECTORIES, AT_ONCE):
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
    assert asked > min(most, 15) * DIRECTORIES * 0.8
    assert loops > asked / 20
