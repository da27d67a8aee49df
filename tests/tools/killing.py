"""Programs that answer a line with a line, and one that ends at its n-th write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from tests.tools import killable

_SOURCE = Path(killable.__file__).with_name("killed_at_write.c")


class Helper:
    """A program that answers a line with a line."""

    def __init__(self, argv: list[str], **given: Any) -> None:
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, **given
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to: IO[str] = self._process.stdin
        self._from: IO[str] = self._process.stdout

    def ask(self, text: str = "") -> Any:
        self._to.write(text if text else ".")
        self._to.flush()
        return json.loads(self._from.readline())

    def end(self) -> None:
        self._to.close()
        self._from.close()
        self._process.wait(30)


def build_shim(folder: Path) -> Path:
    """The library that counts writes."""
    library = folder / "killed_at_write.so"
    subprocess.run(["gcc", "-O1", "-Wall", "-shared", "-fPIC", "-o", library, _SOURCE, "-ldl"], check=True)
    return library


def worker(settings_file: Path, shim: Path) -> Helper:
    """A started `killable`."""
    return Helper(
        [sys.executable, killable.__file__, str(settings_file)],
        env={**os.environ, "LD_PRELOAD": str(shim), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
