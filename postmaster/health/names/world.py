"""What every question about names needs, and how its findings are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from postmaster.health.finding import OK, Context, Finding, Severity

if TYPE_CHECKING:
    from postmaster.health.names.asking import Asker
    from postmaster.settings import Settings


@dataclass(frozen=True, slots=True)
class World:
    """What every question needs."""

    context: Context
    asker: Asker
    addresses: tuple[str, ...]  # ours, public ones
    helo: str

    @property
    def settings(self) -> Settings:
        return self.context.settings


def problem(thing: str, code: str, severity: Severity, message: str, remedy: str) -> Finding:
    return Finding("dns", thing, code, severity, message, remedy)


def fine(thing: str, message: str) -> Finding:
    return Finding("dns", thing, OK, Severity.ok, message)
