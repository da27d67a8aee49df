"""Waiting for what can be read; unlike select(2), whatever the descriptors' numbers."""

from __future__ import annotations

import selectors
from collections.abc import Iterable
from typing import Any


def readable(ones: Iterable[Any], seconds: float) -> list[Any]:
    """Those that have something to read, or an end; none when the time is over."""
    with selectors.DefaultSelector() as selector:
        for one in ones:
            selector.register(one, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(seconds)]
