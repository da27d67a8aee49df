"""The colours of pages and mails, by day and in the dark: each on its ground has WCAG's contrast AA."""

from __future__ import annotations

from collections.abc import Mapping

LIGHT: Mapping[str, str] = {
    "ground": "#f4f5f7", "card": "#ffffff", "text": "#1c2230", "soft": "#586074", "line": "#dfe3e9",
    "curve": "#2f6fab", "critical": "#b3261e", "critical-tint": "#fcebea", "warning": "#835300",
    "warning-tint": "#fdf3de", "unknown": "#5c4b9b", "unknown-tint": "#f0edfa", "ok": "#1d6b41",
    "ok-tint": "#e7f4ec",
}  # fmt: skip
DARK: Mapping[str, str] = {
    "ground": "#13161b", "card": "#1b1f26", "text": "#e4e7ed", "soft": "#a3acbb", "line": "#313742",
    "curve": "#76b0e6", "critical": "#ff9d94", "critical-tint": "#3a2022", "warning": "#efc165",
    "warning-tint": "#352b18", "unknown": "#c3b6f7", "unknown-tint": "#2a2640", "ok": "#85d5a7",
    "ok-tint": "#19301f",
}  # fmt: skip


def variables(colours: Mapping[str, str]) -> str:
    """As a page's style declares them."""
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())
