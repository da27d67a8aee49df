"""One Postfix instance as explaining needs it: parameters read once, tables, classes, the rewrite service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from postmaster.postfix import addressing, classes, control, maps, postconf
from postmaster.postfix.addressing import Addressing
from postmaster.postfix.classes import DomainClasses
from postmaster.postfix.maps import Map
from postmaster.postfix.rewrite import Rewriter
from postmaster.postfix.tables import Tables
from postmaster.settings import Settings

LIMITS = (
    "virtual_alias_expansion_limit",
    "virtual_alias_recursion_limit",
    "virtual_alias_address_length_limit",
)

#: Whose macros are for local(8) to expand, at delivery.
_AT_DELIVERY = ("forward_path", "luser_relay", "home_mailbox", "mailbox_command")

_PARAMETERS = (
    *classes.PARAMETERS,
    *addressing.PARAMETERS,
    *LIMITS,
    "alias_maps",
    "allow_mail_to_commands",
    "allow_mail_to_files",
    "always_bcc",
    "canonical_classes",
    "canonical_maps",
    "content_filter",
    "default_transport",
    "expand_owner_alias",
    "fallback_transport",
    "fallback_transport_maps",
    "home_mailbox",
    "hopcount_limit",
    "local_recipient_maps",
    "local_transport",
    "mail_spool_directory",
    "masquerade_classes",
    "masquerade_domains",
    "mailbox_command_maps",
    "mailbox_transport",
    "mailbox_transport_maps",
    "queue_directory",
    "receive_override_options",
    "recipient_bcc_maps",
    "recipient_canonical_classes",
    "recipient_canonical_maps",
    "relay_recipient_maps",
    "relay_transport",
    "relayhost",
    "relocated_maps",
    "reset_owner_alias",
    "sender_bcc_maps",
    "sender_canonical_classes",
    "sender_canonical_maps",
    "sender_dependent_default_transport_maps",
    "sender_dependent_relayhost_maps",
    "smtpd_client_restrictions",
    "smtpd_delay_reject",
    "smtpd_helo_restrictions",
    "smtpd_recipient_restrictions",
    "smtpd_relay_restrictions",
    "smtpd_sasl_auth_enable",
    "smtpd_sender_login_maps",
    "smtpd_sender_restrictions",
    "smtpd_reject_unlisted_recipient",
    "smtputf8_enable",
    "transport_maps",
    "virtual_alias_maps",
    "virtual_mailbox_maps",
    "virtual_transport",
)


@dataclass(frozen=True, slots=True)
class Server:
    """What is asked. `running` is whether Postfix runs, so that its proxymap can be asked.

    `kind` is the type of the directory's own tables: sqlite or pgsql.
    """

    config_directory: Path
    parameters: dict[str, str]
    running: bool
    tables: Tables
    classes: DomainClasses
    addressing: Addressing
    rewriter: Rewriter | None  # None where Postfix does not run or we may not reach it
    kind: str = "sqlite"

    def ours(self, one: Map) -> str:
        """How the configuration names a table of the directory."""
        return one.table(self.config_directory, self.kind)

    @property
    def limits(self) -> dict[str, int]:
        return {name: int(text) for name in LIMITS if (text := self.parameters[name]).isdigit()}


@contextmanager
def open_server(settings: Settings) -> Iterator[Server]:
    """Read an instance's configuration. Raises ProcessError where there is no Postfix."""
    directory = settings.postfix.config_directory
    parameters = postconf.expanded(directory, _PARAMETERS)
    parameters.update(postconf.values(directory, _AT_DELIVERY))
    if parameters["myorigin"].startswith("/"):
        parameters["myorigin"] = _first_line(Path(parameters["myorigin"]))
    spool = Path(parameters["queue_directory"])
    running = control.master_of(spool) is not None
    tables = Tables(directory, running=running)
    domain_classes = DomainClasses(parameters, tables)
    rewriter = Rewriter(spool) if running and os.geteuid() == 0 else None
    try:
        yield Server(
            directory,
            parameters,
            running,
            tables,
            domain_classes,
            Addressing(parameters, tables, domain_classes),
            rewriter,
            maps.kind(settings.lookups.source),
        )
    finally:
        tables.close()
        if rewriter is not None:
            rewriter.close()


def _first_line(file: Path) -> str:
    """The name in a file such as /etc/mailname, empty where there is none."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
    except OSError:
        return ""
