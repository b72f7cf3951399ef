"""Forgeries: samples that imitate a class and are none of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from likewise.data.raw import Raw

if TYPE_CHECKING:
    import pandas as pd


def claim(raw: Raw) -> str:
    """Say what the source claims of a sample.

    >>> claim(Raw("1", "Ann", "1.png")), claim(Raw("2", None, "2.png", forges="Ann"))
    ('class Ann', 'a forgery of class Ann')
    """
    return f"class {raw.label}" if raw.forges is None else f"a forgery of class {raw.forges}"


def imitated(raw: Raw) -> str | None:
    """Return the class of a sample, for a forgery the one that it imitates."""
    return raw.label if raw.forges is None else raw.forges


def with_groups(raws: Sequence[Raw]) -> list[Raw]:
    """Return the samples, each forgery without a group in that of the class it imitates, where that has one only.

    >>> with_groups([Raw("1", "Ann", "1.png", "north"), Raw("2", None, "2.png", forges="Ann")])[1].group
    'north'
    """
    known: defaultdict[str, set[str | None]] = defaultdict(set)
    for raw in raws:
        if raw.label is not None:
            known[raw.label].add(raw.group)
    only = {label: next(iter(names)) for label, names in known.items() if len(names) == 1}
    return [
        replace(raw, group=only.get(raw.forges)) if raw.forges is not None and raw.group is None else raw
        for raw in raws
    ]


def classes(samples: pd.DataFrame) -> pd.Series[str]:
    """Return the class of each sample of a frame, for a forgery the one that it imitates."""
    return samples["class"].fillna(samples["forges"]) if "forges" in samples else samples["class"]


def refuse_astray(samples: pd.DataFrame) -> None:
    """Check that each forgery is of a group in which the class that it imitates has a sample, too.

    Raises:
        ValueError: one is not; names the first and what to do.
    """
    if "forges" not in samples:
        return
    known = set(samples.loc[samples["class"].notna(), ["class", "group"]].itertuples(index=False, name=None))
    forged = samples.loc[samples["forges"].notna(), ["id", "forges", "group"]].itertuples(index=False, name=None)
    astray = [row for row in forged if row[1:] not in known]
    if astray:
        name, label, group = astray[0]
        raise ValueError(
            f"{len(astray)} forgeries are of a group in which the class that they imitate has no sample, such as "
            f"{name} (group {group}, class {label}): give them the group of its samples, or split by class"
        )
