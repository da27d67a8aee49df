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


class System(StrEnum):
    """Whose directories can be read."""

    postfixadmin = "postfixadmin"
    passwd_file = "passwd-file"
    aliases = "aliases"
    docker_mailserver = "docker-mailserver"
    mailinabox = "mailinabox"
    mailu = "mailu"
    vimbadmin = "vimbadmin"
    iredmail = "iredmail"
    modoboa = "modoboa"


As = Annotated[
    Kind | None, typer.Option("--as", help="The format of the file; without it, as its name says.")
]
