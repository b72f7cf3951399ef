"""Samples that a table of pairs names: two files a row, and whether they are of the same thing; no classes."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from likewise.data.components import components
from likewise.data.folders import FolderReader
from likewise.data.manifest import located
from likewise.data.raw import PairRows, Raw, Source
from likewise.data.tables import DEFAULT_COLUMNS, Columns, Flag, flags, groups, open_table, texts, without

if TYPE_CHECKING:
    import pandas as pd

CONTRADICTS, STATED = "contradicts row ", "a file is named in two splits: "
"""How two of the reasons begin."""


def open_pairs(path: Path, *, table: str | None = None, columns: Columns = DEFAULT_COLUMNS) -> Source:
    """Return the files that a CSV or Parquet table of pairs in the folder `path` names, each once, and its rows.

    Paths are as in a manifest; a sample's id is its path below `path`. No sample has a class. A row is a pair whatever
    is wrong with it: `settled` says which can be used.

    Args:
        path: The folder that holds the table and the files.
        table: The table's path in the folder; by default its only .csv, .tsv or .parquet.
        columns: The names of the columns.

    Raises:
        ValueError: no such folder, table or column, or a table that cannot be read.
    """
    opened, root = open_table(path, table), path.resolve()
    rows, where = opened.rows, opened.where
    cells = (
        texts(rows, getattr(columns, side), key=f"ingest.columns.{side}", where=where) for side in ("left", "right")
    )
    left, right = (list(located(root, opened.folder, each)) for each in cells)
    same = flags(rows, columns.same, key="ingest.columns.same", where=where)
    samples: dict[str, Raw] = {}
    for place, refused in (*left, *right):
        if place is not None:
            samples.setdefault(_nfc(place), Raw(_nfc(place), None, place, refused=refused))
    given = PairRows(
        left=tuple(None if place is None else _nfc(place) for place, _ in left),
        right=tuple(None if place is None else _nfc(place) for place, _ in right),
        same=tuple(said for said, _ in same),
        wrong=tuple(_wrong(*row, columns) for row in zip(left, right, same, strict=True)),
        groups=tuple(name and _nfc(name) for name in groups(rows, columns.group, where=where)),
        carried=without(rows, (columns.left, columns.right, columns.same, columns.group)),
    )
    return Source(tuple(samples[name] for name in sorted(samples)), FolderReader(root), pairs=given)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _wrong(
    left: tuple[str | None, str | None], right: tuple[str | None, str | None], same: Flag, columns: Columns
) -> str | None:
    for (place, _), column in ((left, columns.left), (right, columns.right)):
        if place is None:
            return f"{column} is empty"
    if left[0] == right[0]:
        return f"both sides are one file: {left[0]}"
    said, wrong = same
    return wrong or (f"{columns.same} is empty" if said is None else None)


def joined(rows: PairRows, *, genuine: bool = False) -> dict[str, str]:
    """Return for each sample the name of all those that pairs join, directly or through others: the first of their ids.

    Every row that names two files joins them, also one that cannot be used: so a file that is mended changes nothing.

    Args:
        rows: The pairs.
        genuine: Whether only genuine pairs join.
    """
    named = zip(rows.left, rows.right, rows.same, strict=True)
    return components((one, other) for one, other, same in named if one and other and (same or not genuine))


def stated_groups(rows: PairRows) -> dict[str, str]:
    """Return the group of each sample of which a row says it, or where pairs join it with samples of one group only.

    Raises:
        ValueError: rows give a sample two groups; names both.
    """
    said = first_said(rows, rows.groups)
    for row, name in enumerate(rows.groups):
        for sample in _sides(rows, row) if name is not None else ():
            other, earlier = said[sample]
            if other != name:
                raise ValueError(
                    f"{sample} is of two groups, {other} (row {earlier + 1}) and {name} (row {row + 1}): give each "
                    "file one group (ingest.columns.group), or call the column something else"
                )
    names = joined(rows) if said else {}
    found: dict[str, set[str]] = {}
    for sample, (group, _) in said.items():
        found.setdefault(names.get(sample, sample), set()).add(group)
    only = {name: next(iter(groups)) for name, groups in found.items() if len(groups) == 1}
    inherited = {sample: only[name] for sample, name in names.items() if name in only}
    return inherited | {sample: group for sample, (group, _) in said.items()}


def first_said(rows: PairRows, said: Sequence[str | None]) -> dict[str, tuple[str, int]]:
    """Return for each sample what the first row that names it and says anything says of it, and that row, from 0."""
    found: dict[str, tuple[str, int]] = {}
    for row, value in enumerate(said):
        for sample in _sides(rows, row) if value is not None else ():
            found.setdefault(sample, (str(value), row))
    return found


def _sides(rows: PairRows, row: int) -> list[str]:
    """Return the samples of a row, as far as it names any."""
    return [name for name in (rows.left[row], rows.right[row]) if name is not None]


Reasons = list[str | None]


@dataclass(frozen=True, eq=False)
class Settled:
    """What became of the rows of a table of pairs.

    Attributes:
        kept: left, right, same (0 or 1), and the carried columns as `carried.*`, in the order of the table.
        rejected: row (1 is the first below the header), left, right and the reason of the others.
    """

    kept: pd.DataFrame
    rejected: pd.DataFrame


def settled(
    rows: PairRows,
    samples: pd.DataFrame,
    left_out: Mapping[str, str],
    stated: Sequence[str | None] | None = None,
) -> Settled:
    """Return the pairs that can be used, between samples that were kept, and why each other one cannot.

    Args:
        rows: The pairs.
        samples: id, group, split of the samples that were kept.
        left_out: Why each other file was left out, by its id.
        stated: The split that each row states, or None; none at all where the table does not decide.
    """
    reasons = list(rows.wrong)
    _reject_unusable(rows, reasons, left_out)
    _reject_repeated(rows, reasons)
    if stated is not None:
        _reject_astray(rows, reasons, stated)
    _reject_across(rows, reasons, samples)
    return Settled(*_frames(rows, reasons))


def _frames(rows: PairRows, reasons: Reasons) -> tuple[pd.DataFrame, pd.DataFrame]:
    import numpy as np
    import pandas as pd

    from likewise.artifacts import CARRIED

    kept = np.flatnonzero([reason is None for reason in reasons])
    given = pd.DataFrame({"left": pd.Series(rows.left, dtype="str"), "right": pd.Series(rows.right, dtype="str")})
    same = np.array([rows.same[row] for row in kept], dtype=np.int8)
    carried: pd.DataFrame = rows.carried.take(kept).to_pandas(types_mapper=pd.ArrowDtype)
    others = given.assign(row=np.arange(1, len(given) + 1), reason=pd.Series(reasons, dtype="str"))
    return (
        pd.concat([given.iloc[kept].reset_index(drop=True).assign(same=same), carried.add_prefix(CARRIED)], axis=1),
        others.loc[others["reason"].notna(), ["row", "left", "right", "reason"]].reset_index(drop=True),
    )


def _reject_unusable(rows: PairRows, reasons: Reasons, left_out: Mapping[str, str]) -> None:
    for row, reason in enumerate(reasons):
        if reason is not None:
            continue
        left, right = _sides(rows, row)
        lost = next((name for name in (left, right) if name in left_out), None)
        if lost is not None:
            reasons[row] = f"a file cannot be used: {lost} ({left_out[lost]})"
        elif left == right:
            reasons[row] = f"both sides have one content: {left}"


def _reject_repeated(rows: PairRows, reasons: Reasons) -> None:
    """Reject all rows of a pair that is said to be genuine and impostor, and all but the first of one that repeats."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for row, reason in enumerate(reasons):
        if reason is None:
            alike.setdefault(tuple(sorted(_sides(rows, row))), []).append(row)
    for found in alike.values():
        for row in found:
            other = next((peer for peer in found if rows.same[peer] != rows.same[row]), None)
            if other is not None:
                reasons[row] = f"{CONTRADICTS}{other + 1}"
            elif row != found[0]:
                reasons[row] = f"repeats row {found[0] + 1}"


