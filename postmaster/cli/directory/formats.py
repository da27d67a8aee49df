"""The option that names a file's format."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Kind(StrEnum):
    csv = "csv"
    json = "json"
    yaml = "yaml"
    toml = "toml"


As = Annotated[
    Kind | None, typer.Option("--as", help="The format of the file; without it, as its name says.")
]
