"""Checks of the ingested data: what each found, and whether that stops the stage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from likewise.data.cleaning import CONFLICT, DUPLICATE
from likewise.data.fingerprints import BITS
from likewise.data.near_duplicates import Fingerprints
from likewise.data.pair_tables import CONTRADICTS, STATED

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

Mode = Literal["fail", "warn", "off"]
NAMED = 3
SPLITS = ("train", "val", "test")
BLOCK_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Checked:
    """What the checks look at.

    Attributes:
        kind: Of the samples.
        samples: id, class, group, split.
        quarantine: id, class, reason of what was left out.
        stated: The split that a table states for each id, kept or left out, by our names; None where hashes decide.
        media: The rows of all samples (n, ...); images have one each, uint8 (n, C, H, W).
        offsets: Where each sample begins in the media, and where the last one ends.
        near_bits: How many bits of their fingerprints may differ between near-duplicates.
        rejected: row, reason of the pairs that a source gives and that are left out; None where it gives none.
    """

    kind: str
    samples: pd.DataFrame
    quarantine: pd.DataFrame
    stated: Mapping[str, str] | None
    media: NDArray[Any]
    offsets: NDArray[np.int64]
    near_bits: int
    rejected: pd.DataFrame | None = None


@dataclass(frozen=True)
class Finding:
    """How many of what a check found, with the first few by name."""

    count: int
    what: str
    examples: tuple[str, ...]


def check(data: Checked, modes: Mapping[str, Mode]) -> dict[str, Finding]:
    """Return what each check found that is not off, in the order of `modes`.

    Raises:
        ValueError: checks whose mode is "fail" found something; names all of these.
    """
    found = {name: CHECKS[name](data) for name, mode in modes.items() if mode != "off"}
    failing = [told(name, found[name]) for name, mode in modes.items() if mode == "fail" and found[name].count]
    if failing:
        raise ValueError("; ".join(failing) + "; mend the data, or set the check to warn (ingest.checks)")
    return found


def told(name: str, finding: Finding) -> str:
    """Say in a line what a check found.

    >>> told("constant", Finding(1, "samples are the same all over", ("a/1.png",)))
    'check constant: 1 samples are the same all over: a/1.png'
    """
    more = finding.count - len(finding.examples)
    listed = "; ".join(finding.examples) + (f" and {more:,} more" if more else "")
    return f"check {name}: {finding.count:,} {finding.what}{f': {listed}' if listed else ''}"


def _small_classes(data: Checked) -> Finding:
    lost = sorted(set(data.quarantine["class"].dropna()) - set(data.samples["class"].dropna()))
    return _finding(lost, "classes have too few usable samples and are left out")


def _label_conflicts(data: Checked) -> Finding:
    if data.rejected is not None:
        return _finding(_pairs(data.rejected, CONTRADICTS), "pairs are called genuine and impostor, and left out")
    rows = data.quarantine[data.quarantine["reason"].str.startswith(CONFLICT)]
    pairs = zip(rows["id"], rows["reason"], strict=True)
    return _finding([f"{id_}: {reason}" for id_, reason in pairs], "samples are under two classes and left out")


def _pairs(rejected: pd.DataFrame, beginning: str) -> list[str]:
    """Return the rows of a table of pairs whose reason begins so."""
    rows = rejected[rejected["reason"].str.startswith(beginning)]
    return [f"row {row} {reason}" for row, reason in zip(rows["row"], rows["reason"], strict=True)]


def _same_file(data: Checked) -> Finding:
    found = [] if data.rejected is None else _pairs(data.rejected, STATED)
    stated = data.stated or {}
    rows = data.quarantine[data.quarantine["reason"].str.startswith(DUPLICATE)]
    twins = zip(rows["id"], rows["reason"].str.removeprefix(DUPLICATE), strict=True)
    sides = [(one, stated.get(one), other, stated.get(other)) for one, other in twins]
    both = [f"{one} ({a}) is {other} ({b})" for one, a, other, b in sides if a and b and a != b]
    return _finding([*found, *both], "files are in two splits of the table, and left out of one")


def _same_group(data: Checked) -> Finding:
    sides = data.samples.groupby("group")["split"].nunique()
    return _finding([str(name) for name in sides.index[sides > 1]], "groups are in two splits")


def _near_duplicates(data: Checked) -> Finding:
    splits = data.samples["split"].to_numpy(dtype=object)
    sides = (np.array(SPLITS)[:, None] == splits).argmax(axis=0)
    found = Fingerprints(data.kind, data.media, data.offsets, sides)
    near = found.near(bits=data.near_bits)
    held_out = near[sides[near] > 0]
    ids = data.samples["id"].to_numpy(dtype=object)
    named = held_out[:NAMED]
    pairs = zip(named, found.twins(named), strict=True)
    examples = tuple(f"{ids[one]} ({splits[one]}) ~ {ids[twin]} ({splits[twin]})" for one, twin in pairs)
    what = f"samples of val and test are like one of another split, to {data.near_bits} of {BITS[data.kind]} bits"
    return Finding(len(held_out), what, examples)


def _constant(data: Checked) -> Finding:
    rows = np.zeros(len(data.media), dtype=bool)
    for start in range(0, len(data.media), BLOCK_ROWS):
        block = data.media[start : start + BLOCK_ROWS]
        # A text has no channels.
        block = block[:, None] if block.ndim == 2 else block.reshape(*block.shape[:2], -1)
        rows[start : start + len(block)] = (block.min(axis=2) == block.max(axis=2)).all(axis=1)
    # A sample is when each of its rows is.
    samples = np.logical_and.reduceat(rows, data.offsets[:-1])
    return _finding(data.samples["id"][samples], "samples are the same all over")


def _finding(found: Iterable[str], what: str) -> Finding:
    names = list(found)
    return Finding(len(names), what, tuple(names[:NAMED]))


CHECKS: dict[str, Callable[[Checked], Finding]] = {
    "small_classes": _small_classes,
    "label_conflicts": _label_conflicts,
    "same_file": _same_file,
    "same_group": _same_group,
    "near_duplicates": _near_duplicates,
    "constant": _constant,
}
