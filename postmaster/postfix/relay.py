"""Whether an outsider may relay, judged from the restrictions that Postfix has.

The outsider is a client without a login and without a certificate, at an address that nobody has
(RFC 5737), who names a recipient elsewhere. Each restriction permits it, refuses it, says nothing, or
cannot be judged from here, as a policy service. Tables are asked what they say of such a client. Postfix
asks all its lists, and each of them must let it pass; within one the first word counts (`smtpd_check.c`,
generic_checks). So one list that refuses for sure makes the service closed, and it is open only where all
let it pass for sure.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

from postmaster.errors import ProcessError
from postmaster.postfix import control, postconf
from postmaster.postfix.postconf import split_list

OUTSIDER = "198.51.100.77"  # TEST-NET-2
SENDER, RECIPIENT = "stranger@outside.invalid", "anybody@elsewhere.invalid"

#: What is looked up of such a client, in Postfix's order (access(5)), by what the restriction is of.
_HOST_KEYS = (OUTSIDER, "198.51.100", "198.51", "198")
_KEYS = {
    "client": ("unknown", *_HOST_KEYS),
    "reverse_client_hostname": ("unknown",),
    "helo": ("outside.invalid", "invalid"),
    "sender": (SENDER, "outside.invalid", "invalid", "stranger@"),
    "recipient": (RECIPIENT, "elsewhere.invalid", "invalid", "anybody@"),
}
LISTS = tuple(f"smtpd_{when}_restrictions" for when in ("client", "helo", "sender", "relay", "recipient"))
DEEPEST = 20  # restriction classes within each other
FILE_LIMIT = 1 << 20  # bytes of a file with networks

#: What says OK to an outsider for nobody's sake but that of a login, a certificate, an own address or a
#: domain of ours; the last two never override what refuses to relay.
_SILENT = """
permit_sasl_authenticated permit_tls_clientcerts permit_auth_destination permit_mx_backup
permit_inet_interfaces permit_dnswl_client permit_rhswl_client
"""
_SILENT_PERMITS = frozenset(_SILENT.split())

#: What takes an argument and says no OK to an outsider; the last two ask whose login or certificate it is.
_ARGUMENT = """
permit_dnswl_client permit_rhswl_client reject_rbl_client reject_rhsbl_client reject_rhsbl_helo
reject_rhsbl_sender reject_rhsbl_recipient reject_rhsbl_reverse_client sleep check_sasl_access
check_ccert_access
"""
_WITH_ARGUMENT = frozenset(_ARGUMENT.split())
_NO_ANSWER = frozenset(
    ("dunno", "warn", "info", "prepend", "filter", "redirect", "bcc", "hold", "discard", "defer_if_reject")
)
_REFUSE = frozenset(
    ("reject", "defer", "defer_if_permit", "reject_unauth_destination", "defer_unauth_destination")
)


class Verdict(Enum):
    closed = "closed"
    open = "open"
    unknown = "unknown"


@dataclass(frozen=True, slots=True)
class Judged:
    """`why` is the restriction that decides; `service` a master.cf entry's name, `smtp` or `10587`."""

    service: str
    verdict: Verdict
    why: str


#: (table, keys) -> what the table says to the first that it knows, empty where it knows none; None where
#: it cannot be asked.
Ask = Callable[[str, tuple[str, ...]], str | None]


def judge(config_directory: Path) -> list[Judged]:
    """Every smtpd of master.cf that listens to others. Raises ProcessError."""
    services = postconf.services(config_directory)
    overrides = postconf.overrides(config_directory)
    names = ("mynetworks", "smtpd_restriction_classes", "inet_interfaces", *LISTS)
    values = postconf.expanded(config_directory, names)
    classes = split_list(values["smtpd_restriction_classes"])
    if classes:
        values |= postconf.expanded(config_directory, classes)

    @cache
    def ask(table: str, keys: tuple[str, ...]) -> str | None:
        if table.startswith("static:"):  # the same to everybody (DATABASE_README)
            return table.removeprefix("static:").removeprefix("{").removesuffix("}").strip()
        try:
            answers = control.query(config_directory, table, keys)
        except ProcessError:
            return None
        return next((answers[key] for key in keys if key in answers), "")

    found = []
    for key, entry in services.items():
        name, _, kind = key.rpartition("/")
        command = entry.split()[7]
        if command == "smtpd" and kind in ("inet", "pass") and not _is_local(name):
            found.append(judge_service(name, values | overrides.get(key, {}), ask))
    return found


def judge_service(name: str, values: Mapping[str, str], ask: Ask) -> Judged:
    """One service. `values` has the parameters named above and the restriction classes, macros expanded."""
    case = _Case(values, ask, is_inside(OUTSIDER, values["mynetworks"], ask))
    words, unsure = [], None
    for parameter in LISTS:
        verdict, why = _walk(split_list(values.get(parameter, "")), parameter.split("_")[1], case, 0)
        if verdict is Verdict.closed:
            return Judged(name, verdict, f"{parameter} has {why}")
        if verdict is Verdict.unknown:
            unsure = unsure or f"{parameter} has {why}"
        elif why:
            words.append(f"{parameter} has {why}")
    if unsure:
        return Judged(name, Verdict.unknown, unsure)
    return Judged(name, Verdict.open, "; ".join(words) or "no restriction refuses to relay")


