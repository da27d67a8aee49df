"""Which messages and deliveries are asked for.

A pattern is an address, a domain (`example.org`, also its sub-domains with `*.example.org`), or has `*` and
`?` in it; upper and lower case are the same. All conditions must hold: those about the message for the
message, those about a delivery for one and the same delivery.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from postmaster.postfix import events


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a name fits a pattern."""
    import fnmatch

    wanted = pattern.lower().strip("<>")
    if any(character in wanted for character in "*?["):
        fits = re.compile(fnmatch.translate(wanted)).match
        return lambda text: fits(text.lower()) is not None
    if "@" in wanted[1:] or not wanted:
        return lambda text: text.lower() == wanted
    domain = "@" + wanted.removeprefix("@")
    return lambda text: text.lower() == wanted or text.lower().endswith(domain)


@dataclass(frozen=True)
class Filter:
    """What each condition is about is the name of the log's own field. Empty: not asked."""

    sender: str = ""
    recipient: str = ""
    message_id: str = ""
    client: str = ""
    sasl: str = ""
    status: str = ""
    dsn: str = ""
    relay: str = ""
    min_delay: float = 0.0

    @property
    def is_empty(self) -> bool:
        return not (self.asks_message or self.asks_delivery)

    @property
    def asks_message(self) -> bool:
        return bool(self.sender or self.message_id or self.client or self.sasl)

    @property
    def asks_delivery(self) -> bool:
        return bool(self.recipient or self.asks_outcome)

    @property
    def asks_outcome(self) -> bool:
        """Whether only what was delivered, or tried, can fit."""
        return bool(self.status or self.dsn or self.relay or self.min_delay)

    def takes_message(
        self,
        senders: Iterable[str],
        message_ids: Iterable[str],
        clients: Iterable[str],
        logins: Iterable[str],
    ) -> bool:
        return all(
            not pattern or any(map(fits, names))
            for pattern, fits, names in (
                (self.sender, self._sender, senders),
                (self.message_id, self._message_id, (name.strip("<>") for name in message_ids)),
                (self.client, self._client, clients),
                (self.sasl, self._sasl, logins),
            )
        )

    def takes_delivery(self, one: events.Delivery) -> bool:
        status = {"SOFTBOUNCE": "deferred"}.get(one.status, one.status)
        return (
            (
                not self.recipient
                or self._recipient(one.recipient)
                or self._recipient(one.orig_recipient or "")
            )
            and (not self.status or status == self.status)
            and (not self.dsn or (one.dsn or "").startswith(self.dsn))
            and (not self.relay or self._takes_host(self._relay, one.relay))
            and one.delay >= self.min_delay
        )

    def takes_policy(self, one: events.Policy) -> bool:
        """Whether a refusal without a queue ID fits."""
        if self.asks_outcome or self.message_id:
            return False
        login = one.more.partition("sasl_username=")[2].partition(" ")[0]
        return (
            (not self.sender or self._sender(one.sender or ""))
            and (not self.recipient or self._recipient(one.recipient or ""))
            and (not self.client or self._client(one.name) or self._client(one.address))
            and (not self.sasl or self._sasl(login))
        )

    @staticmethod
    def _takes_host(fits: Callable[[str], bool], relay: str) -> bool:
        peer = events.peer(relay)
        return fits(relay) or (peer is not None and (fits(peer[0]) or fits(peer[1])))

    @cached_property
    def _sender(self) -> Callable[[str], bool]:
        return matcher(self.sender)

    @cached_property
    def _recipient(self) -> Callable[[str], bool]:
        return matcher(self.recipient)

    @cached_property
    def _message_id(self) -> Callable[[str], bool]:
        wanted = self.message_id.strip("<>").lower()
        return lambda text: text.lower() == wanted

    @cached_property
    def _client(self) -> Callable[[str], bool]:
        return _host_matcher(self.client)

    @cached_property
    def _sasl(self) -> Callable[[str], bool]:
        return matcher(self.sasl)

    @cached_property
    def _relay(self) -> Callable[[str], bool]:
        return _host_matcher(self.relay)


def _host_matcher(pattern: str) -> Callable[[str], bool]:
    """For names of hosts and addresses: equal, below a domain, or by `*`."""
    import fnmatch

    wanted = pattern.lower()
    if any(character in wanted for character in "*?"):
        fits = re.compile(fnmatch.translate(wanted)).match
        return lambda text: fits(text.lower()) is not None
    return lambda text: text.lower() == wanted or text.lower().endswith(f".{wanted}")
