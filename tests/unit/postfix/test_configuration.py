"""What Postfix is told: owned and merged parameters, services."""

from __future__ import annotations

from pathlib import Path

import pytest

from postmaster.address import parse_address
from postmaster.postfix import configuration, maps
from postmaster.postfix.configuration import Wish, merged_parameters, owned_parameters, wanted_services
from postmaster.settings import ServerSettings

ETC = Path("/etc/postfix")
WISH = Wish(ETC, ServerSettings(), Path("/c.pem"), Path("/k.pem"), parse_address("postmaster@example.org"))
NONE: dict[str, str] = {}
DEFAULTS = {"proxy_read_maps": "$local_recipient_maps $virtual_alias_maps $virtual_mailbox_maps"}


def test_a_parameter_that_this_version_does_not_know_is_left_out() -> None:
    known = frozenset({"virtual_mailbox_maps", "smtpd_tls_auth_only"})
    wanted = owned_parameters(WISH, known)
    assert set(wanted) == known | {"postmaster_submission_access"}


def test_every_table_is_named_where_proxymap_may_read_it() -> None:
    names = ("mailbox_domains", "mailbox_maps", "alias_domains")
    everything = frozenset({"smtpd_sender_login_maps", *(f"virtual_{name}" for name in names)})
    wanted = {**owned_parameters(WISH, everything), **merged_parameters(WISH, NONE, DEFAULTS)}
    text = " ".join(wanted.values())
    for one in maps.MAPS:
        assert one.table(ETC) in text
        (name,) = {n for n, value in wanted.items() if one.table(ETC) in value}
        assert f"${name}" in wanted["proxy_read_maps"].split()


def test_what_is_there_stays_in_merged_lists_and_merging_again_changes_nothing() -> None:
    explicit = {
        "virtual_alias_maps": "hash:/etc/postfix/virtual",
        "smtpd_recipient_restrictions": "permit_mynetworks, reject_unauth_destination",
        "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
        "mynetworks": "10.0.0.0/8",
    }
    once = merged_parameters(WISH, explicit, DEFAULTS)
    assert once["virtual_alias_maps"].endswith(", hash:/etc/postfix/virtual")
    assert once["smtpd_recipient_restrictions"].endswith(", permit_mynetworks, reject_unauth_destination")
    assert once["smtpd_relay_restrictions"] == explicit["smtpd_relay_restrictions"]
    assert "mynetworks" not in once
    again = merged_parameters(WISH, {**explicit, **once}, {"proxy_read_maps": once["proxy_read_maps"]})
    assert again == once


@pytest.mark.parametrize("explicit", ["", "permit_mynetworks", "permit_mynetworks, permit"])
def test_relay_restrictions_that_would_relay_for_strangers_are_closed(explicit: str) -> None:
    wanted = merged_parameters(WISH, {"smtpd_relay_restrictions": explicit}, DEFAULTS)
    assert wanted["smtpd_relay_restrictions"].startswith("permit_mynetworks, reject_unauth_destination")


def test_a_debian_default_with_defer_is_left_alone() -> None:
    debian = "permit_mynetworks permit_sasl_authenticated defer_unauth_destination"
    wanted = merged_parameters(WISH, {"smtpd_relay_restrictions": debian}, DEFAULTS)
    assert wanted["smtpd_relay_restrictions"] == debian


def test_mynetworks_is_explicit_and_small() -> None:
    assert merged_parameters(WISH, NONE, DEFAULTS)["mynetworks"] == configuration.LOCAL_NETWORKS


def test_standard_ports_have_their_names_and_the_neighbours_chroot() -> None:
    present = {"smtp/inet": "smtp inet n - y - - smtpd"}
    services = wanted_services(WISH, present)
    assert [service.key for service in services] == ["submission/inet", "submissions/inet"]
    assert all(service.fields[2] == "y" for service in services)
    assert ("smtpd_tls_security_level", "encrypt") in services[0].options
    assert ("smtpd_tls_wrappermode", "yes") in services[1].options
    for service in services:
        options = dict(service.options)
        assert options["smtpd_relay_restrictions"] == "$postmaster_submission_access"
        assert options["smtpd_sender_restrictions"] == "reject_sender_login_mismatch"


def test_other_ports_and_no_port() -> None:
    server = ServerSettings(smtp_port=2525, submission_port=2587, submissions_port=0)
    services = wanted_services(Wish(ETC, server, Path("/c"), Path("/k"), None), {})
    assert [service.key for service in services] == ["2525/inet", "2587/inet"]


def test_without_a_postmaster_nothing_is_said_of_bounces() -> None:
    known = frozenset({"2bounce_notice_recipient", "error_notice_recipient"})
    assert known <= owned_parameters(WISH, known).keys()
    assert (
        not known & owned_parameters(Wish(ETC, ServerSettings(), Path("/c"), Path("/k"), None), known).keys()
    )
