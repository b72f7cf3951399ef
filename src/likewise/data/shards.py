"""Samples inside Parquet tables, an encoded image and its label in a row, as data hubs publish them."""

from __future__ import annotations

import json
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from likewise.data.folders import refuse_link
from likewise.data.forgeries import with_groups
from likewise.data.raw import MAX_BYTES, Content, Raw, Source, Unreadable
from likewise.data.tables import (
    DEFAULT_COLUMNS,
    Columns,
    Flag,
    forgeries,
    groups,
    listed,
    refuse_swollen,
    texts,
    without,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BATCH_ROWS, BUFFER_BYTES = 64, 1 << 20
"""Images held in memory at a time, and bytes of the file."""

SPLIT_NAME = re.compile(r"(train|training|val|valid|validation|dev|test|testing)(?=[-_.]|$)")


@dataclass(frozen=True)
class Shard:
    """A Parquet file and the rows of its row groups.

    Attributes:
        file: Where it is.
        path: Where it is below the root.
        name: What its ids begin with: the path without suffix and "-of-00003", which changes when data is added.
        sizes: The rows of each row group.
    """

    file: Path
    path: str
    name: str
    sizes: tuple[int, ...]


def open_parquet(path: Path, *, columns: Columns = DEFAULT_COLUMNS) -> Source:
    """Return the samples of a Parquet file, or of all that lie in a folder, one after another by their names.

    The image is a column of encoded bytes, or of structs {bytes, path}. The label is text or a whole number, which
    stands for a name where the file itself names its classes (`ClassLabel` in the metadata `huggingface`). An id is the
    shard's name and the row, counted from 0. Forgeries are told as in a manifest. All other columns are carried along;
    so are the struct's path, as `image.path`, and, where every shard's name or folder begins with a split
    ("train-00000-of-00002") and there is no such column, that split as `split`.

    Images are read a few at a time, so that memory stays bounded whatever the size of the row groups.

    Args:
        path: The file, or the folder of shards.
        columns: The names of the columns.

    Raises:
        ValueError: nothing there, not Parquet, a column that is missing or of another type, or shards that differ.
    """
    shards = _shards(path)
    rows = _joined([_without_images(shard, columns) for shard in shards], shards)
    where = f"the table {shards[0].path}"
    labels = texts(rows, columns.label, key="ingest.columns.label", where=where)
    forged = forgeries(rows, columns.forged, where=where)
    described = zip(_rows(shards), labels, groups(rows, columns.group, where=where), forged, strict=True)
    raws = with_groups([_sample(*at, label, group, forgery) for at, label, group, forgery in described])
    carried = _with_splits(without(rows, (columns.label, columns.group, columns.forged)), shards)
    return Source(tuple(raws), ShardReader(shards, columns.image), carried)


def _shards(path: Path) -> tuple[Shard, ...]:
    if not path.exists():
        raise ValueError(f"{path} does not exist: put the data there, or give the path of the data")
    root = path if path.is_dir() else path.parent
    files = list(_files(path)) if path.is_dir() else [path]
    shards = [_shard(file, root) for file in files]
    if not shards:
        raise ValueError(f"{path} has no .parquet file: put the shards there")
    ordered = sorted(shards, key=lambda shard: f"{shard.name}/")
    for one, other in pairwise(ordered):
        if one.name == other.name:
            raise ValueError(f"{one.file} and {other.path} are the same shard of two sets: take one set away")
    return tuple(ordered)


def _files(root: Path) -> Iterator[Path]:
    for file in sorted(root.rglob("*.parquet")):
        if any(part.startswith(".") for part in file.relative_to(root).parts):
            continue
        refuse_link(file, root)
        yield file


def _shard(file: Path, root: Path) -> Shard:
    path = file.relative_to(root).as_posix()
    name = re.sub(r"-of-\d+$", "", path.removesuffix(".parquet"))
    with _opened(file) as table:
        # An image takes more than a byte.
        refuse_swollen(file, table.metadata.num_rows, most=1)
        sizes = [table.metadata.row_group(number).num_rows for number in range(table.num_row_groups)]
    return Shard(file, path, unicodedata.normalize("NFC", name), tuple(sizes))


@contextmanager
def _opened(file: Path) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file, buffer_size=BUFFER_BYTES, pre_buffer=False) as table:
            yield table
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{file} is not a readable Parquet file: {' '.join(str(error).split())}") from None


