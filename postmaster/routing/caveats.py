"""What a server does to mail besides what explaining follows: a note says it."""

from __future__ import annotations

from collections.abc import Iterator

from postmaster.address import Domain
from postmaster.postfix import postconf
from postmaster.postfix.postconf import split_list
from postmaster.routing.server import Server

#: Services of master.cf that explaining follows, with main.cf's values. Further listeners have their own.
_FOLLOWED = ("smtp/inet", "25/inet", "smtpd/pass", "cleanup/unix", "rewrite/unix", "local/unix")


def caveats(server: Server, domain: Domain) -> Iterator[str]:
    """Notes on what is set and not followed, for an address of a domain. Raises ProcessError."""
    given = server.parameters
    if given["smtputf8_enable"] == "yes" and str(domain) != domain.ascii:
        yield f"smtputf8_enable is on: mail that names the domain as {domain} is looked up by that name"
    if given["content_filter"]:
        yield f"content_filter ({given['content_filter']}) gets every message before it goes these ways"
    if given["masquerade_domains"] and "envelope_recipient" in split_list(given["masquerade_classes"]):
        yield f"masquerade_domains ({given['masquerade_domains']}) rewrites recipients: not followed"
    if "no_address_mappings" in split_list(given["receive_override_options"]):
        yield "receive_override_options has no_address_mappings: canonical and alias tables are not asked"
    overrides = postconf.overrides(server.config_directory)
    for service in _FOLLOWED:
        own = [
            name for name, text in overrides.get(service, {}).items() if name in given and text != given[name]
        ]
        if own:
            yield f"{service} in master.cf has its own {', '.join(sorted(own))}; this goes by main.cf"
