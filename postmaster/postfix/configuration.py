"""What Postfix 3.7 to 3.11 needs to serve the directory: parameters and services, as pure values.

Owned parameters are ours: `setup apply` sets them and `setup diff` shows where they differ. Merged
ones are lists that the administrator may add to: ours come first, what is there stays. Parameters
that a version does not know are left out.

The rules behind it:
- a hosted domain is in `virtual_mailbox_domains`, an alias domain in `virtual_alias_domains`;
- an address that exists but does not receive is refused before any `permit_*`: left to the maps, a
  catch-all would take its mail;
- on submission, who may relay is a positive list of logins, asked at each recipient, so a login that
  is switched off or removed is stopped in an open session, with a null sender too;
- no login on port 25, none without TLS;
- the probe of the health checks, whose password lies in a file, sends to itself and its reflector alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from postmaster.address import EXTENSION_SEPARATOR, Address
from postmaster.errors import ServerError
from postmaster.postfix import maps
from postmaster.postfix.postconf import Service, split_list
from postmaster.settings import ServerSettings

#: What a message is kept for, in Postfix's queue directory, by Dovecot.
AUTH_SOCKET = "private/auth"
LMTP_SOCKET = "private/dovecot-lmtp"

#: Networks that may relay without a login, where main.cf names none. One address each, not 127/8:
#: whoever connects from another one is an outsider, which a live proof makes use of.
LOCAL_NETWORKS = "127.0.0.1/32 [::ffff:127.0.0.1]/128 [::1]/128"

#: The oldest version whose parameters these are.
OLDEST = (3, 7)

_SUBMISSION_ACCESS = "postmaster_submission_access"
_PROBE_ACCESS = "postmaster_probe_access"
#: Parameters that Postfix does not know by itself.
_OWN_NAMES = frozenset((_SUBMISSION_ACCESS, _PROBE_ACCESS))

_NOT_ALLOWED = "static:{REJECT 5.7.1 This login may not send mail, or is not known}"


@dataclass(frozen=True, slots=True)
class Wish:
    """What differs from one server to the next."""

    config_directory: Path
    server: ServerSettings
    certificate: Path
    key: Path
    postmaster: Address | None
    probe: str = ""  # a login that may send to itself and the reflector alone
    reflector: str = ""
    tables: str = "sqlite"  # or pgsql

    def table(self, one: maps.Map) -> str:
        """How a parameter names one of our tables."""
        return one.table(self.config_directory, self.tables)


def owned_parameters(wish: Wish, known: frozenset[str]) -> dict[str, str]:
    """Parameters that are ours alone. `known` are the names this Postfix has."""

    table = wish.table
    wanted = {
        "compatibility_level": "3.6",
        "virtual_mailbox_domains": table(maps.MAILBOX_DOMAINS),
        "virtual_mailbox_maps": table(maps.MAILBOXES),
        "virtual_alias_domains": table(maps.ALIAS_DOMAINS),
        "virtual_transport": f"lmtp:unix:{LMTP_SOCKET}",
        "recipient_delimiter": EXTENSION_SEPARATOR,
        # The alias table carries extensions over itself, to targets here only.
        "propagate_unmatched_extensions": "canonical",
        "smtputf8_enable": "no",  # Dovecot's LMTP does not take it: mail would be accepted and bounced
        "smtpd_sender_login_maps": table(maps.SENDER_OWNERS),
        "smtpd_sasl_type": "dovecot",
        "smtpd_sasl_path": AUTH_SOCKET,
        "smtpd_sasl_auth_enable": "no",  # on submission only
        "smtpd_tls_auth_only": "yes",
        "smtpd_tls_security_level": "may",
        "smtpd_tls_cert_file": str(wish.certificate),
        "smtpd_tls_key_file": str(wish.key),
        "smtpd_tls_chain_files": "",
        "smtpd_tls_protocols": ">=TLSv1.2",
        "smtpd_tls_mandatory_protocols": ">=TLSv1.2",
        "smtp_tls_security_level": "may",
        "smtpd_helo_required": "yes",
        "disable_vrfy_command": "yes",
        "smtpd_forbid_bare_newline": "normalize",
        "smtpd_forbid_bare_newline_exclusions": "$mynetworks",
        "smtpd_forbid_unauth_pipelining": "yes",
        "notify_classes": "2bounce, resource, software",
        # A proxymap that meets a lock at its very first look-up counts as one that cannot start, and
        # everybody would wait a minute (master_spawn.c). A second is what the retry takes anyway.
        "service_throttle_time": "1s",
        # A name of our own, so that master.cf can refer to it and proxymap finds the table in main.cf.
        _SUBMISSION_ACCESS: (
            _probe_first(wish.probe)
            + f"check_sasl_access {table(maps.SENDING_LOGINS)}, check_client_access {_NOT_ALLOWED}, reject"
        ),
    }
    if wish.probe:
        may = "".join(f" {{ {_plain(one)} = OK }}" for one in (wish.probe, wish.reflector) if one)
        wanted[_PROBE_ACCESS] = f"check_recipient_access inline:{{{may} }}, reject"
    if wish.postmaster is not None:
        for name in ("2bounce_notice_recipient", "error_notice_recipient"):
            wanted[name] = wish.postmaster.ascii
    return {name: text for name, text in wanted.items() if name in known or name in _OWN_NAMES}


def merged_parameters(wish: Wish, explicit: Mapping[str, str], in_force: Mapping[str, str]) -> dict[str, str]:
    """Lists of which ours come first. `explicit` is what main.cf sets, `in_force` all values."""
    access = f"check_recipient_access {wish.table(maps.CLOSED_RECIPIENTS)}"
    aliases = [wish.table(one) for one in (maps.ALIASES, maps.CATCH_ALLS)]
    # Those of the other kind are of before the directory moved.
    ours = {
        one.table(wish.config_directory, kind)
        for one in (maps.ALIASES, maps.CATCH_ALLS)
        for kind in ("sqlite", "pgsql")
    }
    theirs = [
        item
        for item in split_list(explicit.get("virtual_alias_maps", "$virtual_maps"))
        if item not in ours and item != "$virtual_maps"
    ]
    restrictions = explicit.get("smtpd_recipient_restrictions", "")
    for kind in ("sqlite", "pgsql"):
        old = maps.CLOSED_RECIPIENTS.table(wish.config_directory, kind)
        restrictions = _without(restrictions, f"check_recipient_access {old}")
    wanted = {
        "virtual_alias_maps": ", ".join([*aliases, *theirs]),
        "smtpd_recipient_restrictions": ", ".join([access, *([restrictions] if restrictions else [])]),
        "smtpd_relay_restrictions": _relay_restrictions(explicit.get("smtpd_relay_restrictions", "")),
        "proxy_read_maps": _proxy_read_maps(in_force["proxy_read_maps"]),
    }
    if not explicit.get("mynetworks"):
        wanted["mynetworks"] = LOCAL_NETWORKS
    if wish.probe:
        classes = split_list(explicit.get("smtpd_restriction_classes", ""))
        others = [name for name in classes if name != _PROBE_ACCESS]
        wanted["smtpd_restriction_classes"] = ", ".join([_PROBE_ACCESS, *others])
    return wanted


def wanted_services(wish: Wish, present: Mapping[str, str]) -> list[Service]:
    """The listeners: SMTP as it is, or made where it is missing; submission by STARTTLS and by TLS."""
    server = wish.server
    chroot = _chroot_of(present.get("smtp/inet", ""))
    wanted = []
    if server.smtp_port != 25 or "smtp/inet" not in present:
        name = "smtp" if server.smtp_port == 25 else str(server.smtp_port)
        wanted.append(Service(name, "inet", ("n", "-", chroot, "-", "-", "smtpd")))
    common = (
        ("smtpd_sasl_auth_enable", "yes"),
        ("smtpd_client_restrictions", ""),
        ("smtpd_helo_restrictions", ""),
        ("smtpd_sender_restrictions", "reject_sender_login_mismatch"),
        ("smtpd_relay_restrictions", f"${_SUBMISSION_ACCESS}"),
        # Asked once more when the text is there: a login that was locked meanwhile gets nothing in.
        ("smtpd_end_of_data_restrictions", f"${_SUBMISSION_ACCESS}"),
        # Adds a missing Date and Message-ID: cleanup does so for mail of local clients alone.
        ("local_header_rewrite_clients", "permit_sasl_authenticated"),
        ("milter_macro_daemon_name", "ORIGINATING"),
    )
    for port, standard, name, tls in (
        (server.submission_port, 587, "submission", ("smtpd_tls_security_level", "encrypt")),
        (server.submissions_port, 465, "submissions", ("smtpd_tls_wrappermode", "yes")),
    ):
        if port:
            wanted.append(
                Service(
                    name if port == standard else str(port),
                    "inet",
                    ("n", "-", chroot, "-", "-", "smtpd"),
                    (("syslog_name", f"postfix/{name}"), tls, *common),
                )
            )
    return wanted


def _probe_first(probe: str) -> str:
    """The probe of the health checks is asked about where its mail goes, before any other login."""
    return f"check_sasl_access inline:{{ {{ {_plain(probe)} = {_PROBE_ACCESS} }} }}, " if probe else ""


def _plain(address: str) -> str:
    """An address that cannot be taken for anything else in a table within main.cf. Raises ServerError."""
    if re.fullmatch(r"[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+", address, re.ASCII) is None:
        raise ServerError(
            f"the address {address!r} cannot stand in main.cf",
            hint="choose one of letters, digits, . _ + - for health.probe_address and health.reflector",
        )
    return address.lower()


def _relay_restrictions(explicit: str) -> str:
    """What main.cf says if it cannot relay for strangers, else the safe default."""
    if any(word in explicit for word in ("reject_unauth_destination", "defer_unauth_destination")):
        return explicit
    safe = "permit_mynetworks, reject_unauth_destination"
    return f"{safe}, {explicit}" if explicit else safe


def _proxy_read_maps(in_force: str) -> str:
    """Every table of ours is in a parameter that proxymap may read (else smtpd dies)."""
    needed = [
        "$virtual_alias_maps",
        "$virtual_alias_domains",
        "$virtual_mailbox_maps",
        "$virtual_mailbox_domains",
        "$smtpd_sender_login_maps",
        "$smtpd_recipient_restrictions",
        f"${_SUBMISSION_ACCESS}",
    ]
    present = split_list(in_force)
    return " ".join([*present, *(item for item in needed if item not in present)])


def _without(text: str, item: str) -> str:
    return text.replace(item, "").strip(" ,\t")


def _chroot_of(entry: str) -> str:
    """The chroot column of an entry, so that ours run as the neighbours do."""
    words = entry.split()
    return words[4] if len(words) > 4 else "n"
