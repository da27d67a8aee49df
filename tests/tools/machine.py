"""What this machine has of what the tests, the demo and the figures need."""

from __future__ import annotations

import os
import shutil


def missing_for_servers(*also: str) -> str | None:
    """Why the real servers cannot be started here, None where they can. `also`: further programs."""
    if os.geteuid() != 0:
        return "the servers start as root, and this is not root"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in ("postfix", "dovecot", "postmap", *also) if not shutil.which(name, path=path)]
    return f"not installed: {', '.join(missing)}" if missing else None