def _without_images(shard: Shard, columns: Columns) -> pa.Table:
    """Return all columns but the images themselves, the label in words where the file has words for it."""
    with _opened(shard.file) as table:
        schema = table.schema_arrow
        struct = _check_images(schema, columns.image, shard)
        wanted = [name for name in schema.names if name != columns.image]
        rows = table.read(columns=[*wanted, f"{columns.image}.path"] if struct else wanted)
        rows.validate(full=True)
        if struct and columns.image in rows.column_names:
            rows = _with_paths(rows, columns.image)
        return _named(rows, columns.label, _class_names(schema, columns.label)).replace_schema_metadata(None)


def _check_images(schema: pa.Schema, name: str, shard: Shard) -> bool:
    """Return whether the images are structs; refuse what is neither that nor bytes."""
    import pyarrow.types as kinds

    if name not in schema.names:
        known = listed(name, schema.names)
        raise ValueError(f"the table {shard.path} has no column {name!r} (ingest.columns.image); its columns: {known}")
    kind = schema.field(name).type
    struct = bool(kinds.is_struct(kind)) and kind.get_field_index("bytes") >= 0
    content = kind.field("bytes").type if struct else kind
    if not (kinds.is_binary(content) or kinds.is_large_binary(content)):
        raise ValueError(
            f"the table {shard.path}: the column {name!r} (ingest.columns.image) holds {kind}: expected encoded "
            "images, as bytes or as structs with bytes"
        )
    return struct


def _with_paths(rows: pa.Table, name: str) -> pa.Table:
    import pyarrow.compute as pc

    paths = pc.struct_field(rows[name], "path")
    others = rows.drop_columns([name])
    return others if paths.null_count == len(paths) else others.append_column(f"{name}.path", paths)


