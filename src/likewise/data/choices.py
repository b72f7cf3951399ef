"""Choosing by name, with a refusal that helps."""

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from typing import TypeVar

T = TypeVar("T")


def nearest_first(given: str, known: Iterable[str]) -> str:
    """Return the known names as one comma-separated line, the most similar to `given` first.

    >>> nearest_first("foldr", ["digits", "folder", "idx"])
    'folder, idx, digits'
    """
    ranked = sorted(known, key=lambda name: (-SequenceMatcher(None, given, name).ratio(), name))
    return ", ".join(ranked)


def choose(table: Mapping[str, T], name: str, *, what: str) -> T:
    """Return `table[name]`, or raise a ValueError that lists the known names.

    >>> choose({"a": 1}, "b", what="letter")
    Traceback (most recent call last):
    ...
    ValueError: unknown letter 'b': known are a
    """
    if name not in table:
        raise ValueError(f"unknown {what} {name!r}: known are {nearest_first(name, table)}")
    return table[name]
