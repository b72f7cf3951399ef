"""Choosing by name, with a refusal that lists what is known, the nearest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from typing import TypeVar

Choice = TypeVar("Choice")


def choose(what: str, name: str, table: Mapping[str, Choice]) -> Choice:
    """Return `table[name]`.

    Raises:
        ValueError: when there is no such name; lists the known ones, the nearest first.

    Example:
        >>> choose("colour", "blue", {"red": 1, "blue": 2})
        2
        >>> choose("colour", "blu", {"red": 1, "blue": 2})
        Traceback (most recent call last):
        ValueError: unknown colour 'blu'; known: blue, red
    """
    return table[one_of(what, name, table)]


def one_of(what: str, name: str, known: Iterable[str]) -> str:
    """Return `name` if it is among the known.

    Raises:
        ValueError: when it is not; lists the known ones, the nearest first.
    """
    known = list(known)
    if name not in known:
        raise ValueError(f"unknown {what} {name!r}; known: {nearest_first(name, known) or 'none'}")
    return name


def nearest_first(name: str, known: Iterable[str]) -> str:
    """Return the known names as a list in words, those most like `name` first.

    Example:
        >>> nearest_first("pach", ["width", "depth", "patch"])
        'patch, depth, width'
    """
    likeness = SequenceMatcher(b=str(name).lower())

    def distance(candidate: str) -> tuple[float, str]:
        likeness.set_seq1(candidate.lower())
        return -likeness.ratio(), candidate

    return ", ".join(sorted(known, key=distance))
