"""Sending a report so that it reaches someone, also when mail itself is what is broken.

The first way is `health.report_way`, the local sendmail unless set. A second one, `health.fallback`, is
taken besides when the first fails, and when the message says of itself that mail does not flow: the local
sendmail takes what then goes nowhere.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from email.message import EmailMessage

from postmaster.errors import PostmasterError, ServerError, SettingsError
from postmaster.health.report.mail import BROKEN, FLOW_HEADER, from_address, note
from postmaster.health.report.ways import Envelope, addresses, deliver, parse_way, read_secret
from postmaster.settings import Settings

TIMEOUT = 20.0  # seconds for each way
NOBODY = "set health.report_to or mail.postmaster"


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one way. `error`: why it failed, None where the message was taken."""

    way: str
    recipients: tuple[str, ...]  # none for a webhook
    error: str | None = None
    hint: str | None = None


def send(settings: Settings, message: EmailMessage, *, timeout: float = TIMEOUT) -> list[Sent]:
    """Send a message that `mail` made, for at most `timeout` seconds by each way. What became of each.

    Raises ServerError when no way took it.
    """
    health = settings.health
    recipients = health.report_to or settings.mail.postmaster
    tried = [_try(settings, message, "report_way", health.report_secret, recipients, timeout)]
    failure = tried[0].error
    if health.fallback and (failure is not None or message[FLOW_HEADER] == BROKEN):
        told = message
        if failure is not None:
            told = deepcopy(message)
            note(told, f"The usual way failed: {failure}")
        elsewhere = health.fallback_to or recipients
        tried.append(_try(settings, told, "fallback", health.fallback_secret, elsewhere, timeout))
    if all(one.error is not None for one in tried):
        reasons = "; ".join(str(one.error) for one in tried)
        raise ServerError(f"the report reached nobody: {reasons}", hint=tried[-1].hint)
    return tried


def addressed(settings: Settings, message: EmailMessage) -> EmailMessage:
    """The message with sender and recipients, as far as the settings name them. Raises SettingsError."""
    sender, to = _correspondents(settings, settings.health.report_to or settings.mail.postmaster)
    return _to(message, sender, to) if to else message


def _correspondents(settings: Settings, recipients: str) -> tuple[str, tuple[str, ...]]:
    """The sender, empty where none is named, and the recipients. Raises SettingsError."""
    to = addresses(recipients, "the recipient of reports")
    sender = addresses(settings.health.report_from, "health.report_from") or to or ("",)
    return sender[0], to


def _to(message: EmailMessage, sender: str, to: tuple[str, ...]) -> EmailMessage:
    """A copy of the message with these in its header."""
    told = deepcopy(message)
    del told["To"], told["From"]
    told["From"], told["To"] = from_address(sender), ", ".join(to)
    return told


def _try(
    settings: Settings, message: EmailMessage, key: str, secret_file: str, recipients: str, timeout: float
) -> Sent:
    """One way. Whatever is wrong with it, its settings too, must not keep the other from being tried."""
    name, to = f"health.{key}", tuple[str, ...]()
    shown = "the second way" if key == "fallback" else "the usual way"
    try:
        way = parse_way(getattr(settings.health, key), name)
        shown, sender, told = str(way), "", message
        if way.kind != "https":
            sender, to = _correspondents(settings, recipients)
            if not to:
                raise SettingsError("nobody is named to send reports to", hint=NOBODY)
            told = _to(message, sender, to)
        secret_name = name.removesuffix("_way") + "_secret"
        secret = read_secret(secret_file, secret_name)
        if way.user and not secret:
            raise SettingsError(f"{name} names a user, and {secret_name} no file with the password")
        deliver(
            way,
            told,
            Envelope(sender, to, settings.server.hostname),
            settings=settings,
            secret=secret,
            timeout=timeout,
        )
    except PostmasterError as error:
        return Sent(shown, to, error.message, error.hint)
    return Sent(shown, to)
