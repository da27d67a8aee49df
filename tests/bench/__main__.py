"""Measures the chosen parts and prints one table. Exit status 1 over a limit, 2 for wrong usage."""

from __future__ import annotations

import compileall
import os
import platform
import sys
import time
from importlib import import_module
from pkgutil import iter_modules

import postmaster
import tests.bench
from tests.bench.measuring import Figure, LeftOut

HEADINGS = ("what", "ours", "floor", "ratio", "limit", "ok", "floor is", "how")


def parts() -> dict[str, str]:
    """Name -> module, for every module here that measures."""
    names = [one.name for one in iter_modules(tests.bench.__path__)]
    return {n.replace("_", "-"): f"tests.bench.{n}" for n in names if n not in ("__main__", "measuring")}


def line(one: Figure | LeftOut) -> tuple[str, ...]:
    if isinstance(one, LeftOut):
        return (one.what, "-", "-", "-", "-", "left out", "-", one.why)
    return (
        one.what,
        *(f"{value:,.1f} {one.unit}" for value in (one.ours, one.floor)),
        f"{one.ratio:.2f}",
        f"{one.limit:g}" if one.limit is not None else "-",
        ("yes" if one.is_ok else "NO") if one.limit is not None else "-",
        one.floor_is,
        f"{one.how}; {one.note}" if one.note else one.how,
    )


def table(rows: list[tuple[str, ...]]) -> str:
    """As Markdown has it, so that it can be kept as it is."""
    widths = [max(len(row[at]) for row in [HEADINGS, *rows]) for at in range(len(HEADINGS))]
    lines = [HEADINGS, tuple("-" * width for width in widths), *rows]
    return "\n".join(
        "| " + " | ".join(f"{t:<{w}}" for t, w in zip(row, widths, strict=True)) + " |" for row in lines
    )


def main(arguments: list[str]) -> int:
    known = parts()
    unknown = [name for name in arguments if name not in known]
    if unknown:
        print(f"bench: there is no part {unknown[0]!r} (parts: {', '.join(known)})", file=sys.stderr)
        return 2
    # As pip does where it installs: Python may have been told to write no bytecode of a checkout.
    compileall.compile_dir(next(iter(postmaster.__path__)), quiet=1)
    rows, is_ok, begun = [], True, time.monotonic()
    for name in arguments or known:
        print(f"bench: measuring {name} …", file=sys.stderr)
        for one in import_module(known[name]).figures():
            rows.append(line(one))
            is_ok &= not isinstance(one, Figure) or one.is_ok
    print(table(rows))
    load = os.getloadavg()[0]
    print(
        f"\nPython {platform.python_version()}, {os.cpu_count()} processors, load {load:.1f}, "
        f"{time.monotonic() - begun:.0f} s"
    )
    if not is_ok:
        print("bench: a limit is exceeded", file=sys.stderr)
    return 0 if is_ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
