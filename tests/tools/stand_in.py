"""A stand-in for postqueue that prints a file: lines that no real queue can be made to hold."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest


def postqueue(folder: Path, monkeypatch: pytest.MonkeyPatch, lines: Iterable[bytes]) -> Path:
    """Puts it before everything else on PATH, with a postconf of a queue that is not there. The file."""
    listing = folder / "listing"
    listing.write_bytes(b"".join(line + b"\n" for line in lines))
    programs = folder / "bin"
    programs.mkdir()
    for name, script in (
        ("postqueue", f"cat {listing}"),
        ("postconf", f"echo queue_directory = {folder}/none"),  # so that postqueue is asked
    ):
        program = programs / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return listing
