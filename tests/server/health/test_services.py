"""Services: each fault is made on a lab, found, and gone when it ends."""

from __future__ import annotations

import socketserver
import threading
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest

from postmaster.dovecot import doveadm
from postmaster.health.finding import Severity
from postmaster.health.run import choose, run
from postmaster.lab.layout import pick_ports
from postmaster.settings import Settings
from postmaster.setup.apply import write
from postmaster.setup.options import SetupOptions
from postmaster.setup.plan import make_plan
from postmaster.setup.prove import greet
from tests.tools.mail import Lab
from tests.tools.proxy import in_front_of

from .conftest import faulty
from .faults import dovecot_stopped, dovecot_with, postfix_stopped, postfix_with, reload_dovecot

SERVICES = ["services"]


def with_port(settings: Settings, name: str, port: int, **health: float) -> Settings:
    server = replace(settings.server, **{f"{name}_port": port})  # type: ignore[arg-type]
    return replace(settings, server=server, health=replace(settings.health, **health))  # type: ignore[arg-type]


def test_dovecot_stopped(sick: Lab) -> None:
    # A submission process that begins now finds nobody to check passwords with, and ends.
    others = [f"services/{name}/service-down" for name in ("imaps", "pop3", "pop3s", "lmtp", "submission*")]
    fault = dovecot_stopped(sick)
    with faulty(sick.settings, SERVICES, "service-down", "imap", fault, allowed=others) as found:
        assert str(sick.port("imap")) in found.message


def test_postfix_stopped(sick: Lab) -> None:
    others = ["services/submission*/service-down"]
    fault = postfix_stopped(sick)
    with faulty(sick.settings, SERVICES, "service-down", "smtp", fault, allowed=others) as found:
        assert found.remedy == "is it running? postfix status"


@pytest.mark.parametrize("name", ["smtp", "imaps"])
def test_all_checks_of_a_run_ask_a_listener_once(sick: Lab, name: str) -> None:
    """Each connection has the servers start a process."""
    with in_front_of(sick.port(name)) as proxy:
        settings = with_port(sick.settings, name, proxy.port)
        found = run(settings, choose(["services", "certificates"], []))
        of_it = [(one.check, one.code) for one in found if one.object == name]
        assert of_it == [("services", "ok"), ("certificates", "ok")]
        assert proxy.clients == 1


def test_a_slow_server(sick: Lab) -> None:
    with in_front_of(sick.port("imap")) as proxy:
        settings = with_port(sick.settings, "imap", proxy.port, answer_warning=1.5, answer_critical=30.0)
        slow = proxy.being(delay=1.7)
        with faulty(settings, SERVICES, "service-slow", "imap", slow, severity=Severity.warning) as found:
            assert found.measures[0].value > 1.5


@pytest.mark.full
def test_a_server_that_is_far_too_slow(sick: Lab) -> None:
    with in_front_of(sick.port("imap")) as proxy:
        settings = with_port(sick.settings, "imap", proxy.port, answer_warning=1.0, answer_critical=1.5)
        with faulty(settings, SERVICES, "service-slow", "imap", proxy.being(delay=1.7)):
            pass


def test_a_server_that_accepts_and_says_nothing_costs_itself_alone(sick: Lab) -> None:
    with in_front_of(sick.port("submission")) as proxy:
        settings = with_port(sick.settings, "submission", proxy.port, deadline=3.0)
        with faulty(settings, SERVICES, "service-silent", "submission", proxy.being(silent=True)) as found:
            assert "says nothing" in found.message


@pytest.mark.parametrize("words", [b"554 no service\r\n", b"\x1b[31m\xff\r\n"])
def test_a_wrong_greeting(sick: Lab, words: bytes) -> None:
    with in_front_of(sick.port("smtp")) as proxy:
        settings = with_port(sick.settings, "smtp", proxy.port)
        wrong = proxy.being(greeting=words)
        with faulty(settings, SERVICES, "service-greeting", "smtp", wrong) as found:
            assert "\x1b" not in found.message


@pytest.mark.full
def test_a_greeting_without_an_end(sick: Lab) -> None:
    with in_front_of(sick.port("smtp")) as proxy:
        settings = with_port(sick.settings, "smtp", proxy.port)
        with faulty(
            settings, SERVICES, "service-greeting", "smtp", proxy.being(greeting=b"220-x\r\n" * 9000)
        ):
            pass


def test_everybody_may_relay(sick: Lab) -> None:
    fault = postfix_with(sick, "mynetworks = 127.0.0.1, 0.0.0.0/0")
    with faulty(sick.settings, SERVICES, "open-relay", "smtp relay", fault) as found:
        assert "mynetworks has everybody" in found.message


@pytest.mark.full
def test_a_network_of_a_whole_provider_may_relay(sick: Lab) -> None:
    fault = postfix_with(sick, "mynetworks = 127.0.0.1, 91.0.0.0/10")
    warning = Severity.warning
    with faulty(sick.settings, SERVICES, "networks-wide", "mynetworks", fault, severity=warning) as found:
        assert "91.0.0.0/10" in found.message


