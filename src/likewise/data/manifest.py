"""Samples that a table names: a row a file, with its class, its group, and whatever is to be carried along."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from likewise.data.cleaning import CONFLICT, DUPLICATE
from likewise.data.folders import OUTSIDE, FolderReader, link_refusal
from likewise.data.forgeries import claim, with_groups
from likewise.data.raw import Raw, Source
from likewise.data.tables import (
    DEFAULT_COLUMNS,
    Columns,
    Flag,
    forgeries,
    groups,
    open_table,
    texts,
    without,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


def open_manifest(path: Path, *, table: str | None = None, columns: Columns = DEFAULT_COLUMNS) -> Source:
    """Return the samples that a CSV or Parquet table in the folder `path` names.

    Paths are relative to the folder of the table and must stay in `path`, also where they lead through links. A
    sample's id is its path below `path`, in Unicode's NFC form. All columns but those of the path, the label, the
    group and the forgeries are carried along, of the types that they have. A forgery has no class: it imitates the one
    of its label, and takes the group of that class where it has none of its own and the class has one only.

    Refused each by itself, with the number of its row (1 is the first below the header), are rows without a path or a
    label, or neither forged nor not, files that are missing or outside, and rows that name a file again. A file named
    under two classes, or as forged and not, is refused in all its rows.

    Args:
        path: The folder that holds the table and the files.
        table: The table's path in the folder; by default its only .csv, .tsv or .parquet.
        columns: The names of the columns.

    Raises:
        ValueError: no such folder, table or column, or a table that cannot be read.
    """
    opened = open_table(path, table)
    return from_table(opened.rows, path, columns=columns, where=opened.where, folder=opened.folder)


def from_table(rows: pa.Table, path: Path, *, columns: Columns, where: str, folder: Path = Path()) -> Source:
    """Return the samples that the rows of a table name, as `open_manifest` does.

    Args:
        rows: The table.
        path: The folder that holds the files.
        columns: The names of the columns.
        where: What the table is called in a message.
        folder: What the table's paths are relative to, below `path`.

    Raises:
        ValueError: no such column.
    """
    cells = texts(rows, columns.path, key="ingest.columns.path", where=where)
    labels = texts(rows, columns.label, key="ingest.columns.label", where=where)
    root = path.resolve()
    places = located(root, folder, cells)
    forged = forgeries(rows, columns.forged, where=where)
    described = zip(places, labels, groups(rows, columns.group, where=where), forged, strict=True)
    raws = _once(with_groups([_sample(number, *row) for number, row in enumerate(described, start=1)]))
    order = _by_id(raws)
    carried = without(rows, (columns.path, columns.label, columns.group, columns.forged)).take(order)
    return Source(tuple(raws[row] for row in order), FolderReader(root), carried)


def _by_id(raws: Sequence[Raw]) -> NDArray[np.int64]:
    import numpy as np

    return np.array(sorted(range(len(raws)), key=lambda row: raws[row].id), dtype=np.int64)


def located(root: Path, folder: Path, cells: Sequence[str | None]) -> Iterator[tuple[str | None, str | None]]:
    """Yield for each cell the path below the root, and why it is not read, if so."""
    top, base = f"{root}{os.sep}", str(root / folder)
    folder_is_inside = lru_cache(maxsize=1 << 16)(lambda parent: f"{os.path.realpath(parent)}{os.sep}".startswith(top))
    for cell in cells:
        if cell is None:
            yield None, "no path"
            continue
        # Tables written on Windows part folders with backslashes.
        named = cell.replace("\\", "/") if "/" not in cell else cell
        whole = os.path.normpath(named if named.startswith("/") else f"{base}/{named}")
        if not whole.startswith(top):
            yield cell, "its path leads outside the folder"
            continue
        inside = folder_is_inside(whole.rpartition(os.sep)[0])
        yield whole[len(top) :], _refusal(whole, root) if inside else OUTSIDE


def _refusal(file: str, root: Path) -> str | None:
    """Say why a file is not read, or None."""
    try:
        mode = os.lstat(file).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return "no such file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if stat.S_ISLNK(mode):
        return link_refusal(file, root, follow_links=False)
    return None if stat.S_ISREG(mode) else "not a regular file"


def _sample(
    number: int, place: tuple[str | None, str | None], label: str | None, group: str | None, forged: Flag
) -> Raw:
    path, refused = place
    forgery, wrong = forged
    refused = refused or (None if label else "no label") or wrong
    return Raw(
        id=_nfc(path) or f"row {number}",
        label=None if forgery else _nfc(label),
        path=path or "",
        group=_nfc(group),
        refused=f"{refused} (row {number})" if refused else None,
        forges=_nfc(label) if forgery else None,
    )


def _nfc(text: str | None) -> str | None:
    return None if text is None else unicodedata.normalize("NFC", text)


def _once(raws: Sequence[Raw]) -> list[Raw]:
    """Return the samples with an id each: rows that name a file again, or under two classes, are refused."""
    result = list(raws)
    named = Counter(raw.id for raw in raws)
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, raw in enumerate(raws):
        if named[raw.id] > 1:
            rows[raw.id].append(row)
    for same in rows.values():
        for row, raw in _apart(raws, same):
            result[row] = raw
    return result


def _apart(raws: Sequence[Raw], same: Sequence[int]) -> Iterator[tuple[int, Raw]]:
    readable = [row for row in same if raws[row].refused is None]
    first = readable[0] if readable else same[0]
    claims = {claim(raws[row]): row for row in reversed(readable)}
    for row in same:
        raw, refused = raws[row], raws[row].refused
        other = next((peer for claimed, peer in claims.items() if claimed != claim(raw)), None)
        if refused is None and other is not None:
            refused = f"{CONFLICT}row {other + 1} ({claim(raws[other])}) (row {row + 1})"
        elif refused is None and row != first:
            refused = f"{DUPLICATE}{raw.id}"
        yield row, replace(raw, id=raw.id if row == first else f"{raw.id} (row {row + 1})", refused=refused)
