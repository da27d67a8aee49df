"""What SPF says about a server's address: pyspf evaluates, our asker looks up (RFC 7208)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from postmaster.health.names.asking import Asker, Outcome

MOST_LOOKUPS = 10  # RFC 7208 4.6.4
#: No server's address (RFC 2544). No mechanism matches it, so its evaluation takes the most look-ups of any.
NOBODY = "198.18.0.1"

_PREFIX = re.compile(r"\ASPF (?:Permanent|Temporary) Error: ")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`result`: pass, fail, softfail, neutral, none, permerror, temperror. `lookups` that it took."""

    result: str
    lookups: int
    detail: str = ""

    @property
    def is_too_many(self) -> bool:
        return self.result == "permerror" and re.search(r"too many|limit of", self.detail, re.I) is not None


def evaluate(asker: Asker, address: str, domain: str, helo: str) -> Verdict:
    """SPF for mail of a domain from an address."""
    query = _query(asker, address, domain, helo)
    result, _, detail = query.check()
    return Verdict(result, int(query.lookups), _PREFIX.sub("", " ".join(str(detail).split()))[:200])


def _query(asker: Asker, address: str, domain: str, helo: str) -> Any:
    import spf  # type: ignore[import-untyped]

    class Query(spf.query):  # type: ignore[misc]
        """pyspf's evaluation, its questions asked by our asker."""

        def dns(self, name: Any, qtype: str, cnames: Any = None, ignore_void: bool = False) -> list[Any]:
            name = str(name).rstrip(".")
            if not all(0 < len(label) < 64 for label in name.split(".")) or len(name) > 253:
                return []
            answer = asker.ask(name, qtype)
            if not answer.is_known:
                raise spf.TempError(f"DNS {answer}")
            if answer.outcome is not Outcome.found:
                if not ignore_void:
                    self.void_lookups += 1
                    if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                        raise spf.PermError(f"Void lookup limit of {spf.MAX_VOID_LOOKUPS} exceeded")
                return []
            return [_plain(one, qtype) for one in answer.records]

    return Query(i=address, s=f"postmaster@{domain}", h=helo or domain, timeout=0)


def _plain(record: Any, kind: str) -> Any:
    """A record as pyspf wants it."""
    if kind in ("A", "AAAA"):
        return record.address
    if kind == "MX":
        return record.preference, str(record.exchange).rstrip(".")
    if kind == "PTR":
        return str(record.target).rstrip(".")
    return record.strings
