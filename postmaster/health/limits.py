"""Which settings a check is judged by, by how their keys begin."""

from __future__ import annotations

from dataclasses import fields

from postmaster.settings import HealthSettings

#: Of no check: how all are run, what is remembered, how reports leave.
GENERAL = ("deadline", "flap", "history_days", "report_", "fallback")

_OF = {
    "services": ("answer_",),
    "processes": ("log_minutes", "restarts_"),
    "round-trip": ("round_trip", "probe_", "reflector"),
    "certificates": ("certificate_", "ca_file"),
    "queue": ("queue_",),
    "directory": ("sample", "quota_", "login_failures_"),
    "dns": ("dns", "resolver", "addresses", "dkim_", "blocklists", "domain_blocklists"),
    "webmail": ("webmail_", "probe_", "ca_file"),
    "machine": ("disk_", "memory_", "swap_", "load_", "clock", "backup_"),
}


def keys(check: str) -> list[str]:
    """The keys of `health.*`, in the order of the settings."""
    return [one.name for one in fields(HealthSettings) if one.name.startswith(_OF.get(check, ()))]
