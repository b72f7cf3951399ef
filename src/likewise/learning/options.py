"""Checks of names and options given by hand: a refusal says what was given, what is known and what fits."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

Choice = TypeVar("Choice")


def choose(kind: str, name: str, table: Mapping[str, Choice]) -> Choice:
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
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}; known: {nearest_first(name, table)}")
    return table[name]


def only_known(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names in `given` that are not in `known`.

    Raises:
        ValueError: names the first unknown one and lists the known ones, the nearest first.
    """
    known = list(known)
    for name in given:
        if name not in known:
            raise ValueError(f"{owner} has no option {name!r}; known: {nearest_first(name, known) or 'none'}")


def nearest_first(name: str, known: Iterable[str]) -> str:
    """Return the known names as a list in words, those most like `name` first.

    Example:
        >>> nearest_first("pach", ["width", "depth", "patch"])
        'patch, depth, width'
    """
    likeness = difflib.SequenceMatcher(b=str(name).lower())

    def distance(candidate: str) -> tuple[float, str]:
        likeness.set_seq1(candidate.lower())
        return -likeness.ratio(), candidate

    return ", ".join(sorted(known, key=distance))


def whole(owner: str, name: str, value: int, *, least: int = 1, most: int | None = None, step: int = 1) -> int:
    """Return `value`, a whole number from `least` to `most` and a multiple of `step`.

    Raises:
        ValueError: when it is not; names the nearest that fits.

    Example:
        >>> whole("conv", "width", 30, step=8)
        Traceback (most recent call last):
        ValueError: conv: width is 30, but must be a whole number >= 8 and a multiple of 8; the nearest is 32
    """
    least = -(-least // step) * step
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if is_whole and value >= least and (most is None or value <= most) and value % step == 0:
        return value
    bounds = f"from {least} to {most}" if most is not None else f">= {least}"
    steps = f" and a multiple of {step}" if step > 1 else ""
    hint = f"; the nearest is {_nearest(value, least, most, step)}" if is_whole else ""
    raise ValueError(f"{owner}: {name} is {value!r}, but must be a whole number {bounds}{steps}{hint}")


def _nearest(value: int, least: int, most: int | None, step: int) -> int:
    closest = max(least, (value + step // 2) // step * step)
    return closest if most is None else min(closest, most // step * step)