def _reject_astray(rows: PairRows, reasons: Reasons, stated: Sequence[str | None]) -> None:
    """Reject a row that states a split in which its files are not, by a row before."""
    said = first_said(rows, stated)
    for row, split in enumerate(stated):
        if reasons[row] is not None or split is None:
            continue
        told = ((sample, *said[sample]) for sample in _sides(rows, row))
        other = next((each for each in told if each[1] != split), None)
        if other is not None:
            reasons[row] = f"{STATED}{other[0]} is in {other[1]} by row {other[2] + 1}, here in {split}"


def _reject_across(rows: PairRows, reasons: Reasons, samples: pd.DataFrame) -> None:
    """Reject a row whose samples are in two splits, or that is genuine and of two groups."""
    splits = dict(zip(samples["id"], samples["split"], strict=True))
    of_group = dict(zip(samples["id"], samples["group"], strict=True))
    for row, reason in enumerate(reasons):
        if reason is not None:
            continue
        left, right = _sides(rows, row)
        if splits[left] != splits[right]:
            reasons[row] = f"its files are in two splits: {left} ({splits[left]}), {right} ({splits[right]})"
        elif rows.same[row] and of_group[left] != of_group[right]:
            told = f"{left} ({of_group[left]}), {right} ({of_group[right]})"
            reasons[row] = f"a genuine pair between two groups: {told}"
