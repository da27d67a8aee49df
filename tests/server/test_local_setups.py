"""What is said of aliases, include files and forward files in many set-ups is what the real local(8) does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from postmaster.address import parse_address
from postmaster.routing import hops
from postmaster.routing.explain import explain
from postmaster.routing.hops import Explanation
from tests.tools.local_mail import FIRST, HOST, SECOND, deliver, ends, forward, local_mail
from tests.tools.mail import Lab
from tests.tools.sink import listening

from .conftest import configured


@dataclass(frozen=True)
class Setup:
    """`DIR` is the folder of the forward files, where other files stand too."""

    aliases: str = ""
    forwards: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    asked: tuple[str, ...] = ("start",)


#: Each leads to the two of the next row: without an eye for what was there before, a million ways.
ROWS = "".join(f"a{n}: a{n + 1}, b{n + 1}\nb{n}: a{n + 1}, b{n + 1}\n" for n in range(20))

SETUPS = {
    "a_million_ways": Setup(f"start: a0, b0\n{ROWS}a20: games\nb20: news, x@elsewhere.test"),
    "missing_include": Setup("start: :include:DIR/nowhere"),
    "open_include": Setup("start: :include:DIR/open", files={"open": f"{FIRST}\n"}),
    "relative_include": Setup("start: :include:open", files={"open": f"{FIRST}\n"}),
    "empty_include": Setup("start: :include:DIR/list", files={"list": "# nobody\n"}),
    "nested_include": Setup(
        "start: :include:DIR/list\ninner: second\nsecond: " + SECOND,
        files={
            "list": f":include:DIR/deeper\n{FIRST}\n",
            "deeper": "inner\nx@elsewhere.test\nroot%elsewhere.test\n",
        },
    ),
    "include_in_a_circle": Setup("start: :include:DIR/list", files={"list": f"{FIRST}\n:include:DIR/list\n"}),
    "command_in_include": Setup("start: :include:DIR/list", files={"list": '"|/bin/true"\n/dev/null\n'}),
    "owner_of_a_nested_alias": Setup(f"start: inner, {SECOND}\ninner: {FIRST}\nowner-start: {SECOND}"),
    "owner_expanded": Setup(
        "start: games\nowner-start: x@elsewhere.test",
        {"games": "list\n"},
        parameters={"expand_owner_alias": "yes"},
    ),
    "owner_and_its_own_name": Setup(f"{FIRST}: {FIRST}, {SECOND}\nowner-{FIRST}: {SECOND}", asked=(FIRST,)),
    "forward_to_an_alias_of_oneself": Setup(
        f"start: {FIRST}", {FIRST: "start\nx@elsewhere.test\n"}, asked=("start", FIRST)
    ),
    "forward_with_an_alias_of_the_same_name": Setup(
        f"{FIRST}: {SECOND}", {SECOND: f"{FIRST}, {SECOND}\n"}, asked=(FIRST, SECOND)
    ),
    "circle_of_forwards_behind_an_alias": Setup(
        f"start: {FIRST}", {FIRST: f"{SECOND}\n", SECOND: f"{FIRST}\n"}
    ),
    "circle_of_forwards_and_owners": Setup(f"start: {FIRST}\nowner-start: root", {FIRST: "start\n"}),
    "home": Setup("start: ~/box", {FIRST: "~/box\n", SECOND: f"~{FIRST}\n"}, asked=("start", SECOND)),
    "extension_files": Setup(
        f"start: {FIRST}",
        {f"{FIRST}+x": f"{SECOND}\n", SECOND: "y@elsewhere.test\n"},
        parameters={"propagate_unmatched_extensions": "alias, forward, include"},
        asked=("start+x", "start+y", f"{SECOND}+z", f"{SECOND}+a/b"),
    ),
    "two_delimiters": Setup(
        f"start: inner, x@elsewhere.test\ninner: {SECOND}\nlisted: :include:DIR/list",
        {f"{SECOND}-q": "y@elsewhere.test\n"},
        files={"list": "z@elsewhere.test\n"},
        parameters={"recipient_delimiter": "+-", "propagate_unmatched_extensions": "alias, forward, include"},
        asked=("start-q", "start+q", f"{SECOND}-q", f"{SECOND}-p", "listed-q"),
    ),
    "luser_relay": Setup(
        parameters={
            "luser_relay": "$user.${extension?ext.$extension}.$domain@elsewhere.test",
            "local_recipient_maps": "",
        },
        asked=("nobody", "nobody+x"),
    ),
    "luser_relay_here": Setup(
        f"lost: {FIRST}",
        parameters={"luser_relay": "lost", "local_recipient_maps": ""},
        asked=("nobody", "nobody+x"),
    ),
    "luser_relay_to_nobody": Setup(
        parameters={"luser_relay": "nowhere", "local_recipient_maps": ""}, asked=("nobody",)
    ),
    "luser_relay_is_no_command": Setup(
        parameters={"luser_relay": "|/bin/true", "local_recipient_maps": ""}, asked=("nobody",)
    ),
    "reserved_names": Setup(asked=("mailer-daemon", "double-bounce")),
    "fallback": Setup(
        parameters={
            "fallback_transport_maps": "inline:{known=discard:}",
            "fallback_transport": "error:5.1.1 really nobody",
            "local_recipient_maps": "",
        },
        asked=("known", "other"),
    ),
    "mailbox_transport": Setup(
        parameters={
            "mailbox_transport_maps": f"inline:{{{FIRST}=discard: new=discard:}}",
            "local_recipient_maps": "",
        },
        asked=(FIRST, SECOND, "new", "other"),
    ),
    "mailbox_command": Setup(
        parameters={"mailbox_command_maps": f"inline:{{{FIRST}=/bin/true}}"}, asked=(FIRST, SECOND)
    ),
    "transport_of_one": Setup(
        f"start: {FIRST}, {SECOND}", parameters={"transport_maps": f"inline:{{{FIRST}@{HOST}=discard:}}"}
    ),
    "virtual_alias_of_a_local_name": Setup(
        f"start: {FIRST}\nlist: {FIRST}\nowner-list: root",
        {SECOND: f"{FIRST}\n"},
        parameters={"virtual_alias_maps": f"inline:{{{FIRST}@{HOST}=x@elsewhere.test}}"},
        asked=("start", "list", SECOND, FIRST),
    ),
}

KINDS = {
    hops.LOCAL_MAILBOX: "mailbox",
    hops.COMMAND: "command",
    hops.FILE: "file",
    hops.EXTERNAL: "left",
    hops.TRANSPORT: "left",
    hops.DISCARDED: "discarded",
    hops.NOWHERE: "bounced",
}


#: No line in the log tells of these.
SILENT = ("as above", "names nobody", "without a word", "includes itself")


def said(found: Explanation) -> set[tuple[str, str]]:
    """As `ends` has it, by the explanation."""
    result = set()
    for _, hop in found.tree.walk():
        if hop.hops or any(words in hop.reason for words in SILENT):
            continue
        kind = "command" if "mailbox_command" in hop.reason else KINDS[hop.rule]
        result.add((kind, "" if kind == "bounced" else hop.address))
    return result


@pytest.fixture(scope="module")
def house(pliable: Lab) -> Iterator[Lab]:
    """A lab with local mail. Without parameters of its own a set-up needs no reload."""
    with (
        local_mail(pliable) as parameters,
        listening(pliable.status.outbound_port),
        configured(pliable, **parameters),
    ):
        yield pliable


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=[pytest.mark.full] if SETUPS[one].parameters else []) for one in SETUPS],
)
def test_what_it_says_is_what_local_does(house: Lab, name: str) -> None:
    setup, folder = SETUPS[name], house.root / "forwards"
    aliases = f"{setup.aliases}\nroot: postmaster@lab.test\n".replace("DIR", str(folder))
    with ExitStack() as stack:
        stack.enter_context(local_mail(house, aliases))
        for user, text in setup.forwards.items():
            forward(house, user, text)
        for file, text in setup.files.items():
            (folder / file).write_text(text.replace("DIR", str(folder)))
            (folder / file).chmod(0o666 if file == "open" else 0o644)
        if setup.parameters:
            stack.enter_context(configured(house, **setup.parameters))
        addresses = [f"{one}@{HOST}" for one in setup.asked]
        logs = {address: deliver(house, address) for address in addresses}
        found = {address: explain(house.settings, parse_address(address)) for address in addresses}
    assert {one: said(explained) for one, explained in found.items()} == {
        address: ends(log) for address, log in logs.items()
    }
    for address, explained in found.items():
        for _, hop in explained.tree.walk():
            assert hop.sender is None or f"from=<{hop.sender}>" in logs[address]
    assert [one.differences for one in found.values()] == [()] * len(addresses)
