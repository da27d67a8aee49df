"""This server among names: its addresses, their names, how it greets; blocklists, of domains too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING

from postmaster.errors import PostmasterError
from postmaster.health.finding import Finding, Severity
from postmaster.health.names.world import World, fine, problem

if TYPE_CHECKING:
    from postmaster.health.names.asking import Asker
    from postmaster.settings import Settings


def own_addresses(settings: Settings, asker: Asker) -> tuple[str, ...]:
    """The public addresses that the world may know this server by, the settings' own word first."""
    import re

    from postmaster.postfix import postconf
    from postmaster.process import run as run_program

    given = settings.health.addresses
    if given:
        return tuple(str(ip_address(one)) for one in given if _is_address(one))
    config = settings.postfix.config_directory
    named: list[str] = []
    for parameter in ("inet_interfaces", "proxy_interfaces"):
        named += postconf.split_list(postconf.value(config, parameter))
    if "all" in named:
        with contextlib.suppress(PostmasterError):
            said = run_program(["ip", "-o", "addr", "show", "scope", "global"]).stdout
            named += re.findall(r"\binet6? ([0-9a-fA-F.:]+)", said)
    found: list[str] = []
    for one in named:
        text = one.strip("[]")
        if _is_address(text):
            found.append(text)
        elif "." in text:
            found += [str(r.address) for kind in ("A", "AAAA") for r in asker.ask(text, kind).records]
    return tuple(dict.fromkeys(str(ip_address(one)) for one in found if ip_address(one).is_global))


def reverse(world: World, address: str) -> Iterator[Finding]:
    import dns.reversename

    name = str(dns.reversename.from_address(address)).rstrip(".")
    names = [str(one.target).rstrip(".") for one in world.asker.know(name, "PTR").records]
    if not names:
        remedy = f"ask who gave you the address for a PTR record to {world.helo}"
        yield problem(address, "reverse-missing", Severity.warning, "it has no name (PTR)", remedy)
    elif not any(address in world.asker.addresses(one) for one in names[:5]):
        message = f"its name {names[0]} does not lead back to it"
        remedy = f"make an address record of {names[0]} for {address}, or a PTR record to {world.helo}"
        yield problem(address, "reverse-mismatch", Severity.warning, message, remedy)
    else:
        yield fine(address, f"it is {names[0]}, which leads back to it")


def helo(world: World, name: str) -> Iterator[Finding]:
    found = world.asker.addresses(name) if "." in name else []
    remedy = f"make address records for {name}, or set smtp_helo_name (myhostname) in main.cf"
    if not found:
        yield problem("helo", "helo-unresolved", Severity.warning, f"{name} has no address", remedy)
    elif world.addresses and not set(found) & set(world.addresses):
        message = f"{name} leads to {', '.join(found[:3])}, which is not this server"
        yield problem("helo", "helo-elsewhere", Severity.warning, message, remedy)
    else:
        yield fine("helo", f"Postfix greets as {name}, which has an address")


def address_listed(world: World, thing: str) -> Iterator[Finding]:
    import dns.reversename

    address, _, zone = thing.partition("/")
    reverse = str(dns.reversename.from_address(address))
    below = reverse.removesuffix("in-addr.arpa.").removesuffix("ip6.arpa.")
    yield from _listed(world, f"{below}{zone}", thing, f"{address} is on {zone}")


def domain_listed(world: World, domain: str) -> Iterator[Finding]:
    for zone in world.settings.health.domain_blocklists:
        yield from _listed(world, f"{domain}.{zone}", f"{domain}/{zone}", f"{domain} is on {zone}")


def _listed(world: World, name: str, thing: str, message: str) -> Iterator[Finding]:
    """What a list answers: an address in 127.0.0.0/8 that is no error code of its operator."""
    from postmaster.health.names.asking import Outcome

    zone = thing.partition("/")[2]
    answer = world.asker.ask(name, "A")
    codes = [one.address for one in answer.records]
    errors = [one for one in codes if is_error_code(one)]
    remedy = f"dig {name} A; a resolver of your own is what most lists want"
    if not answer.is_known:
        yield problem(thing, "blocklist-unknown", Severity.unknown, f"{zone}: {answer}", remedy)
    elif errors:
        message = f"{zone} could not be asked: it answers {errors[0]}"
        yield problem(thing, "blocklist-unknown", Severity.unknown, message, remedy)
    elif codes:
        why = world.asker.ask(name, "TXT")
        text = why.texts[0].decode("utf-8", "replace")[:200] if why.outcome is Outcome.found else codes[0]
        remedy = f"read why and ask to be taken off: {zone}"
        yield problem(thing, "listed", Severity.critical, f"{message}: {text}", remedy)
    else:
        yield fine(thing, f"not on {zone}")


def is_error_code(address: str) -> bool:
    """No word on the address asked about: an error (127.255.255.0/24, 127.0.0.1, 127.0.1.255), or no list."""
    return (
        address.startswith("127.255.255.")
        or address in ("127.0.0.1", "127.0.1.255")
        or not address.startswith("127.")
    )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
