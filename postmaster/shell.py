"""Commands that people are shown, written so that a shell takes them as they stand.

A hint, a remedy or the way back is there to be pasted, by root as a rule. What it names may come from
anywhere: `o'brien@example.org` is an address, and so is `"$(reboot)"@example.org`.
"""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[\w@%+:,./-][\w@%+=:,./-]*", re.ASCII)


def word(value: object) -> str:
    """One word of a command: quoted where a shell would make anything else of it.

    A domain or an address is written for people, and by its A-labels where that has characters that hide.
    """
    text = str(value)
    if not text.isprintable():
        text = getattr(value, "ascii", text)
    if _PLAIN.fullmatch(text):
        return text
    return "'" + text.replace("'", "'\\''") + "'"
