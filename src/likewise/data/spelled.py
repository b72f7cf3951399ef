"""Data sets whose file names say what each file is: class, group and all else, in a folder or an archive."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from likewise.data.folders import Tree, name_refusal, passed_over, readable, unique
from likewise.data.raw import Raw, Source
from likewise.data.tables import DEFAULT_COLUMNS, Columns, groups, texts, without

WHERE = "the file names"


def spelled(
    tree: Tree,
    spelling: str,
    describe: Callable[[re.Match[str]], dict[str, object]],
    *,
    path: Path,
    example: str,
    columns: Columns = DEFAULT_COLUMNS,
) -> Source:
    """Return the files whose paths end as the data set spells them; all others are none of it and passed over.

    Args:
        tree: The files.
        spelling: A regular expression for the last parts of a path, which become the id.
        describe: From its match to columns, the same for each file; one that is None for all is left out.
        path: Where the files are, for the message.
        example: Such an end of a path, for the message.
        columns: Which column is the label, which the group; the others are carried along.

    Raises:
        ValueError: no such file, or no such column.
    """
    import pyarrow as pa

    whole = re.compile(rf"(?:.*/)?(?P<id>{spelling})")
    matches: dict[str, re.Match[str]] = {}
    raws: list[Raw] = []
    for member in tree.members:
        legible = readable(member.name)
        match = None if passed_over(member.name) else whole.fullmatch(legible)
        if match is not None:
            bad = name_refusal(member.name)
            place = legible if bad else member.name
            matches[place] = match
            id_ = unicodedata.normalize("NFC", match["id"])
            raws.append(Raw(id_, label=None, path=place, refused=bad or member.refused, place=member.extent))
    if not raws:
        raise ValueError(
            f"{path} holds no file such as {example}: give the folder or the archive of the data set, or an empty "
            "folder to have it fetched"
        )
    ordered = unique(raws)
    table = pa.Table.from_pylist([describe(matches[raw.path]) for raw in ordered])
    table = without(table, [name for name in table.column_names if table[name].null_count == len(table)])
    labels = texts(table, columns.label, key="ingest.columns.label", where=WHERE)
    named = zip(ordered, labels, groups(table, columns.group, where=WHERE), strict=True)
    chosen = tuple(replace(raw, label=label, group=group) for raw, label, group in named)
    return Source(chosen, tree.reader, without(table, (columns.label, columns.group)))
