"""The table of the checks' codes in docs/health.md, from the checks themselves."""

from __future__ import annotations

from collections.abc import Iterator

from postmaster.health.checks import COMMON_CODES, NAMES, load
from tests.tools.documented import DOCS

PAGE = DOCS / "health.md"
HEADING = "## Codes\n"


def page() -> str:
    """The page with the section as it should be; it is the last one."""
    before, _, _ = PAGE.read_text(encoding="utf-8").partition(HEADING)
    return before + "".join(_section())


def _section() -> Iterator[str]:
    yield f"{HEADING}\nCodes never change; new ones may come. See also `postmaster health list`.\n\n"
    yield "| Check | Code | Meaning |\n|---|---|---|\n"
    for code, meaning in COMMON_CODES.items():
        yield f"| `every` | `{code}` | {_sentence(meaning)} |\n"
    for name in NAMES:
        for code, meaning in load(name).codes.items():
            yield f"| `{name}` | `{code}` | {_sentence(meaning)} |\n"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}.".replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