@pytest.mark.full
def test_a_table_lets_everybody_relay(sick: Lab) -> None:
    table = sick.root / "postfix" / "recipients"
    table.write_text("/./ OK\n")
    rule = f"smtpd_relay_restrictions = check_recipient_access regexp:{table}, reject_unauth_destination"
    with faulty(sick.settings, SERVICES, "open-relay", "smtp relay", postfix_with(sick, rule)) as found:
        assert "check_recipient_access regexp:" in found.message


class _Policy(socketserver.StreamRequestHandler):
    """A policy service that lets everybody do everything."""

    def handle(self) -> None:
        while line := self.rfile.readline(1024):
            if line == b"\n":
                self.wfile.write(b"action=permit\n\n")


def test_what_cannot_be_judged_is_unknown_until_it_is_asked(sick: Lab) -> None:
    """What a policy service says is not guessed, but asked where Postfix lets us speak for an outsider."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Policy) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            service = f"check_policy_service inet:127.0.0.1:{server.server_address[1]}"
            rule = f"smtpd_relay_restrictions = {service}, reject_unauth_destination"
            fault, unknown = postfix_with(sick, rule), Severity.unknown
            with faulty(
                sick.settings, SERVICES, "relay-unknown", "smtp relay", fault, severity=unknown
            ) as found:
                assert found.remedy is not None
                assert "smtpd_authorized_xclient_hosts" in found.remedy
            fault = postfix_with(sick, rule, "smtpd_authorized_xclient_hosts = 127.0.0.1")
            with faulty(sick.settings, SERVICES, "open-relay", "smtp relay", fault) as found:
                assert "got '250" in found.message
        finally:
            server.shutdown()


@pytest.mark.full
def test_an_outsider_that_is_asked_for_is_refused(sick: Lab) -> None:
    with postfix_with(sick, "smtpd_authorized_xclient_hosts = 127.0.0.1"):
        found = {one.object: one for one in run(sick.settings, choose(SERVICES, []))}
        assert {one.severity for one in found.values()} == {Severity.ok}
        for name in ("smtp", "submission", "submissions"):
            assert "an outsider's RCPT TO elsewhere got '554 5.7.1" in found[f"{name} relay"].message


def test_starttls_gone(sick: Lab) -> None:
    fault = postfix_with(sick, smtp="smtpd_tls_security_level=none")
    with faulty(sick.settings, SERVICES, "starttls-missing", "smtp", fault, severity=Severity.warning):
        pass


@pytest.mark.full
def test_starttls_gone_where_people_log_in(sick: Lab) -> None:
    others = ["services/pop3/starttls-missing", "services/*s/tls-broken", "services/*s/service-down"]
    with faulty(
        sick.settings, SERVICES, "starttls-missing", "imap", dovecot_with(sick, "ssl = no"), allowed=others
    ):
        pass


def test_tls_broken(sick: Lab) -> None:
    fault = postfix_with(sick, submissions="smtpd_tls_key_file=/nonexistent/key")
    with faulty(sick.settings, SERVICES, "tls-broken", "submissions", fault):
        pass


def plaintext(lab: Lab) -> str:
    if doveadm.version() >= (2, 4):
        return "auth_allow_cleartext = yes\nssl = yes"
    return "disable_plaintext_auth = no\nssl = yes"


def test_logins_without_tls(sick: Lab) -> None:
    faults: list[tuple[str, AbstractContextManager[None], list[str]]] = [
        (
            "submission",
            postfix_with(sick, submission="smtpd_tls_security_level=may smtpd_tls_auth_only=no"),
            [],
        ),
        ("imap", dovecot_with(sick, plaintext(sick)), ["services/pop3/sasl-without-tls"]),
    ]
    for name, fault, others in faults:
        with faulty(sick.settings, SERVICES, "sasl-without-tls", name, fault, allowed=others) as found:
            assert "PLAIN" in found.message


@pytest.mark.full
def test_pop3_off(sick: Lab) -> None:
    off = "service pop3-login {\n  inet_listener pop3 {\n    port = 0\n  }\n}"
    with faulty(sick.settings, SERVICES, "service-down", "pop3", dovecot_with(sick, off)):
        pass


@pytest.mark.full
def test_manage_sieve(sick: Lab) -> None:
    """Served where the settings have a port for it; as the others, never a login without TLS."""
    port = pick_ports(("sieve",))["sieve"]
    settings = with_port(sick.settings, "sieve", port)
    write(make_plan(settings, SetupOptions()))
    try:
        reload_dovecot(sick)
        greet(settings, "sieve", port)
        found = {one.object: one for one in run(settings, choose(["services", "certificates"], []))}
        assert {one.code for one in found.values()} == {"ok"}
        others = ["services/*/sasl-without-tls"]
        fault = dovecot_with(sick, plaintext(sick))
        with faulty(settings, SERVICES, "sasl-without-tls", "sieve", fault, allowed=others):
            pass
    finally:
        write(make_plan(sick.settings, SetupOptions()))
        reload_dovecot(sick)
