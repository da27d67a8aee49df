"""Explaining an address in set-ups that are not the directory's own says what Postfix does there.

Each set-up is a main.cf as administrators have it, with tables of their own; what is said of each address is
held against Postfix's reply and the recipients in its queue file, and against its rewrite service.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from postmaster.postfix import postconf
from postmaster.process import run
from postmaster.routing.explain import Explainer
from postmaster.routing.server import open_server
from tests.tools.mail import Lab

from .conftest import configured
from .test_explain import HOLDING, what_postfix_does

LOCAL = "here.test"


@dataclass(frozen=True)
class Setup:
    addresses: tuple[str, ...]
    parameters: dict[str, str] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)


SETUPS = {
    "relay_domains": Setup(
        (
            "x@relayed.test",
            "known@relayed.test",
            "known+tag@relayed.test",
            "x@below.relayed.test",
            "any@listed.test",
            "x@sub.listed.test",
        ),
        {
            "relay_domains": "relayed.test, hash:DIR/listed",
            "relay_recipient_maps": "hash:DIR/known",
            "relay_transport": "smtp:[127.0.0.5]",
        },
        {"listed": "listed.test x\n", "known": "known@relayed.test x\n@listed.test x\n"},
    ),
    "transports": Setup(
        (
            "x@a.test",
            "x@b.a.test",
            "x@c.b.a.test",
            "user@d.test",
            "user+e@d.test",
            "User@D.test",
            "other@d.test",
            "x@nothing.test",
            "amy@set.test",
            "bob@set.test",
            "x@gone.test",
            "root@here.test",
        ),
        {"transport_maps": "regexp:DIR/patterns, hash:DIR/routes"},
        {
            "routes": "a.test smtp:[127.0.0.9]:26\n.a.test :[127.0.0.8]\nuser@d.test error:5.1.2 gone\n"
            "amy@set.test smtp:[127.0.0.3]\nbob@set.test :\ngone.test discard:\n"
            "* relay:[127.0.0.4]\nhere.test lmtp:[127.0.0.1]:99\n",
            "patterns": "/^user@d\\.test$/ retry:later\n/^@/ discard:\n/^a\\.test$/ discard:\n",
        },
    ),
    "two_delimiters": Setup(
        (
            "amy+x@set.test",
            "amy-x@set.test",
            "amy-x+y@set.test",
            "amy+x-y@set.test",
            "team-x@set.test",
            "team+x@set.test",
            "own-x@foreign.test",
            "own+x@foreign.test",
            "owner-own@foreign.test",
            "own-request@foreign.test",
            "any-x@catch.test",
            "any+x@catch.testfwd-x@set.test",
            "fwd+x@set.test",
            "postmaster-x@foreign.test",
            "any-x@twin.test",
        ),
        {
            "recipient_delimiter": "+-",
            "virtual_alias_domains": "foreign.test {virtual_alias_domains}",
            "virtual_alias_maps": "{virtual_alias_maps} hash:DIR/foreign",
            "propagate_unmatched_extensions": "canonical virtual",
        },
        {
            "foreign": "own@foreign.test a@elsewhere.test, amy@set.test\n"
            "owner-own@foreign.test b@elsewhere.test\n"
            "request@foreign.test no@elsewhere.test\nowner@foreign.test no@elsewhere.test\n"
            "postmaster@foreign.test amy@set.test\n"
        },
    ),
    "own_map_first": Setup(
        (
            "amy@set.test",
            "amy+x@set.test",
            "bob@set.test",
            "new@set.test",
            "team@set.test",
            "any@catch.test",
            "own@catch.test",
            "nobody@set.test",
        ),
        {"virtual_alias_maps": "regexp:DIR/patterns hash:DIR/first {virtual_alias_maps}"},
        {
            "first": "amy@set.test away@elsewhere.test\nnew@set.test team@set.test\n"
            "@catch.test bob@set.test\n",
            "patterns": "/^bob@set\\.test$/ pattern@elsewhere.test\n"
            "/^@set\\.test$/ swallowed@elsewhere.test\n/^(.*)@catch\\.test$/ $1@SET.test\n",
        },
    ),
    "canonical": Setup(
        (
            "old@set.test",
            "old+x@set.test",
            "amy@old.test",
            "a@chain.test",
            "round@set.test",
            "nobody@old.test",
            "x@away.test",
        ),
        {"canonical_maps": "hash:DIR/canonical", "recipient_canonical_maps": "hash:DIR/recipients"},
        {
            "canonical": "@old.test @set.test\nb@chain.test amy@set.test\nround@set.test amy@set.test\n",
            "recipients": "old@set.test amy@set.test\na@chain.test b@chain.test\n"
            "x@away.test one@elsewhere.test, two@elsewhere.test\n",
        },
    ),
    "copies": Setup(
        ("amy@set.test", "amy+x@set.test", "old@set.test", "any@catch.test", "bob@set.test"),
        {
            "always_bcc": "archive@elsewhere.test",
            "recipient_bcc_maps": "hash:DIR/bcc",
            "canonical_maps": "hash:DIR/canonical",
            "sender_bcc_maps": "hash:DIR/sbcc",
        },
        {
            "bcc": "amy@set.test copy@old.test\n"
            "bob@set.test one@elsewhere.test, two@elsewhere.test\nold@set.test wrong@elsewhere.test\n",
            "canonical": "old@set.test amy@set.test\n@old.test @set.test\n",
            "sbcc": "@sender.test team@set.test\n",
        },
    ),
    "two_classes": Setup(
        (
            "amy@set.test",
            "nobody@set.test",
            "any@catch.test",
            "root@catch.test",
            "x@twin.test",
            "postmaster@set.test",
        ),
        {"mydestination": "here.test, set.test, catch.test"},
    ),
    "local": Setup(
        (
            "root@here.test",
            "nobody@here.test",
            "games+x@here.test",
            "postmaster@here.test",
            "mailer-daemon@here.test",
            "double-bounce@here.test",
            "a%b@here.test",
            "amy%set.test@here.test",
            "alias@here.test",
            "alias+x@here.test",
            '"a b"@here.test',
            "virt@here.test",
            "virt+x@here.test",
            "postmaster+x@here.test",
            "elsewhere.test!x@here.test",
            "x%elsewhere.test@here.test",
            '"amy@set.test"@here.test',
            "x@[127.0.0.1]",
            "root@[127.0.0.1]",
        ),
        {
            "alias_maps": "hash:DIR/aliases",
            "local_recipient_maps": "proxy:unix:passwd.byname $alias_maps",
            "virtual_alias_maps": "{virtual_alias_maps} hash:DIR/virt",
        },
        {"aliases": "alias root\n", "virt": "virt amy@set.test\n"},
    ),
    "local_open": Setup(
        ("root@here.test", "nobody@here.test", "postmaster@here.test", "nobody+x@here.test"),
        {"local_recipient_maps": "", "luser_relay": "$local@elsewhere.test"},
    ),
    "by_sender": Setup(
        ("x@elsewhere.test", "amy@set.test", "x@relayed.test"),
        {
            "sender_dependent_default_transport_maps": "regexp:DIR/transports",
            "sender_dependent_relayhost_maps": "hash:DIR/relays",
            "relay_domains": "relayed.test",
        },
        {"transports": "/^n.@sender\\.test$/ error:5.7.1 not you\n", "relays": "@sender.test [127.0.0.6]\n"},
    ),
    "not_listed_is_taken": Setup(
        ("nobody@set.test", "amy@set.test", "nobody@here.test"),
        {"smtpd_reject_unlisted_recipient": "no"},
    ),
    "access": Setup(
        (
            "amy@set.test",
            "bob@set.test",
            "team@set.test",
            "amy+x@set.test",
            "x@sub.no.test",
            "x@no.test",
            "later@set.test",
            "maybe@set.test",
            "own@catch.test",
            "user@anywhere.test",
        ),
        {
            "smtpd_recipient_restrictions": "check_recipient_access regexp:DIR/patterns, "
            "check_recipient_access hash:DIR/access, {smtpd_recipient_restrictions}",
            "smtpd_relay_restrictions": "check_recipient_access hash:DIR/relay, {smtpd_relay_restrictions}",
        },
        {
            "access": "amy@set.test REJECT gone fishing\nbob@set.test 450 4.2.1 later\n"
            "team@set.test OK\nno.test 554 5.7.9 no\n.no.test DUNNO\n"
            "later@set.test DEFER\nmaybe@set.test DEFER_IF_REJECT\nuser@ REJECT\n",
            "relay": "own@catch.test REJECT by relay\n",
            "patterns": "/^set\\.test$/ REJECT never asked\n",
        },
    ),
    "smtputf8": Setup(
        ("amy@xn--bcher-kva.test", "any@xn--bcher-kva.test"),
        {"smtputf8_enable": "yes"},
    ),
    "low_limits": Setup(
        ("team@set.test", "fwd@set.test", "deep@set.test", "any@catch.test"),
        {"virtual_alias_expansion_limit": "1", "virtual_alias_recursion_limit": "1"},
    ),
    "address_length": Setup(
        ("fwd@set.test", "team@set.test"),
        {"virtual_alias_address_length_limit": "10"},
    ),
}


#: Run each time; the others say the same as ever.
OFTEN = ("transports", "own_map_first", "copies", "two_classes", "local", "access")


@pytest.fixture(scope="module")
def filled(pliable: Lab) -> Lab:
    with pliable.change() as make:
        for name in ("set.test", "catch.test", "bücher.test"):
            make.domain(name)
        for name in ("amy@set.test", "bob@set.test", "fwd@set.test", "own@catch.test", "amy@bücher.test"):
            make.user(name)
        make.alias("team@set.test", "amy@set.test", "bob@set.test")
        make.alias("deep@set.test", "team@set.test")
        make.forward("fwd@set.test", "x@elsewhere.test", keep_copy=True)
        make.alias("@catch.test", "amy@set.test")
        make.domain("twin.test", alias_of="catch.test")
    return pliable


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[] if one in OFTEN else [pytest.mark.full]) for one in SETUPS]
)
def test_what_it_says_is_what_postfix_does(filled: Lab, name: str) -> None:
    setup = SETUPS[name]
    directory = filled.settings.postfix.config_directory
    for table, text in setup.tables.items():
        (directory / table).write_text(text)
        if f"hash:DIR/{table}" in str(setup.parameters):
            run(["postmap", "-c", str(directory), f"hash:{directory}/{table}"])
    present = {f"{{{one}}}": text for one, text in postconf.explicit(directory).items()}
    wanted: dict[str, Any] = {"mydestination": LOCAL, "myorigin": LOCAL, **HOLDING}
    for parameter, text in setup.parameters.items():
        wanted[parameter] = text.replace("DIR", str(directory))
        for mark, before in present.items():
            wanted[parameter] = wanted[parameter].replace(mark, before)
    with configured(filled, **wanted):
        real = what_postfix_does(filled, list(setup.addresses))
        said, different = {}, set()
        with open_server(filled.settings) as server:
            explainer = Explainer(server, None)
            for number, address in enumerate(setup.addresses):
                found = explainer.explain(address, f"n{number}@sender.test")
                code = found.verdict.code
                if code == 250 and found.problems and not found.recipients:
                    code = 451
                said[address] = (code, frozenset(one.lower() for one in found.recipients))
                different |= set(found.differences)
    assert {one: said[one] for one in said if said[one] != real[one]} == {
        one: real[one] for one in said if said[one] != real[one]
    }
    assert different == set()
