"""Which systems can be read, and reading one."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from postmaster.bulk.foreign.gathering import Gathered
from postmaster.errors import UsageError
from postmaster.settings import MailSettings

#: Name -> its module here.
SYSTEMS = {
    "postfixadmin": "postfixadmin",
    "passwd-file": "passwd_file",
    "aliases": "aliases",
    "docker-mailserver": "docker_mailserver",
    "mailinabox": "mailinabox",
    "mailu": "mailu",
    "vimbadmin": "vimbadmin",
    "iredmail": "iredmail",
    "modoboa": "modoboa",
}


def gather(
    system: str, source: str, mail: MailSettings, *, old_root: Path | None = None, domain: str | None = None
) -> Gathered:
    """What a system's directory says. `old_root` is where it kept mail, if not where it usually is.

    `domain` is for the names of an alias(5) file. Raises NotFoundError, UsageError.
    """
    module = import_module(f"postmaster.bulk.foreign.{SYSTEMS[system]}")
    into = Gathered(mail.root, Path(old_root or module.ROOT))
    if getattr(module, "NEEDS_DOMAIN", False):
        if domain is None:
            raise UsageError(
                f"{source} has names without a domain", hint="say in which one they are: --domain example.org"
            )
        module.gather(source, into, domain)
    else:
        if domain is not None:
            raise UsageError("--domain is for --from aliases alone")
        module.gather(source, into)
    into.settle()
    return into
