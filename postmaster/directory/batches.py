"""Ids and names in lots that are small enough for one query."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Key = TypeVar("Key", int, str)

SIZE = 500  # below SQLite's oldest limit of 999 variables


def batches(keys: Iterable[Key]) -> Iterator[list[Key]]:
    waiting = iter(keys)
    while batch := list(islice(waiting, SIZE)):
        yield batch
