"""Addresses that a domain must have, and addresses that must not be anybody's.

RFC 5321 section 4.5.1 and RFC 2142 want postmaster@ and abuse@. Whoever reads mail for admin@ and the
like can prove control of the domain to a certificate authority (CA/Browser Forum Baseline Requirements,
3.2.2.4.4). Who is meant to read such mail is taken to be whoever reads postmaster@ the domain, or the
postmaster of the settings.
"""

from __future__ import annotations

from collections.abc import Iterator

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory.snapshot import NOWHERE, OUTSIDE, Snapshot
from postmaster.routing.check import remedies
from postmaster.routing.check.finding import Finding
from postmaster.settings import Settings
from postmaster.shell import word

REQUIRED = {"postmaster": "missing_postmaster", "abuse": "missing_abuse"}
CONTROL = ("admin", "administrator", "hostmaster", "webmaster")


def check(snapshot: Snapshot, settings: Settings) -> Iterator[Finding]:
    names = [name for _, name in snapshot.homes()]
    for role, code in REQUIRED.items():
        for name in [*names, *(name for name, _ in snapshot.twins())]:
            there = snapshot.lead(role, name)
            if there not in snapshot.open:
                home = snapshot.domains[snapshot.by_name[name]][1]
                where = Domain(name if home is None else snapshot.domains[home][0])
                why = "does not exist" if there == NOWHERE else "leads nowhere"
                yield Finding(
                    code,
                    f"{role}@{Domain(name)}",
                    f"the address {why}: nobody hears what is wrong with the domain",
                    (
                        remedies.opened(snapshot, there)
                        if there >= 0 and snapshot.addresses[there][1] == role
                        else f"postmaster alias set {word(Address(where, LocalPart(role)))} ADDRESS"
                    ),
                )
    overall = _reached(snapshot, settings.mail.postmaster)
    for name in names:
        meant = overall | _reached(snapshot, f"postmaster@{name}")
        for role in CONTROL:
            there = snapshot.lead(role, name)
            strangers = sorted(snapshot.reached(there) - meant) if there >= 0 else []
            if strangers:
                named = ", ".join(strangers[:3]) + (" and others" if len(strangers) > 3 else "")
                yield Finding(
                    "control_address",
                    f"{role}@{Domain(name)}",
                    f"its mail reaches {named}, who does not read postmaster@{Domain(name)}: "
                    "whoever reads it can prove control of the domain",
                    remedies.sent_to_postmaster(snapshot, role, name),
                )


def _reached(snapshot: Snapshot, address: str) -> set[str]:
    local, at, name = address.lower().rpartition("@")
    there = snapshot.lead(local.partition("+")[0], name) if at else NOWHERE
    if there == OUTSIDE:
        return {address.lower()}
    return snapshot.reached(there) if there >= 0 else set()