def _class_names(schema: pa.Schema, label: str) -> list[str] | None:
    """Return the names that the file's own description gives to the numbers of the label, if any."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _named(rows: pa.Table, label: str, names: list[str] | None) -> pa.Table:
    """Return the rows with names for numbers; a number without one, as -1 is by custom, is no label."""
    import pyarrow as pa

    if names is None or label not in rows.column_names or not pa.types.is_integer(rows[label].type):
        return rows
    numbers = rows[label].to_pylist()
    words = [None if n is None or not 0 <= n < len(names) else names[n] for n in numbers]
    return rows.set_column(rows.column_names.index(label), label, pa.array(words, pa.string()))


def _joined(tables: Sequence[pa.Table], shards: Sequence[Shard]) -> pa.Table:
    import pyarrow as pa

    for table, shard in zip(tables, shards, strict=True):
        if not table.schema.equals(tables[0].schema):
            ours, first = ("; ".join(f"{f.name!r} {f.type}" for f in t.schema) for t in (table, tables[0]))
            raise ValueError(f"{shard.file} has other columns than {shards[0].path}: {ours}, and there {first}")
    return pa.concat_tables(tables)


def _rows(shards: Sequence[Shard]) -> Iterator[tuple[Shard, int, int]]:
    place = 0
    for shard in shards:
        for row in range(sum(shard.sizes)):
            yield shard, row, place
            place += 1


def _sample(shard: Shard, row: int, place: int, label: str | None, group: str | None, forged: Flag) -> Raw:
    forgery, wrong = forged
    name = label and unicodedata.normalize("NFC", label)
    return Raw(
        id=f"{shard.name}/{row:08d}",
        label=None if forgery else name,
        path=f"{shard.path}#{row}",
        group=group and unicodedata.normalize("NFC", group),
        refused=wrong if label else "no label",
        place=place,
        forges=name if forgery else None,
    )


def _with_splits(carried: pa.Table, shards: Sequence[Shard]) -> pa.Table:
    import pyarrow as pa

    named = [next(filter(None, map(SPLIT_NAME.match, shard.name.split("/"))), None) for shard in shards]
    if "split" in carried.column_names or None in named:
        return carried
    parts = [pa.repeat(match[1], sum(shard.sizes)) for match, shard in zip(named, shards, strict=True) if match]
    return carried.append_column("split", pa.chunked_array(parts, pa.string()))


@dataclass(frozen=True)
class ShardReader:
    """Reads the images of shards, fast only in the order of their rows."""

    shards: tuple[Shard, ...]
    column: str
    reach: Literal["forward"] = "forward"

    @contextmanager
    def reading(self) -> Iterator[Callable[[Raw], Content]]:
        """Open the shards one after another, and yield a function that reads a sample."""
        window = _Window(self)
        try:
            yield window.read
        finally:
            window.close()


class _Window:
    """The few images that are in memory, of one row group, and how to come to the next.

    Args:
        reader: The shards, whose row groups count their rows through from 0.
    """

    def __init__(self, reader: ShardReader) -> None:
        self._column = reader.column
        self._groups = [(shard.file, number) for shard in reader.shards for number in range(len(shard.sizes))]
        self._starts = [0, *accumulate(size for shard in reader.shards for size in shard.sizes)]
        self._file: tuple[Path, pq.ParquetFile] | None = None
        self._broken: dict[int, str] = {}
        self._group = -1
        self._first = 0
        self._cells: pa.Array | tuple[()] = ()
        self._coming: Iterator[pa.Array] = iter(())

    def read(self, raw: Raw) -> bytes:
        row = raw.place
        if not isinstance(row, int) or not 0 <= row < self._starts[-1]:
            raise ValueError(f"the sample {raw.id!r} is not of this table")
        self._seek(row)
        content = self._cells[row - self._first].as_py()
        if content is None:
            raise Unreadable("no image in its row")
        if len(content) > MAX_BYTES:
            raise Unreadable(f"{len(content)} bytes, more than {MAX_BYTES}")
        return bytes(content)

    def close(self) -> None:
        if self._file is not None:
            self._file[1].close()

    def _seek(self, row: int) -> None:
        import pyarrow as pa

        group = bisect_right(self._starts, row) - 1
        if group in self._broken:
            raise Unreadable(self._broken[group])
        try:
            if group != self._group or row < self._first:
                self._enter(group)
            while row >= self._first + len(self._cells):
                self._first += len(self._cells)
                self._cells = next(self._coming)
        except (FileNotFoundError, StopIteration):
            self._give_up(group, "vanished before it was read")
        except (pa.ArrowException, OSError) as error:
            self._give_up(group, f"damaged in the table: {' '.join(str(error).split())[:200]}")

    def _enter(self, group: int) -> None:
        file, number = self._groups[group]
        self._group, self._first, self._cells = group, self._starts[group], ()
        table = self._open(file)
        struct = not self._is_plain(table)
        leaf = f"{self._column}.bytes" if struct else self._column
        batches = table.iter_batches(BATCH_ROWS, row_groups=[int(number)], columns=[leaf])
        self._coming = (batch.column(0).field(0) if struct else batch.column(0) for batch in batches)

    def _open(self, file: Path) -> pq.ParquetFile:
        import pyarrow.parquet as pq

        if self._file is None or self._file[0] != file:
            self.close()
            self._file = None
            self._file = file, pq.ParquetFile(file, buffer_size=BUFFER_BYTES, pre_buffer=False)
        return self._file[1]

    def _is_plain(self, table: pq.ParquetFile) -> bool:
        return bool(table.schema_arrow.field(self._column).type.num_fields == 0)

    def _give_up(self, group: int, reason: str) -> None:
        self._group = -1
        self._broken[group] = reason
        raise Unreadable(reason)
