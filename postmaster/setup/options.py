"""What one call of `setup` may say differently from the settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from postmaster.address import Address


@dataclass(frozen=True, slots=True)
class SetupOptions:
    certificate: Path | None = None  # None: what main.cf names now
    key: Path | None = None
    postmaster: Address | None = None  # None: settings.mail.postmaster
    keep_system_logins: bool = False