def is_inside(address: str, networks: str, ask: Ask, depth: int = 0) -> bool | None:
    """Whether mynetworks has an address (`namadr_list.c`): the first match counts, `!` takes out.

    None where that cannot be told.
    """
    there = ipaddress.ip_address(address)
    for item in split_list(networks):
        text = item.lstrip("!")
        negated = (len(item) - len(text)) % 2 == 1
        hit: bool | None
        if text.startswith("/"):
            hit = _in_file(address, text, ask, depth)
        elif ":" in text and not text.startswith("[") and not _is_network(text):
            answer = ask(text, (address,))
            hit = None if answer is None else bool(answer)
        else:
            try:
                network = ipaddress.ip_network(text.replace("[", "").replace("]", ""), strict=False)
            except ValueError:
                continue  # a name: it stands for the addresses of one host
            hit = there.version == network.version and there in network
        if hit is None:
            return None
        if hit:
            return not negated
    return False


def widest(networks: str) -> str | None:
    """The widest network of others that mynetworks names: wider than /16, or /32 in IPv6; None: none is."""
    worst: tuple[int, str] | None = None
    for item in split_list(networks):
        text = item.replace("[", "").replace("]", "")
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            continue
        limit = 16 if network.version == 4 else 32
        if not network.is_private and network.prefixlen < limit:
            worst = min(worst or (999, ""), (network.prefixlen, item))
    return worst[1] if worst else None


@dataclass(frozen=True, slots=True)
class _Case:
    """A service's parameters, its tables, and whether the outsider is in mynetworks."""

    values: Mapping[str, str]
    ask: Ask
    ours: bool | None


def _walk(items: list[str], when: str, case: _Case, depth: int) -> tuple[Verdict, str]:
    """What a list says: closed, open (with the word that permits, or none), or unknown."""
    if depth > DEEPEST:
        return Verdict.unknown, "a class that names itself"
    unsure = ""
    queue = list(items)
    while queue:
        word = queue.pop(0)
        if word.startswith("{") and word.endswith("}"):  # a restriction with its arguments (3.0)
            queue[:0] = split_list(word[1:-1])
            continue
        name = word.lower()
        said: Verdict | None = None
        if name == "warn_if_reject":
            _skip(queue)
            continue
        if name == "permit":
            said = Verdict.open
        elif name in _REFUSE:
            said = Verdict.closed
        elif name == "permit_mynetworks":
            said = {True: Verdict.open, None: Verdict.unknown}.get(case.ours)
            word = "permit_mynetworks, and mynetworks has everybody" if case.ours else word
        elif name in _WITH_ARGUMENT:
            queue[:1] = []
        elif name == "check_policy_service":
            said, word = Verdict.unknown, f"{word} {queue.pop(0) if queue else ''}"
        elif name.startswith("check_") and name.endswith("_access"):
            table = queue.pop(0) if queue else ""
            said, word = _table(name[6:-7], table, when, case, depth), f"{word} {table}"
        elif word in split_list(case.values.get("smtpd_restriction_classes", "")):
            said, why = _walk(split_list(case.values.get(word, "")), when, case, depth + 1)
            if said is Verdict.open and not why:
                said = None  # it was silent
            word = f"{word}: {why}"
        elif ":" in word:  # a bare table: that of the list it stands in
            said = _table("recipient" if when == "relay" else when, word, when, case, depth)
        elif name.startswith("permit") and name not in _SILENT_PERMITS:
            said = Verdict.unknown
        if said is Verdict.unknown:
            unsure = unsure or word
        elif said is not None:
            # What could not be judged may have had another word before this one.
            return (Verdict.unknown, unsure) if unsure else (said, word)
    return (Verdict.unknown, unsure) if unsure else (Verdict.open, "")


def _skip(queue: list[str]) -> None:
    """Take the next restriction out, with its argument."""
    if queue:
        word = queue.pop(0).lower()
        if word in _WITH_ARGUMENT or (word.startswith("check_") and queue):
            queue[:1] = []


def _table(of: str, table: str, when: str, case: _Case, depth: int) -> Verdict | None:
    """What an access table says of the outsider; `of` is what it is asked about: client, sender, helo, …"""
    if of not in _KEYS:
        return Verdict.unknown  # it is asked about name servers or mail servers
    content = case.ask(table, _KEYS[of])
    if content is None:
        return Verdict.unknown
    action = content.partition(" ")[0].lower()
    if not action or action in _NO_ANSWER:
        return None
    if action in ("reject", "defer", "defer_if_permit") or re.fullmatch(r"[45]\d\d", action):
        return Verdict.closed
    if action in ("ok", "permit") or action.isdigit():
        return Verdict.open
    verdict, why = _walk(split_list(content), when, case, depth + 1)
    return None if verdict is Verdict.open and not why else verdict


def _in_file(address: str, path: str, ask: Ask, depth: int) -> bool | None:
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            text = file.read(FILE_LIMIT + 1)
    except OSError:
        return None
    if len(text) > FILE_LIMIT or depth > DEEPEST:
        return None
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return is_inside(address, " ".join(lines), ask, depth + 1)


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _is_local(service: str) -> bool:
    """Whether a listener is for this machine alone: `127.0.0.1:10025`."""
    host, colon, _ = service.rpartition(":")
    if not colon:
        return False
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
