"""The command line in this process, on a directory of its own."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from postmaster.cli.main import main
from postmaster.settings import DovecotSettings, PostfixSettings, as_toml
from tests.tools.building import settings_under


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.err)["error"]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Cli:
    file: Path
    capture: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *arguments: str, stdin: str = "", expect: int | None = 0) -> Result:
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        self.capture.readouterr()
        status = main(["--config", str(self.file), *arguments])
        said = self.capture.readouterr()
        assert expect is None or status == expect, f"{arguments}: {status} {said.out}{said.err}"
        return Result(status, said.out, said.err)


@pytest.fixture
def bare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cli]:
    """A command line whose directory is not made yet."""
    file = tmp_path / "postmaster.toml"
    made = settings_under(tmp_path / "d")
    none = tmp_path / "none"  # the machine's own servers are never meant
    none.mkdir()
    (none / "main.cf").write_text(f"compatibility_level = 3.6\nqueue_directory = {tmp_path}/spool\n")
    (none / "master.cf").touch()
    made = replace(made, postfix=PostfixSettings(none), dovecot=DovecotSettings(none / "dovecot.conf"))
    file.write_text(as_toml(made))
    before = os.umask(0o022)
    yield Cli(file, capsys, monkeypatch)
    os.umask(before)


@pytest.fixture
def cli(bare: Cli) -> Cli:
    bare("init")
    return bare


@pytest.fixture
def house(cli: Cli) -> Cli:
    """A directory with something of each kind in it."""
    cli("domain", "add", "example.org")
    cli("domain", "add", "bücher.example", "--alias-of", "example.org")
    for name in ("amy", "bob"):
        cli("user", "add", f"{name}@example.org", "--hash-stdin", stdin=f"{{BLF-CRYPT}}$2y$05${'a' * 53}\n")
    cli("alias", "set", "team@example.org", "amy@example.org", "bob@example.org")
    cli("alias", "set", "@example.org", "amy@example.org")
    cli("forward", "set", "bob@example.org", "bob@elsewhere.test")
    return cli
