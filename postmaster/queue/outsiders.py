"""Whose messages may be sent back: mail that strangers brought may have a forged sender.

A stranger is a client outside mynetworks that did not log in. What comes from this host has no client.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from postmaster.postfix import spool
from postmaster.postfix.instances import Instance
from postmaster.postfix.place import locate
from postmaster.postfix.postconf import split_list
from postmaster.postfix.queue_file import read_envelope
from postmaster.queue.message import Message

Networks = list[tuple[bool, ipaddress.IPv4Network | ipaddress.IPv6Network]]


def outsiders(messages: Iterable[Message], places: Mapping[str, Instance]) -> list[Message]:
    """Which of these came from clients that are neither ours nor logged in: their senders may be forged.

    What cannot be read is passed over: the action, which reads it again, leaves it alone and says so.
    """
    found = []
    inside = {name: networks(place.networks) for name, place in places.items()}
    for message in messages:
        place = places[message.instance]
        where = locate(place, message.queue_id)
        if where is None:
            continue  # it will be told as gone
        try:
            with spool.opened(where[1]) as descriptor:
                attributes = read_envelope(descriptor).attributes
        except OSError:
            continue
        client = attributes.get("client_address")
        if client is None or attributes.get("sasl_username"):
            continue
        if not is_inside(client, inside[message.instance]):
            found.append(message)
    return found


def networks(text: str) -> Networks:
    """The networks in mynetworks, each with whether it is included. Tables and files are left out: what they
    name counts as outside, which refuses more and never less.
    """
    found: Networks = []
    for item in split_list(text):
        included = not item.startswith("!")
        plain = item.removeprefix("!").replace("[", "").replace("]", "")
        try:
            found.append((included, ipaddress.ip_network(plain, strict=False)))
        except ValueError:
            continue
    return found


def is_inside(client: str, known: Networks) -> bool:
    """Whether a client's address is in the networks; the first that has it decides."""
    try:
        address = ipaddress.ip_address(client.removeprefix("IPv6:"))
    except ValueError:
        return False
    for included, network in known:
        if address.version == network.version and address in network:
            return included
    return False
